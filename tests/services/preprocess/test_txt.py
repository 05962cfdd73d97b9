"""Plain text: a document, or one a line."""

from __future__ import annotations

import pytest

from tests.services.preprocess.pipeline import Pipeline


@pytest.mark.parametrize(
    ("data", "texts", "why"),
    [
        (b"just one line\n", ["just one line"], "single line"),
        (b"\nDear Sir,\n\nit was fine.\n", ["Dear Sir,\n\nit was fine."], "paragraphs"),
        (b"fine\nbad\r\nnot so bad", ["fine", "bad", "not so bad"], "none of its 3 lines is blank"),
        (b"line\n" * 60_000, ["line"] * 60_000, "too long"),
    ],
    ids=["one line", "paragraphs", "lines", "long"],
)
def test_auto_tells_documents_from_lines(pipeline: Pipeline, data: bytes, texts: list[str], why: str) -> None:
    assert [record["text"] for record in pipeline.run("a.txt", data)] == texts
    assert why in pipeline.manifest().text_field_reason


def test_the_mode_can_be_set(pipeline: Pipeline) -> None:
    records = pipeline.run("a.txt", b"first\n\nsecond\n", text_mode="lines")

    assert [(record["line"], record["text"]) for record in records] == [(1, "first"), (3, "second")]


def test_several_lines_can_be_one_document(pipeline: Pipeline) -> None:
    assert [record["text"] for record in pipeline.run("a.txt", b"a\nb\n", text_mode="document")] == ["a\nb"]


def test_a_document_too_long_for_a_record_is_refused(pipeline: Pipeline) -> None:
    error = pipeline.fails("a.txt", b"line\n\n" * 200_000, "TOO_LARGE", text_mode="document")

    assert "text_mode" in error.hint


def test_a_bad_line_is_set_aside(pipeline: Pipeline) -> None:
    records = pipeline.run("a.txt", b"one\ntwo \xff\nthree\n" + b"x" * (2**20 + 1) + b"\nfive")

    assert [record["line"] for record in records] == [1, 3, 5]
    assert [(entry["line"], entry["code"]) for entry in pipeline.rejected()] == [
        (2, "INVALID_UTF8"),
        (4, "RECORD_TOO_LARGE"),
    ]


def test_json_lines_called_txt_are_json_lines(pipeline: Pipeline) -> None:
    assert [record["text"] for record in pipeline.run("a.txt", b'{"text": "a"}\n{"text": "b"}\n')] == ["a", "b"]
