"""How is CSV read?

The first row names the columns; commas, semicolons, tabs or bars delimit them; a quoted cell may span lines.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Protocol

from services.preprocess.delimiter import sniff
from services.preprocess.encoding import encoding_of
from services.preprocess.fields import Fields, choose_fields
from services.preprocess.lines import UTF8_BOM, line_blocks, sample_lines
from services.preprocess.records import MAX_RECORD_BYTES, Batch, Collector, Reading
from services.preprocess.source import Source
from zeroidle.errors import PermanentError

SAMPLE_ROWS = 200
BATCH_RECORDS = 4096


def read(source: Source) -> Reading:
    """The rows of a table in text. A column without a name is called `column_<n>`.

    Raises:
        PermanentError: CORRUPT, the first row cannot be read.
    """
    csv.field_size_limit(MAX_RECORD_BYTES)  # one number for the whole process, and the same for all
    sample = sample_lines(source.head, source.is_whole, SAMPLE_ROWS)
    delimiter = sniff(sample).delimiter
    rows = csv.reader(_sample_text(source), delimiter=delimiter)
    names = _column_names(rows)
    records = [dict(zip(names, row, strict=True)) for row in _first(rows, SAMPLE_ROWS) if len(row) == len(names)]
    fields = choose_fields(records or [dict.fromkeys(names, "")], source.options)
    return Reading("csv", fields, _batches(source, delimiter, names, fields), encoding_of(source.head))


def _sample_text(source: Source) -> Iterator[str]:
    lines = source.head.removeprefix(UTF8_BOM).split(b"\n")
    if not source.is_whole:
        lines.pop()
    return (line.decode(errors="replace") + "\n" for line in lines)


def _first(rows: Iterator[list[str]], count: int) -> Iterator[list[str]]:
    for _ in range(count):
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error:
            continue


def _column_names(rows: Iterator[list[str]]) -> list[str]:
    try:
        header = next(row for row in rows if row)
    except (csv.Error, StopIteration) as error:
        raise PermanentError(
            f"the first row, which names the columns, cannot be read: {error or 'it is too long'}",
            code="CORRUPT",
            hint="Rows end in a newline. If yours end in returns alone, convert it: tr '\\r' '\\n' < in > out",
        ) from error
    return [name.strip() or f"column_{number}" for number, name in enumerate(header, 1)]


def _batches(source: Source, delimiter: str, names: list[str], fields: Fields) -> Iterator[Batch]:
    rows = _numbered(csv.reader(_text_lines(source), delimiter=delimiter))
    next(rows, None)  # the header
    width = len(names)
    text = names.index(fields.text or "")
    id_ = names.index(fields.id) if fields.id else None
    label = names.index(fields.label) if fields.label else None
    collector = Collector(fields)
    for line, row in rows:
        if isinstance(row, csv.Error):
            collector.reject(line, "MALFORMED_CSV", f"{row}; is a quote opened in this row and never closed?")
        elif len(row) != width:
            excerpt = delimiter.join(row)[:MAX_RECORD_BYTES]
            collector.reject(line, "RAGGED_ROW", f"{len(row)} columns, the header has {width}", excerpt)
        else:
            collector.add(
                line,
                row[text],
                None if id_ is None else row[id_],
                None if label is None else row[label] or None,
                "",
            )
        if len(collector) >= BATCH_RECORDS:
            yield collector.drain()
    yield collector.drain()


class _Rows(Protocol):
    """What csv.reader returns."""

    line_num: int

    def __next__(self) -> list[str]: ...


def _numbered(rows: _Rows) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Rows that are not blank, each with the number of its first line; an error in place of a row that is none."""
    while True:
        first = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield first, error
        else:
            if row:
                yield first, row


def _text_lines(source: Source) -> Iterator[str]:
    # What is not UTF-8 survives as lone surrogates, which no UTF-8 text holds, until its row is complete.
    for _, lines in line_blocks(source):
        for line in lines:
            yield line.decode(errors="surrogateescape") + "\n"
