"""How does a command talk? Results on stdout, everything else on stderr; JSON when asked; no colour off a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.table import Table
from rich.text import Text

from zeroidle.errors import PermanentError, ZeroidleError, printable

WIDE = 10_000  # columns, where no terminal limits them: a pipe gets whole lines
LONG_TEXT = 10_000

STATE_STYLES = {
    "SUCCEEDED": "green",
    "FAILED": "red",
    "UNKNOWN": "red",
    "STOPPED": "yellow",
    "STOPPING": "yellow",
    "RUNNING": "cyan",
    "PROVISIONING": "cyan",
    "QUEUED": "dim",
}


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    limited = stream.isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, highlight=False, emoji=False, width=None if limited else WIDE)


out = _console(stderr=False)
err = _console(stderr=True)


def is_live() -> bool:
    """May what stands on stderr be drawn anew?"""
    return err.is_terminal and not err.is_dumb_terminal


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table. Only a `long` one is cut, with an ellipsis, when the terminal is too narrow."""

    header: str
    long: bool = False
    right: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A table without lines, one line a row. Cells are plain text or already styled, never markup."""
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column.header, justify="right" if column.right else "left", no_wrap=not column.long)
    for row in rows:
        made.add_row(*(_cell(value, column) for value, column in zip(row, columns, strict=True)))
    return made


def _cell(value: str | Text, column: Column) -> Text:
    text = value if isinstance(value, Text) else Text(printable(value, LONG_TEXT))
    # The column may shrink because it wraps; the text in it does not.
    text.no_wrap, text.overflow = True, "ellipsis" if column.long else "fold"
    return text


def state_text(state: str) -> Text:
    """The state of a job in its colour."""
    return Text(state, style=STATE_STYLES.get(state, ""))


def print_json(value: Any) -> None:
    """A document on stdout, indented."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_error(error: ZeroidleError, *, as_json: bool) -> None:
    """What went wrong and what to do, on stderr."""
    if as_json:
        told = {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "retryable": not isinstance(error, PermanentError),
            "details": error.details,
        }
        sys.stderr.write(json.dumps({"error": told}, default=str) + "\n")
        return
    err.print(f"[bold red]error[/] {escape(error.message)}", soft_wrap=True)
    if error.hint:
        err.print(f"      {escape(error.hint)}", soft_wrap=True)


def escape(text: str) -> str:
    """Text from elsewhere as it may stand in what Rich prints: control characters escaped, nothing taken for markup."""
    return escape_markup(printable(text, LONG_TEXT))


def duration(seconds: float | None) -> str:
    """`850 ms`, `12.3 s`, `4m 10s`, `2h 05m`."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 119.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 7200:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def moment(seconds: float | None) -> str:
    """A time of day with its date, in UTC."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def age(seconds: float) -> str:
    """`40 s`, `12 min`, `3 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def usd(value: float) -> str:
    """Dollars with as many digits as a small amount needs."""
    return f"${value:.2f}" if value >= 1 else f"${value:.4f}" if value >= 0.0001 else f"${value:.6f}"
