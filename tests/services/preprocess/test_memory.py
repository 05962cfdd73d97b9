"""A million records in bounded memory."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.preprocess import generate, in_child

RECORDS = 1_000_000
LIMIT_MIB = 400  # the service has 2 GiB for four requests at once


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("million") / "reviews.jsonl"
    generate(path, lambda records, _: records == RECORDS)
    return path


def as_jsonl(reviews: Path, target: Path) -> None:
    shutil.copyfile(reviews, target)


def as_gzip(reviews: Path, target: Path) -> None:
    with reviews.open("rb") as plain, gzip.open(target, "wb", compresslevel=1) as packed:
        shutil.copyfileobj(plain, packed)


def as_json(reviews: Path, target: Path) -> None:
    with reviews.open("rb") as lines, target.open("wb") as file:
        file.write(b"[")
        for number, line in enumerate(lines):
            file.write((b"," if number else b"") + line)
        file.write(b"]")


def as_csv(reviews: Path, target: Path) -> None:
    with reviews.open("rb") as lines, target.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "text", "label", "stars"))
        rows.writerows(json.loads(line).values() for line in lines)


def as_parquet(reviews: Path, target: Path) -> None:
    records = (json.loads(line) for line in reviews.open("rb"))
    table = pa.Table.from_pylist(list(records))
    pq.write_table(table, target, row_group_size=RECORDS)  # the worst case: one row group


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "convert"),
    [
        ("a.jsonl", as_jsonl),
        ("a.jsonl.gz", as_gzip),
        ("a.json", as_json),
        ("a.csv", as_csv),
        ("a.parquet", as_parquet),
    ],
    ids=["jsonl", "jsonl.gz", "json", "csv", "parquet"],
)
def test_a_million_records_fit(reviews: Path, tmp_path: Path, name: str, convert: object) -> None:
    assert callable(convert)
    convert(reviews, tmp_path / name)

    result = in_child("ours", tmp_path / name)

    assert result["records"] == RECORDS
    assert result["rss_mib"] < LIMIT_MIB, result
