"""What does a reader hand on? Records in columns, a batch at a time, and beside them what it had to set aside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from services.preprocess.fields import Fields
from zeroidle.contracts.shards import ID, LABEL, LINE, ROW, TEXT, Rejected
from zeroidle.errors import printable

# One record: a line, a row's text, a document. No model reads more, and it bounds what a hostile line can occupy.
MAX_RECORD_BYTES = 2**20
EXCERPT_CHARS = 120

Format = Literal["txt", "json", "jsonl", "csv", "parquet", "image"]


# `row` counts the records of the input from 0, rejected ones too, so that a row finds its source again. `line` counts
# source lines from 1, or rows where the format has no lines.
SCHEMA = pa.schema(
    [(ROW, pa.int64()), (ID, pa.string()), (LINE, pa.int64()), (TEXT, pa.string()), (LABEL, pa.string())]
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Valid records as columns of SCHEMA, and the records set aside between them."""

    records: pa.RecordBatch
    rejected: list[Rejected] = field(default_factory=list)

    def __len__(self) -> int:
        return int(self.records.num_rows) + len(self.rejected)


@dataclass(frozen=True, slots=True)
class Reading:
    """An input being read: what its head told, and the records as they come."""

    format: Format
    fields: Fields
    batches: Iterator[Batch]
    encoding: str | None = None  # of a text format


class Collector:
    """Judges records one by one and gathers them into a batch. `row` is the number of the next record."""

    def __init__(self, fields: Fields, row: int = 0) -> None:
        self.row = row
        self._fields = fields
        self._clear()

    def __len__(self) -> int:
        return len(self._texts) + len(self._rejected)

    def take(self, line: int, record: object, source: object = "") -> None:
        """One record as the format's parser gave it, which should be an object with the wanted fields."""
        fields = self._fields
        if not isinstance(record, Mapping):
            self.reject(line, "NOT_AN_OBJECT", f"expected an object, got {kind_of(record)}", source)
        elif fields.text not in record:
            self.reject(line, "MISSING_TEXT", f"field {printable(fields.text)!r} is missing", source)
        else:
            id_ = record.get(fields.id) if fields.id else None
            self.add(line, record[fields.text], id_, record.get(fields.label) if fields.label else None, source)

    def add(self, line: int, text: object, id_: object, label: object, source: object = "") -> None:
        """One record by its parts; set aside if its text is none, or its id or label is not a plain value."""
        fields = self._fields
        if text is None or (isinstance(text, str) and not text.strip()):
            self.reject(line, "EMPTY_TEXT", f"{_named(fields.text)} is empty", source)
        elif not isinstance(text, str):
            self.reject(line, "TEXT_NOT_STRING", f"{_named(fields.text)} is {kind_of(text)}, not a string", source)
        elif len(text) > MAX_RECORD_BYTES:
            self.reject_oversize(line, text)
        elif not all(map(is_unicode, (text, id_, label))):
            self.reject(line, "INVALID_UTF8", "not valid Unicode", source or text)
        elif not is_plain(id_):
            self.reject(line, "INVALID_FIELD", f"{_named(fields.id)} is {kind_of(id_)}, not a plain value", source)
        elif not is_plain(label):
            self.reject(line, "INVALID_FIELD", f"{_named(fields.label)} is {kind_of(label)}, not a plain value", source)
        else:
            self._rows.append(self.row)
            self._ids.append(as_text(id_) or str(self.row))
            self._lines.append(line)
            self._texts.append(text)
            self._labels.append(as_text(label))
            self.row += 1

    def reject(self, line: int, code: str, message: str, source: object = "") -> None:
        """Set a record aside."""
        self._rejected.append(Rejected(line=line, code=code, message=message, excerpt=_excerpt(source)))
        self.row += 1

    def reject_oversize(self, line: int, source: object) -> None:
        """Set aside a record that is longer than any model reads."""
        self.reject(line, "RECORD_TOO_LARGE", f"the record is larger than {MAX_RECORD_BYTES} bytes", source)

    def drain(self) -> Batch:
        """What was gathered since the last call."""
        batch = Batch(columns(self._rows, self._ids, self._lines, self._texts, self._labels), self._rejected)
        self._clear()
        return batch

    def _clear(self) -> None:
        self._rows: list[int] = []
        self._ids: list[str] = []
        self._lines: list[int] = []
        self._texts: list[str] = []
        self._labels: list[str | None] = []
        self._rejected: list[Rejected] = []


def columns(*values: Any) -> pa.RecordBatch:
    """Sequences or arrays, one for each column of SCHEMA, as a batch."""
    return pa.record_batch([pa.array(*column) for column in zip(values, SCHEMA.types, strict=True)], schema=SCHEMA)


def _excerpt(source: object) -> str:
    """How a record begins, whatever form its parser left it in."""
    if isinstance(source, bytes):
        text = source[: 4 * EXCERPT_CHARS].decode(errors="replace")
    elif isinstance(source, str):
        text = source[:EXCERPT_CHARS].encode(errors="replace").decode()
    else:
        try:
            text = json.dumps(source, ensure_ascii=False, default=str)
        except (RecursionError, ValueError):
            text = kind_of(source)
    return printable(text.strip(), EXCERPT_CHARS)


def _named(field: str | None) -> str:
    return f"field {printable(field)!r}" if field else "the text"


def is_plain(value: object) -> bool:
    """Can the value stand in an id or label column?"""
    return value is None or isinstance(value, str | int | float)


def is_unicode(value: object) -> bool:
    """Does it hold no lone surrogates, with which readers mark bytes that are not UTF-8?"""
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
    return True


def as_text(value: object) -> str | None:
    """A plain value as a string, spelt as JSON spells it; None stays None."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def as_texts(values: list[Any]) -> list[Any]:
    """`as_text` of a column; for free if they are strings already, as most are."""
    return values if set(map(type, values)) <= {str, type(None)} else list(map(as_text, values))


def kind_of(value: object) -> str:
    """A value's type, in JSON's words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case Mapping():
            return "an object"
        case list():
            return "a list"
        case _:
            return f"a {type(value).__name__}"
