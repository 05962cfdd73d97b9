"""JSON Lines: the hot path, and what is set aside on it."""

from __future__ import annotations

import json

import pytest

from tests.services.preprocess.pipeline import Pipeline


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def test_records_keep_their_id_line_text_and_label(pipeline: Pipeline) -> None:
    records = pipeline.run("a.jsonl", lines({"id": "x", "text": "fine", "label": 1}, {"id": 7, "text": "né"}))

    assert records == [
        {"row": 0, "id": "x", "line": 1, "text": "fine", "label": "1"},
        {"row": 1, "id": "7", "line": 2, "text": "né", "label": None},
    ]


def test_the_row_number_stands_in_for_an_id(pipeline: Pipeline) -> None:
    assert [record["id"] for record in pipeline.run("a.jsonl", lines({"text": "a"}, {"text": "b"}))] == ["0", "1"]


def test_bad_lines_are_set_aside_with_their_line_and_reason(pipeline: Pipeline) -> None:
    data = (
        b'{"text": "good", "id": 1}\n'
        b"{broken\n"
        b"\n"
        b'["a list"]\n'
        b'{"other": 1}\n'
        b'{"text": "  "}\n'
        b'{"text": 5}\n'
        b'{"text": "bad \xff byte"}\n'
        b'{"text": "x", "id": [1]}\n'
        b'{"text": null}\n'
        b'{"text": "lone \\ud800 half"}\n'
        b'{"text": "x", "deep": ' + b"[" * 5000 + b"]" * 5000 + b"}\n"
        b'{"text": "last"}'
    )

    records = pipeline.run("a.jsonl", data, id_field="id")

    assert [(record["line"], record["text"]) for record in records] == [(1, "good"), (13, "last")]
    assert [(entry["line"], entry["code"]) for entry in pipeline.rejected()] == [
        (2, "MALFORMED_JSON"),
        (4, "NOT_AN_OBJECT"),
        (5, "MISSING_TEXT"),
        (6, "EMPTY_TEXT"),
        (7, "TEXT_NOT_STRING"),
        (8, "INVALID_UTF8"),
        (9, "INVALID_FIELD"),
        (10, "EMPTY_TEXT"),
        (11, "MALFORMED_JSON"),
        (12, "MALFORMED_JSON"),
    ]
    assert pipeline.rejected()[0]["excerpt"] == "{broken"
    assert pipeline.manifest().rejected == 10


def test_a_row_counts_the_rejected_records_before_it(pipeline: Pipeline) -> None:
    records = pipeline.run("a.jsonl", b'{"text": "a"}\nnonsense\n\n{"text": "b"}\n')

    assert [(record["row"], record["id"], record["line"]) for record in records] == [(0, "0", 1), (2, "2", 4)]


@pytest.mark.parametrize("size", [2**20 + 1, 5 * 2**20], ids=["just over", "several blocks"])
def test_an_oversize_line_is_set_aside_and_reading_goes_on(pipeline: Pipeline, size: int) -> None:
    data = lines({"text": "a"}) + b'{"text": "' + b"x" * size + b'"}\n' + lines({"text": "b"})

    records = pipeline.run("a.jsonl", data)

    assert [(record["line"], record["text"]) for record in records] == [(1, "a"), (3, "b")]
    assert [(entry["line"], entry["code"]) for entry in pipeline.rejected()] == [(2, "RECORD_TOO_LARGE")]


def test_windows_line_ends_and_a_byte_order_mark_are_fine(pipeline: Pipeline) -> None:
    records = pipeline.run("a.jsonl", b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b"}\r\n')

    assert [(record["line"], record["text"]) for record in records] == [(1, "a"), (3, "b")]
    assert pipeline.manifest().encoding == "utf-8-sig"


def test_lines_that_cross_blocks_keep_their_numbers(pipeline: Pipeline) -> None:
    texts = [f"{number}:" + "y" * (number % 977) for number in range(6000)]

    records = pipeline.run("a.jsonl", lines(*({"text": text} for text in texts)))

    assert [record["text"] for record in records] == texts
    assert [record["line"] for record in records] == list(range(1, 6001))


def test_when_nothing_is_valid_the_first_reasons_are_quoted(pipeline: Pipeline) -> None:
    error = pipeline.fails("a.jsonl", b'{"text": ""}\n{"text": 3}\n', "NO_VALID_RECORDS")

    assert "line 1: EMPTY_TEXT" in error.message
    assert "line 2: TEXT_NOT_STRING" in error.message


def test_when_no_line_is_json_the_first_reasons_are_quoted(pipeline: Pipeline) -> None:
    assert "MALFORMED_JSON" in pipeline.fails("a.jsonl", b"{a\n{b\n", "NO_VALID_RECORDS").message


def test_an_excerpt_is_printable_and_short(pipeline: Pipeline) -> None:
    pipeline.run("a.jsonl", b'{"text": "ok"}\n{"text": 1, "x": "\x1b[31m' + b"z" * 500 + b'"}\n')

    excerpt = pipeline.rejected()[0]["excerpt"]
    assert "\x1b" not in excerpt
    assert len(excerpt) < 200
