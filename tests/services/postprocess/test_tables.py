"""Predictions of every task are the same in both files, and floats in JSON are as short as they were meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.postprocess.tables import PredictionFiles
from zeroidle.contracts.services import ObjectRef

ENTITY = pa.struct([("label", pa.string()), ("score", pa.float32()), ("start", pa.int64()), ("end", pa.int64())])
FOUND = [{"label": "PER", "score": 0.9, "start": 0, "end": 5}, {"label": "LOC", "score": 0.7, "start": 9, "end": 12}]


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        pytest.param("entities", pa.list_(ENTITY), [FOUND, [], FOUND[:1]], id="entities"),
        pytest.param("embedding", pa.list_(pa.float32()), [[0.1, -0.2], [0.3, 12345.5], [1.0, 0.0]], id="embeddings"),
    ],
)
def test_nested_predictions_are_written_to_both_files(
    column: str, kind: pa.DataType, values: list[Any], tmp_path: Path
) -> None:
    shard = pa.table({"id": ["a", "b", "c"], "line": [1, 2, 3], column: pa.array(values, kind)})

    with PredictionFiles(tmp_path, ObjectRef(bucket="bkt", name="x", generation="1")) as files:
        files.add(shard, [])
        files.add(shard, [])

    lines = [json.loads(line) for line in files.jsonl.read_text().splitlines()]
    assert [line[column] for line in lines] == values * 2
    table = pq.read_table(files.parquet)
    assert table[column].to_pylist() == pa.array(values * 2, kind).to_pylist()
    assert table["id"].to_pylist() == [line["id"] for line in lines]
