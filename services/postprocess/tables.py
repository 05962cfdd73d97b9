"""What does a person get as predictions? One row a record, as Parquet and as JSON lines, written shard by shard.

    text-classification   id, label, score, scores{<class>: score}, input, line
    token-classification  id, entities[{label, score, start, end, text}], input, line
    feature-extraction    id, embedding[...], input, line

`input` is `gs://bucket/name#generation`, `line` the line (or row) of the record in it, counted from 1.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zeroidle.contracts import shards
from zeroidle.contracts.services import ObjectRef

DIGITS = 7  # behind the point, in JSON

_encoder = msgspec.json.Encoder()


class PredictionFiles:
    """Writes `predictions.parquet` and `predictions.jsonl` side by side into `folder`."""

    def __init__(self, folder: Path, source: ObjectRef) -> None:
        self.parquet = folder / "predictions.parquet"
        self.jsonl = folder / "predictions.jsonl"
        self._input = f"gs://{source.bucket}/{source.name}#{source.generation}"
        self._lines = self.jsonl.open("wb")
        self._writer: pq.ParquetWriter | None = None

    def add(self, predictions: pa.Table, classes: list[str]) -> None:
        """Append the predictions of one shard; `classes` is the order of its scores."""
        table = self._readable(predictions, classes)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.parquet, table.schema, compression="zstd")
        self._writer.write_table(table)
        columns = {name: _rounded(table[name].combine_chunks()) for name in table.column_names}
        self._lines.write(_encoder.encode_lines(pa.table(columns).to_pylist()))

    def _readable(self, predictions: pa.Table, classes: list[str]) -> pa.Table:
        columns: dict[str, Any] = {shards.ID: predictions[shards.ID]}
        for name in (shards.LABEL, shards.SCORE, shards.ENTITIES, shards.EMBEDDING):
            if name in predictions.column_names:
                columns[name] = predictions[name]
        if shards.SCORES in predictions.column_names:
            columns[shards.SCORES] = _by_class(predictions[shards.SCORES].combine_chunks(), classes)
        columns["input"] = pa.repeat(self._input, predictions.num_rows).dictionary_encode()
        columns[shards.LINE] = predictions[shards.LINE]
        return pa.table(columns)

    def __enter__(self) -> PredictionFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        if self._writer is not None:
            self._writer.close()


def _by_class(scores: Any, classes: list[str]) -> pa.StructArray:
    """list<float> in the order of `classes` -> struct<class: float>."""
    flat, width = scores.flatten(), len(classes)
    rows = pa.array(range(len(scores)), pa.int64())
    arrays = [flat.take(pc.add(pc.multiply(rows, width), index)) for index in range(width)]
    return pa.StructArray.from_arrays(arrays, names=classes)


def _rounded(array: Any) -> Any:
    """Floats as a person reads them: float32 has about seven digits, the rest is noise of the conversion."""
    kind = array.type
    if pa.types.is_floating(kind):
        return pc.round(array.cast(pa.float64()), DIGITS)
    if pa.types.is_struct(kind):
        return pa.StructArray.from_arrays(list(map(_rounded, array.flatten())), names=[field.name for field in kind])
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(array.offsets, _rounded(array.values))
    return array
