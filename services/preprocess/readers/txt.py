"""How is plain text read: as one document, or as one a line?"""

from __future__ import annotations

from collections.abc import Iterator

from services.preprocess.encoding import encoding_of
from services.preprocess.fields import Fields
from services.preprocess.lines import UTF8_BOM, line_blocks
from services.preprocess.records import MAX_RECORD_BYTES, Batch, Collector, Reading
from services.preprocess.source import Source
from zeroidle.errors import PermanentError


def read(source: Source) -> Reading:
    """The text as a document or as lines, as options.text_mode says; with `auto` by `split_by_lines`."""
    if source.options.text_mode == "auto":
        by_lines, reason = split_by_lines(source.head, source.is_whole)
    else:
        by_lines, reason = source.options.text_mode == "lines", "text_mode is set in the options"
    fields = Fields(reason=f"{'one record a line' if by_lines else 'one document'}: {reason}")
    batches = _lines(source, fields) if by_lines else _document(source, fields)
    return Reading("txt", fields, batches, encoding_of(source.head))


def split_by_lines(head: bytes, is_whole: bool) -> tuple[bool, str]:
    """Is every line a record of its own? And why.

    Paragraphs make a document: it is one when blank lines stand between its lines, or when there is one line only. A
    file larger than the head is read by lines in any case.
    """
    if not is_whole:
        return True, "the file is too long to be one record"
    lines = [line.strip() for line in head.removeprefix(UTF8_BOM).strip().split(b"\n")]
    if len(lines) == 1:
        return False, "it has a single line"
    if b"" in lines:
        return False, "blank lines divide it into paragraphs"
    return True, f"none of its {len(lines)} lines is blank"


def _document(source: Source, fields: Fields) -> Iterator[Batch]:
    data = b""
    while chunk := source.read(MAX_RECORD_BYTES):
        data += chunk
        if len(data) > MAX_RECORD_BYTES:
            raise PermanentError(
                f"the text is larger than {MAX_RECORD_BYTES} bytes, too long to be one record",
                code="TOO_LARGE",
                hint="Set options.text_mode to lines, or split the text.",
            )
    collector = Collector(fields)
    try:
        text = data.removeprefix(UTF8_BOM).decode().strip()
    except UnicodeDecodeError as error:
        collector.reject(1, "INVALID_UTF8", f"not UTF-8 at byte {error.start + 1}", data)
    else:
        collector.add(1, text, None, None)
    yield collector.drain()


def _lines(source: Source, fields: Fields) -> Iterator[Batch]:
    collector = Collector(fields)
    for first, lines in line_blocks(source):
        for number, line in enumerate(lines, first):
            if len(line) > MAX_RECORD_BYTES:
                collector.reject_oversize(number, line)
                continue
            try:
                text = line.decode().strip()
            except UnicodeDecodeError as error:
                collector.reject(number, "INVALID_UTF8", f"not UTF-8 at byte {error.start + 1} of the line", line)
                continue
            if text:
                collector.add(number, text, None, None)
        yield collector.drain()
