"""How is Parquet read? The wanted columns only, a small batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from services.preprocess.fields import Fields, choose_fields
from services.preprocess.records import Batch, Collector, Reading
from services.preprocess.source import MAX_RATIO, RATIO_FREE_BYTES, Source
from zeroidle.contracts.services import InputOptions
from zeroidle.errors import PermanentError, printable

SAMPLE_ROWS = 200
# Few: a dictionary-encoded column may hold one large value once and repeat it in every row, and each becomes a string.
BATCH_ROWS = 256
# A column is read through a buffer instead of as a whole, for a file may be one row group. As large as a chunk of the
# stream beneath, so that going from column to column fetches little twice.
BUFFER_BYTES = 8 * 2**20


def read(source: Source) -> Reading:
    """The rows of a Parquet file; `line` is the row, from 1.

    Raises:
        PermanentError: CORRUPT (also from the batches); DECOMPRESSION_BOMB, it says that it expands beyond the limits.
    """
    with _translated():
        file = pq.ParquetFile(source.file(), buffer_size=BUFFER_BYTES, pre_buffer=False)
        plain = [column.name for column in file.schema_arrow if _is_plain(column.type)]
        fields = choose_fields(_sample(file, plain), source.options)
        _check_size(file.metadata, fields, source.options)
    return Reading("parquet", fields, _batches(source, fields))


def _is_plain(kind: pa.DataType) -> bool:
    is_binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return not pa.types.is_nested(kind) and not is_binary


def _sample(file: pq.ParquetFile, columns: list[str]) -> list[dict[str, object]]:
    for rows in file.iter_batches(SAMPLE_ROWS, columns=columns):
        values = [_strings(column) if _is_text(column.type) else column.to_pylist() for column in rows.columns]
        return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
    return [{name: "" if _is_text(file.schema_arrow.field(name).type) else None for name in columns}]


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_size(metadata: pq.FileMetaData, fields: Fields, options: InputOptions) -> None:
    wanted = {fields.text, fields.id, fields.label}
    chunks = [
        chunk
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for chunk in map(group.column, range(group.num_columns))
        if chunk.path_in_schema in wanted
    ]
    expanded = sum(chunk.total_uncompressed_size for chunk in chunks)
    stored = sum(chunk.total_compressed_size for chunk in chunks)
    if expanded > options.max_expanded_bytes or expanded > max(RATIO_FREE_BYTES, MAX_RATIO * stored):
        raise _bomb(f"its columns expand from {stored} to {expanded} bytes")


def _batches(source: Source, fields: Fields) -> Iterator[Batch]:
    columns = [name for name in (fields.text, fields.id, fields.label) if name]
    collector = Collector(fields)
    expanded = 0
    with _translated():
        file = pq.ParquetFile(source.file(), buffer_size=BUFFER_BYTES, pre_buffer=False)
        for rows in file.iter_batches(BATCH_ROWS, columns=columns):
            expanded += rows.nbytes
            if expanded > source.options.max_expanded_bytes:
                raise _bomb(f"its columns expand to more than {source.options.max_expanded_bytes} bytes")
            for text, id_, label in zip(*_columns(rows, fields), strict=True):
                collector.add(collector.row + 1, text, id_, label)
            yield collector.drain()


def _columns(rows: pa.RecordBatch, fields: Fields) -> Iterator[list[str | None]]:
    for name in (fields.text, fields.id, fields.label):
        yield _strings(rows.column(name)) if name else [None] * rows.num_rows


def _strings(column: pa.Array) -> list[str | None]:
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    column = column.cast(pa.string())
    try:
        strings: list[str | None] = column.to_pylist()
        return strings
    except UnicodeDecodeError:  # the reader does not check; lone surrogates mark what is not UTF-8
        data = column.cast(pa.binary()).to_pylist()
        return [None if value is None else value.decode(errors="surrogateescape") for value in data]


@contextmanager
def _translated() -> Iterator[None]:
    """Arrow's errors as ours; what storage raised passes."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        # KeyError and UnicodeDecodeError: names of columns that stand twice, or are not UTF-8.
        # Arrow raises the bare OSError; a subclass is the network's, and worth another try.
        if isinstance(error, OSError) and type(error) is not OSError:
            raise
        raise PermanentError(
            f"the Parquet file is broken: {printable(str(error), 200)}",
            code="CORRUPT",
            hint="Write it again, and compare the size of the upload.",
        ) from error


def _bomb(message: str) -> PermanentError:
    return PermanentError(
        f"the Parquet file is refused: {message}",
        code="DECOMPRESSION_BOMB",
        hint="Split it, or raise options.max_expanded_bytes if the size is meant.",
    )
