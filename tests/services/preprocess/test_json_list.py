"""JSON files: one record, or a list of them."""

from __future__ import annotations

import json

import pytest

from services.preprocess.readers import json_list
from tests.services.preprocess.pipeline import Pipeline


@pytest.mark.parametrize(
    "document",
    [
        [{"text": "a"}, {"text": "b"}],
        {"instances": [{"text": "a"}, {"text": "b"}]},
        {"version": 1, "data": [{"text": "a"}, {"text": "b"}]},
        ["a", "b"],
    ],
    ids=["list", "wrapped", "wrapped behind another member", "strings"],
)
@pytest.mark.parametrize("indent", [None, 2], ids=["compact", "indented"])
def test_records_are_read_from(pipeline: Pipeline, document: object, indent: int | None) -> None:
    records = pipeline.run("a.json", json.dumps(document, indent=indent).encode())

    assert [(record["line"], record["text"]) for record in records] == [(1, "a"), (2, "b")]
    assert pipeline.manifest().format == "json"


@pytest.mark.parametrize("indent", [None, 2], ids=["one line", "indented"])
def test_one_object_is_one_record(pipeline: Pipeline, indent: int | None) -> None:
    assert len(pipeline.run("a.json", json.dumps({"text": "a", "n": 1}, indent=indent).encode())) == 1


def test_json_lines_called_json_are_json_lines(pipeline: Pipeline) -> None:
    pipeline.run("a.json", b'{"text": "a"}\n{"text": "b"}\n')

    assert pipeline.manifest().format == "jsonl"


def test_bad_records_are_set_aside_by_their_place(pipeline: Pipeline) -> None:
    records = [b'{"text": "a"}', b"5", b'{"x": 1}', b'{"text": ["b"]}', b'{"text": "\\ud800"}', b'{"text": "caf\xe9"}']
    data = b"[" + b",\n".join([*records, b'{"text": "last"}']) + b"]"

    assert [record["text"] for record in pipeline.run("a.json", data)] == ["a", "last"]
    assert [(entry["line"], entry["code"]) for entry in pipeline.rejected()] == [
        (2, "NOT_AN_OBJECT"),
        (3, "MISSING_TEXT"),
        (4, "TEXT_NOT_STRING"),
        (5, "INVALID_UTF8"),
        (6, "INVALID_UTF8"),
    ]


@pytest.mark.parametrize("chunk", [1, 7, 64], ids=["1 byte", "7 bytes", "64 bytes"])
def test_records_may_be_cut_anywhere_by_a_chunk(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(json_list, "CHUNK_BYTES", chunk)
    records = [{"text": "né " + "x" * number, "id": 12345} for number in range(20)]

    read = pipeline.run("a.json", json.dumps(records, ensure_ascii=False).encode())

    assert [record["text"] for record in read] == [record["text"] for record in records]
    assert {record["id"] for record in read} == {"12345"}


@pytest.mark.parametrize(
    "data",
    [
        b'[{"text": "a"}, {"text": "b"}',
        b'[{"text": "a"} {"text": "b"}]',
        b'[{"text": "a"}, {"text: 1}]',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'[{"text": "a"},]',
    ],
    ids=["cut short", "no comma", "open string", "deep lists", "deep objects", "comma at the end"],
)
def test_broken_json_is_refused(pipeline: Pipeline, data: bytes) -> None:
    pipeline.fails("a.json", data, "CORRUPT")


def test_a_record_without_end_is_refused_before_it_fills_the_memory(pipeline: Pipeline) -> None:
    pipeline.fails("a.json", b'[{"text": "' + b"x" * (3 * 2**20) + b'"}]', "TOO_LARGE")


def test_an_empty_list_is_empty(pipeline: Pipeline) -> None:
    pipeline.fails("a.json", b"[ ]", "EMPTY_INPUT")
