"""What a file is, by its content; and what is refused, with advice."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from services.preprocess.detect import hint_of
from tests.services.preprocess.pipeline import Pipeline


def png() -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(sink, "PNG")
    return sink.getvalue()


def archive() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        file.writestr("a.txt", "text")
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.txt", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
        ("a.csv", archive(), "ZIP"),
        ("a.txt", b"MZ\x90\x00\x03\x00\x00\x00", "Windows program"),
        ("a.jsonl", b"\x7fELF\x02\x01\x01\x00", "ELF"),
        ("a.txt", b"<!DOCTYPE html>\n<html><body>hi</body></html>", "HTML"),
        ("a.csv", b'\xef\xbb\xbf<?xml version="1.0"?><rows/>', "XML"),
        ("a.csv", png(), "PNG"),
        ("a.parquet", png(), "PNG"),
        ("a.png", b"just text\n", "plain text"),
        ("a.parquet", b"id,text\n1,a\n", "plain text"),
        ("a.json", b"just text\n", "not JSON"),
        ("a.jsonl", b"id,text\n1,a\n", "not JSON"),
        ("a.txt", bytes(range(256)) * 4, "binary"),
        ("a.txt.gz", gzip.compress(gzip.compress(b"text")), "gzip inside gzip"),
        ("a.txt", b"\x28\xb5\x2f\xfd\x04\x00", "Zstandard"),
        ("no-extension", b"SQLite format 3\x00" + b"\0" * 100, "SQLite"),
    ],
    ids=[
        "pdf", "zip", "exe", "elf", "html", "xml behind a mark", "png as csv", "png as parquet", "text as png",
        "csv as parquet", "text as json", "csv as jsonl", "binary", "twice gzipped", "zstd", "sqlite",
    ],
)  # fmt: skip
def test_what_is_not_read_is_named(pipeline: Pipeline, name: str, data: bytes, kind: str) -> None:
    assert kind in pipeline.fails(name, data, "WRONG_TYPE").message


@pytest.mark.parametrize(
    ("name", "data", "format_"),
    [
        ("a.csv", b'{"text": "a"}\n{"text": "b"}\n', "jsonl"),
        ("a.txt", b'{"text": "a"}\nnot this\n{"text": "b"}\n', "jsonl"),
        ("a.jsonl", b'[{"text": "a"}]', "json"),
        ("upload", b'{"text": "a"}\n{"text": "b"}\n', "jsonl"),
        ("upload", b'[{"text": "a"}]', "json"),
        ("upload", b"id;text\n1;a\n2;b\n", "csv"),
        ("upload", b"Some prose, with a comma.\nAnd more of it.\n", "txt"),
        ("a.tsv", b"id\ttext\n1\ta\n", "csv"),
        ("a.txt", b"[1] a footnote\n[2] another\n", "txt"),
        ("a.txt", b"a, b\nc, d\n", "txt"),
        ("a.csv.gz", gzip.compress(b"id,text\n1,a\n"), "csv"),
        ("a.jsonl", gzip.compress(b'{"text": "a"}\n'), "jsonl"),
        ("a.jsonl.gz", b'{"text": "a"}\n', "jsonl"),
    ],
    ids=[
        "jsonl as csv", "jsonl as txt", "list as jsonl", "jsonl without a name", "list without a name",
        "csv without a name", "prose without a name", "tsv", "footnotes", "commas in txt", "csv.gz",
        "gzip without .gz", ".gz without gzip",
    ],
)  # fmt: skip
def test_content_decides(pipeline: Pipeline, name: str, data: bytes, format_: str) -> None:
    pipeline.run(name, data)

    assert pipeline.manifest().format == format_


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "Schöne Grüße aus Köln, es war großartig.\n" * 5),
        ("a.csv", "id,text\n" + "1,Schöne Grüße aus Köln\n" * 5),
        ("a.jsonl", '{"text": "Schöne Grüße aus Köln"}\n' * 5),
    ],
    ids=["txt", "csv", "jsonl"],
)
def test_another_encoding_is_named_with_the_command_that_helps(
    pipeline: Pipeline, name: str, text: str, encoding: str
) -> None:
    error = pipeline.fails(name, text.encode(encoding), "NOT_UTF8")

    named = str(error.details["encoding"])
    assert named in error.message
    assert f"iconv -f {named} -t UTF-8" in error.hint
    assert text.encode(encoding).decode(named).lstrip("\ufeff") == text


def test_when_every_record_is_not_utf8_the_file_is_not(pipeline: Pipeline) -> None:
    pipeline.fails("a.jsonl", b'{"text": "plain\xe9"}\n\n{"text": "\xe9"}\n', "NOT_UTF8")


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n", b"\xef\xbb\xbf\n", gzip.compress(b"", mtime=0)])
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.json", "a.jsonl"])
def test_an_empty_file_is_refused(pipeline: Pipeline, name: str, data: bytes) -> None:
    pipeline.fails(name, data, "EMPTY_INPUT")


@pytest.mark.parametrize("name", ["letter.txt", "products.csv", "reviews.jsonl"])
def test_the_examples_are_read_whole(pipeline: Pipeline, name: str) -> None:
    data = Path(__file__).parents[3].joinpath("examples", name).read_bytes()

    assert pipeline.run(name, data)
    assert pipeline.manifest().rejected == 0


@pytest.mark.parametrize(
    ("name", "hint"),
    [("x/y.CSV", "csv"), ("a.jsonl.gz", "jsonl"), ("a.pdf", None), ("../../etc/passwd", None), ("a.csv/b", None)],
)
def test_a_name_is_only_a_hint(name: str, hint: str | None) -> None:
    assert hint_of(name) == hint
