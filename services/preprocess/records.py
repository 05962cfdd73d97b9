"""What does a reader hand on? Records in columns, a batch at a time, and beside them what it had to set aside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from services.preprocess.fields import Fields
from zeroidle.contracts.shards import Rejected
from zeroidle.errors import printable

# One record: a line, a row's text, a document. No model reads more, and it bounds what a hostile line can occupy.
MAX_RECORD_BYTES = 2**20
EXCERPT_CHARS = 120

Format = Literal["txt", "json", "jsonl", "csv", "parquet", "image"]


@dataclass(slots=True)
class Batch:
    """Columns of equal length, one entry a valid record, and the records set aside between them.

    `rows` counts the records of the input from 0, the rejected ones included, so a row finds its source again.
    `lines` counts source lines from 1, or rows where the format has no lines.
    """

    rows: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts) + len(self.rejected)


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
        self.batch = Batch()
        self._fields = fields

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
            batch = self.batch
            batch.rows.append(self.row)
            batch.lines.append(line)
            batch.ids.append(as_text(id_) or str(self.row))
            batch.texts.append(text)
            batch.labels.append(as_text(label))
            self.row += 1

    def reject(self, line: int, code: str, message: str, source: object = "") -> None:
        """Set a record aside."""
        self.batch.rejected.append(Rejected(line=line, code=code, message=message, excerpt=_excerpt(source)))
        self.row += 1

    def reject_oversize(self, line: int, source: object) -> None:
        """Set aside a record that is longer than any model reads."""
        self.reject(line, "RECORD_TOO_LARGE", f"the record is larger than {MAX_RECORD_BYTES} bytes", source)

    def drain(self) -> Batch:
        """What was gathered since the last call."""
        batch, self.batch = self.batch, Batch()
        return batch


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
