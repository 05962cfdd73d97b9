"""How is JSON Lines read: one object a line?

The hot path of the service. A block of lines is decoded at once by msgspec, into structs that hold the wanted fields
only; what the others contain is skipped, not built. A block with any bad line is judged line by line instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from services.preprocess.encoding import encoding_of
from services.preprocess.fields import Fields, choose_fields
from services.preprocess.lines import blocks, sample_lines
from services.preprocess.records import MAX_RECORD_BYTES, Batch, Collector, Reading, as_texts, columns
from services.preprocess.source import Source
from zeroidle.errors import printable

SAMPLE_RECORDS = 200
# UnicodeDecodeError for a text that is not UTF-8, RecursionError for one nested thousands deep.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
Plain = str | int | float | bool | None


def read(source: Source) -> Reading:
    """The records of a file of JSON objects, one a line; blank lines are skipped."""
    sample = map(as_object, sample_lines(source.head, source.is_whole, SAMPLE_RECORDS))
    fields = choose_fields([record for record in sample if record], source.options)
    return Reading("jsonl", fields, _batches(source, fields), encoding_of(source.head))


def as_object(line: bytes) -> dict[str, object] | None:
    """The line as a JSON object, or None."""
    try:
        return msgspec.json.decode(line, type=dict[str, object])
    except DECODE_ERRORS:
        return None


def _batches(source: Source, fields: Fields) -> Iterator[Batch]:
    decoder = msgspec.json.Decoder(_record_type(fields))
    row = 0
    for first, block in blocks(source):
        batch = _all_good(decoder, fields, first, row, block)
        if batch is None:
            batch = _one_by_one(decoder, fields, first, row, block)
        row += len(batch)
        yield batch


def _record_type(fields: Fields) -> type[Any]:
    members: list[tuple[str, Any, Any]] = [("text", str, msgspec.field(name=fields.text))]
    if fields.id:
        members.append(("id", Plain, msgspec.field(name=fields.id, default=None)))
    if fields.label:
        members.append(("label", Plain, msgspec.field(name=fields.label, default=None)))
    return msgspec.defstruct("Record", members, gc=False)


def _all_good(decoder: Any, fields: Fields, first: int, row: int, block: bytes) -> Batch | None:
    """The block as a batch, or None if any of its lines is not a valid record."""
    count = block.count(b"\n") + 1
    # Inside a value no `}` meets a `{` with only a newline between. So if all newlines stand so, each is between
    # values, and if there are as many values as lines, each line holds one.
    between = block.count(b"}\n{") or block.count(b"}\r\n{")
    if between != count - 1 or len(block) > MAX_RECORD_BYTES:
        return None
    try:
        records = decoder.decode_lines(block)
    except DECODE_ERRORS:
        return None
    texts = [record.text for record in records]
    if len(records) != count or "" in texts or any(map(str.isspace, texts)):
        return None
    rows = np.arange(row, row + count)
    ids: Any = as_texts([record.id for record in records]) if fields.id else map(str, rows.tolist())
    if fields.id and not all(ids):
        ids = [id_ or str(number) for id_, number in zip(ids, rows.tolist(), strict=True)]
    labels = as_texts([record.label for record in records]) if fields.label else [None] * count
    return Batch(columns(rows, ids, np.arange(first, first + count), texts, labels))


def _one_by_one(decoder: Any, fields: Fields, first: int, row: int, block: bytes) -> Batch:
    collector = Collector(fields, row)
    for number, line in enumerate(block.split(b"\n"), first):
        if len(line) > MAX_RECORD_BYTES:
            collector.reject_oversize(number, line)
        elif line.strip():
            _judge(collector, decoder, fields, number, line)
    return collector.drain()


def _judge(collector: Collector, decoder: Any, fields: Fields, number: int, line: bytes) -> None:
    try:
        record = decoder.decode(line)
    except DECODE_ERRORS:
        try:
            collector.take(number, msgspec.json.decode(line), line)  # it is JSON: say what of its shape is wrong
        except DECODE_ERRORS as error:
            collector.reject(number, *_why_not_json(line, error), line)
    else:
        id_ = record.id if fields.id else None
        collector.add(number, record.text, id_, record.label if fields.label else None, line)


def _why_not_json(line: bytes, error: Exception) -> tuple[str, str]:
    try:
        line.decode()
    except UnicodeDecodeError as problem:
        return "INVALID_UTF8", f"not UTF-8 at byte {problem.start + 1} of the line: 0x{line[problem.start]:02x}"
    if isinstance(error, RecursionError):
        return "MALFORMED_JSON", "nested too deeply"
    return "MALFORMED_JSON", printable(str(error), 200)
