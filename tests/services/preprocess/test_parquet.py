"""Parquet: columns, bounds, and files that are broken or lie."""

from __future__ import annotations

import gzip
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.preprocess import source
from tests.services.preprocess.pipeline import Pipeline


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


def test_rows_are_read_across_row_groups(pipeline: Pipeline) -> None:
    table = {"key": list(range(10_000)), "n": [1.5] * 10_000, "body": [f"text {n}" for n in range(10_000)]}

    records = pipeline.run("a.parquet", parquet(table, row_group_size=999))

    assert [record["text"] for record in records] == table["body"]
    assert records[-1] == {"row": 9999, "id": "9999", "line": 10_000, "text": "text 9999", "label": None}
    assert pipeline.manifest().fields == ["key", "n", "body"]


def test_empty_and_missing_texts_are_set_aside_by_row(pipeline: Pipeline) -> None:
    pipeline.run("a.parquet", parquet({"text": ["a", None, " ", "b"]}))

    assert [(entry["line"], entry["code"]) for entry in pipeline.rejected()] == [(2, "EMPTY_TEXT"), (3, "EMPTY_TEXT")]


def test_a_text_that_is_not_utf8_is_set_aside(pipeline: Pipeline) -> None:
    texts = pa.array([b"good", b"bad \xff"]).view(pa.string())

    assert [record["text"] for record in pipeline.run("a.parquet", parquet({"text": texts}))] == ["good"]
    assert pipeline.rejected()[0]["code"] == "INVALID_UTF8"


def test_nested_and_binary_columns_are_left_out(pipeline: Pipeline) -> None:
    records = pipeline.run("a.parquet", parquet({"meta": [{"a": 1}], "blob": [b"\0"], "text": ["a"]}))

    assert [record["text"] for record in records] == ["a"]


def test_a_gzipped_file_is_unpacked_first(pipeline: Pipeline) -> None:
    records = pipeline.run("a.parquet.gz", gzip.compress(parquet({"text": ["a", "b"]})))

    assert [record["text"] for record in records] == ["a", "b"]
    assert pipeline.manifest().compression == "gzip"


def test_a_gzipped_file_that_is_too_large_to_unpack_is_refused(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_UNPACKED_BYTES", 1000)

    pipeline.fails("a.parquet", gzip.compress(parquet({"text": ["a" * 5000]}, compression="none")), "TOO_LARGE")


@pytest.mark.parametrize("damage", ["cut", "page", "footer"])
def test_a_broken_file_is_refused(pipeline: Pipeline, damage: str) -> None:
    data = bytearray(parquet({"text": [f"text {n}" for n in range(1000)]}))
    match damage:
        case "cut":
            data = data[: len(data) // 2]
        case "page":
            data[20:60] = b"x" * 40
        case "footer":
            data[-60:-8] = b"x" * 52

    pipeline.fails("a.parquet", bytes(data), "CORRUPT")


def test_storage_that_fails_while_reading_does_not_make_the_file_a_broken_one(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 100_000:
                raise ConnectionResetError("the connection was cut")
            return super().read(size)

    data = parquet({"text": [f"{n:0100d}" for n in range(10_000)]}, use_dictionary=False, compression="none")
    monkeypatch.setattr(pipeline.objects, "open", lambda _: Cut(data))

    with pytest.raises(ConnectionResetError):
        pipeline.run("a.parquet", data)


def test_columns_that_expand_beyond_the_limit_are_refused(pipeline: Pipeline) -> None:
    data = parquet({"text": [f"{n:0100d}" for n in range(1000)]}, use_dictionary=False)

    pipeline.fails("a.parquet", data, "DECOMPRESSION_BOMB", max_expanded_bytes=50_000)


def test_one_large_value_repeated_is_refused_by_what_it_expands_to(pipeline: Pipeline) -> None:
    data = parquet({"text": ["x" * 100_000] * 1000})  # stored once, in a dictionary

    assert len(data) < 200_000
    pipeline.fails("a.parquet", data, "DECOMPRESSION_BOMB", max_expanded_bytes=10_000_000)


def test_a_file_without_a_column_of_text_is_refused(pipeline: Pipeline) -> None:
    assert "n" in pipeline.fails("a.parquet", parquet({"n": [1, 2]}), "NO_TEXT_FIELD").message


def test_a_file_without_rows_is_empty(pipeline: Pipeline) -> None:
    pipeline.fails("a.parquet", parquet({"text": pa.array([], pa.string())}), "EMPTY_INPUT")


@pytest.mark.parametrize("second", ["text", "n\xff"], ids=["twice", "not UTF-8"])
def test_columns_without_usable_names_are_refused(pipeline: Pipeline, second: str) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", second]), sink, store_schema=False)
    data = sink.getvalue().replace("n\xff".encode(), b"n\xff\xff")

    pipeline.fails("a.parquet", data, "CORRUPT")
