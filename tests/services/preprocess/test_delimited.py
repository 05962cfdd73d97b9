"""CSV: dialects, quoting, and rows that do not fit."""

from __future__ import annotations

import pytest

from tests.services.preprocess.pipeline import Pipeline


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"], ids=["comma", "semicolon", "tab", "bar"])
def test_the_delimiter_is_found(pipeline: Pipeline, delimiter: str) -> None:
    tricky = "not, so; fine" if delimiter in "\t|" else "bad"
    rows = [["id", "review", "label"], ["7", "fine", "pos"], ["8", tricky, ""]]

    records = pipeline.run("a.csv", "\n".join(delimiter.join(row) for row in rows).encode())

    assert [(record["id"], record["label"]) for record in records] == [("7", "pos"), ("8", None)]
    assert records[1]["text"] == tricky


def test_a_quoted_cell_spans_lines_and_lines_are_counted_on(pipeline: Pipeline) -> None:
    records = pipeline.run("a.csv", b'id,text\n1,"first\nsecond, with ""quotes"""\n2,third\n')

    assert [(record["line"], record["text"]) for record in records] == [
        (2, 'first\nsecond, with "quotes"'),
        (4, "third"),
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_column(pipeline: Pipeline) -> None:
    pipeline.run("a.csv", b"\xef\xbb\xbftext,id\r\nhello,1\r\n")

    assert pipeline.manifest().fields == ["text", "id"]
    assert pipeline.records()[0]["text"] == "hello"


def test_ragged_rows_and_bad_bytes_are_set_aside(pipeline: Pipeline) -> None:
    data = b"id,text\n1,a\n2,b,c\n3\n\n4,bad \xff\n5,\n6," + b"x" * (2**20 + 1) + b"\n7,last\n"

    records = pipeline.run("a.csv", data)

    assert [record["text"] for record in records] == ["a", "last"]
    assert [(entry["line"], entry["code"]) for entry in pipeline.rejected()] == [
        (3, "RAGGED_ROW"),
        (4, "RAGGED_ROW"),
        (6, "INVALID_UTF8"),
        (7, "EMPTY_TEXT"),
        (8, "MALFORMED_CSV"),
    ]


def test_a_quote_that_is_never_closed_costs_no_more_than_a_record(pipeline: Pipeline) -> None:
    rows = b"".join(b"%d,some words that fill the file\n" % number for number in range(100_000))

    records = pipeline.run("a.csv", b'id,text\nx,"open\n' + rows)

    assert pipeline.rejected()[0]["line"] == 2
    assert "never closed" in pipeline.rejected()[0]["message"]
    assert len(records) > 60_000


def test_a_single_column_is_a_table_too(pipeline: Pipeline) -> None:
    assert [record["text"] for record in pipeline.run("a.csv", b"review\nfine\nbad\n")] == ["fine", "bad"]


def test_the_longest_column_is_taken_where_no_name_is_usual(pipeline: Pipeline) -> None:
    pipeline.run("a.csv", b"sku,opinion\n1,quite all right\n2,not at all\n")

    manifest = pipeline.manifest()
    assert (manifest.text_field, manifest.text_field_guessed) == ("opinion", True)
    assert "longest" in manifest.text_field_reason


def test_a_header_without_rows_is_empty(pipeline: Pipeline) -> None:
    pipeline.fails("a.csv", b"id,text\n", "EMPTY_INPUT")


def test_a_column_without_a_name_gets_one(pipeline: Pipeline) -> None:
    pipeline.run("a.csv", b",text\n0,a\n1,b\n")

    assert pipeline.manifest().fields == ["column_1", "text"]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"text,label\rgood,1\rbad,0\r", id="returns instead of newlines"),
        pytest.param(b"text,label," + b"x" * 300_000 + b"\ngood,1,\n", id="longer than what is looked at"),
    ],
)
def test_a_first_row_that_cannot_be_read_is_refused(pipeline: Pipeline, data: bytes) -> None:
    assert "the first row" in pipeline.fails("a.csv", data, "CORRUPT").message


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"10 %\r20 %\r30 % done\nnext\n", id="returns within a line"),
        pytest.param(b'"' + b"x" * 140_000 + b"\nnext\n", id="a cell beyond what csv takes"),
    ],
)
def test_a_text_without_a_name_that_csv_cannot_take_is_plain_text(pipeline: Pipeline, data: bytes) -> None:
    pipeline.run("log", data)

    assert pipeline.manifest().format == "txt"
