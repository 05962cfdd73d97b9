"""How a command talks: amounts, tables, errors."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from zeroidle.errors import PermanentError, TemporaryError
from zeroidle_cli import output
from zeroidle_cli.output import Column


def printed(renderable: object, width: int) -> list[str]:
    """The lines on a console of this width."""
    console = Console(file=io.StringIO(), width=width, emoji=False)
    console.print(renderable)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]  # a StringIO


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (-0.1, "0 ms"),
        (0, "0 ms"),
        (0.85, "850 ms"),
        (0.9996, "1.0 s"),
        (12.34, "12.3 s"),
        (119.9, "119.9 s"),
        (119.96, "2m 00s"),
        (250, "4m 10s"),
        (3599.7, "60m 00s"),
        (7500, "2h 05m"),
    ],
    ids=str,
)
def test_durations_are_short_and_never_round_to_sixty(seconds: float | None, text: str) -> None:
    assert output.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "1 h"), (200_000, "2 d")], ids=str
)
def test_ages_tell_the_largest_unit(seconds: float, text: str) -> None:
    assert output.age(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(12.345, "$12.35"), (0.0123, "$0.0123"), (0.0000123, "$0.000012")], ids=str
)
def test_small_amounts_keep_their_digits(value: float, text: str) -> None:
    assert output.usd(value) == text


def test_only_the_long_column_of_a_table_is_cut() -> None:
    columns = [Column("ID"), Column("TEXT", long=True), Column("TOOK", right=True)]
    made = output.table(columns, [["u-0123456789", "word " * 40, "12.3 s"]])

    header, row = printed(made, 50)

    assert header.split() == ["ID", "TEXT", "TOOK"]
    assert row.startswith("u-0123456789  word word")
    assert row.endswith("…  12.3 s")
    assert len(row) == 50


def test_a_wide_console_cuts_nothing() -> None:
    made = output.table([Column("TEXT", long=True)], [["word " * 100 + "end"]])

    assert printed(made, output.WIDE)[1].endswith("end")


def test_cells_are_text_and_not_markup_or_control_codes() -> None:
    made = output.table([Column("FILE", long=True)], [["[red]a[/] :cat: \x1b[31m\n"]])

    assert printed(made, 80)[1] == "[red]a[/] :cat: \\x1b[31m\\n"


@pytest.mark.parametrize("text", ["[bold]x[/]", "a\\[b]", "tail\\", "[/]", "\x1b[2J"], ids=repr)
def test_escaped_text_is_printed_as_it_is(text: str) -> None:
    assert printed(f"[dim]{output.escape(text)}[/]", 80) == [text.replace("\x1b", "\\x1b")]


@pytest.mark.parametrize(
    ("error", "retryable"),
    [(PermanentError("wrong", code="BAD", hint="Do it."), False), (TemporaryError("gone", code="BAD"), True)],
    ids=["permanent", "temporary"],
)
def test_errors_as_json_say_whether_to_try_again(
    error: PermanentError, retryable: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    output.print_error(error, as_json=True)

    told = json.loads(capsys.readouterr().err)["error"]
    assert told == {
        "code": "BAD",
        "message": error.message,
        "hint": error.hint,
        "retryable": retryable,
        "details": {},
    }
