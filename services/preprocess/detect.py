"""What is this file? Its content decides; its name is a hint where content cannot tell (prose or one column of CSV).

What it is by its content, in this order:

    magic bytes           parquet, png, jpeg; what else is known is refused by its name
    most lines objects    jsonl, whatever the file is called (.txt and .json often are)
    an object or a list   json
    other text            csv if called .csv or .tsv, txt if called .txt; else csv if its rows have equal width
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import NoReturn

from services.preprocess.delimiter import sniff
from services.preprocess.encoding import refuse_other_encoding, refuse_wide
from services.preprocess.lines import UTF8_BOM, sample_lines
from services.preprocess.readers.jsonl import as_object
from services.preprocess.records import Format
from services.preprocess.source import GZIP, Source
from zeroidle.errors import PermanentError, printable

SAMPLE_LINES = 20
SUPPORTED = ".txt .json .jsonl .csv .parquet .png .jpg, each also gzipped"

BY_EXTENSION: dict[str, Format] = {
    "txt": "txt", "text": "txt", "md": "txt", "log": "txt",
    "json": "json", "jsonl": "jsonl", "ndjson": "jsonl",
    "csv": "csv", "tsv": "csv",
    "parquet": "parquet", "pq": "parquet",
    "png": "image", "jpg": "image", "jpeg": "image",
}  # fmt: skip

_BINARY: tuple[tuple[bytes, Format, str], ...] = (
    (b"PAR1", "parquet", "a Parquet file"),
    (b"\x89PNG\r\n\x1a\n", "image", "a PNG image"),
    (b"\xff\xd8\xff", "image", "a JPEG image"),
)
# (offset, magic, what it is, what to do)
_FOREIGN: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"%PDF-", "a PDF document", "Export its text, or its pages as PNG images."),
    (0, b"PK\x03\x04", "a ZIP archive (or a .docx, .xlsx or .pptx)", "Unpack it, or export it as .txt or .csv."),
    (0, b"PK\x05\x06", "an empty ZIP archive", "Upload the files themselves."),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document (.doc, .xls)", "Export it as .txt or .csv."),
    (0, b"{\\rtf", "an RTF document", "Export it as plain text."),
    (0, GZIP, "gzip inside gzip", "Compress it once."),
    (0, b"BZh", "a bzip2 file", "Compress it with gzip instead."),
    (0, b"\xfd7zXZ\x00", "an xz file", "Compress it with gzip instead."),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file", "Compress it with gzip instead."),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it and upload the files."),
    (0, b"Rar!\x1a\x07", "a RAR archive", "Unpack it and upload the files."),
    (257, b"ustar", "a tar archive", "Unpack it and upload the files."),
    (0, b"\x7fELF", "a program (ELF)", "Upload data, not programs."),
    (0, b"MZ\x90\x00", "a Windows program", "Upload data, not programs."),
    (0, b"GIF8", "a GIF image", "Convert it to PNG."),
    (0, b"II*\x00", "a TIFF image", "Convert it to PNG."),
    (0, b"MM\x00*", "a TIFF image", "Convert it to PNG."),
    (8, b"WEBP", "a WebP image", "Convert it to PNG."),
    (4, b"ftyp", "a video or HEIC image", "Convert an image to PNG; video is not read."),
    (0, b"SQLite format 3\x00", "an SQLite database", "Export the table as .csv."),
    (0, b"Obj\x01", "an Avro file", "Convert it to Parquet."),
    (0, b"ORC", "an ORC file", "Convert it to Parquet."),
    (0, b"ARROW1", "an Arrow file", "Convert it to Parquet."),
    (0, b"PARE", "an encrypted Parquet file", "Write it without encryption."),
)  # fmt: skip
_MARKUP = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|\?xml|svg)\b", re.IGNORECASE | re.DOTALL)
_JSON_START = re.compile(rb"\s*(?:\{\s*[\"}]|\[\s*[\[{\"\]])")
# A share of control characters that texts never reach: a stray one is for the reader to set aside with its record.
MAX_CONTROL = 0.02
# Of what stands below the space only tab, newline, vertical tab, form feed, return and escape appear in texts.
_CONTROL = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1b")


def detect(source: Source) -> Format:
    """The format of an input, from its head.

    Raises:
        PermanentError: WRONG_TYPE, naming what it looks like; NOT_UTF8; EMPTY_INPUT, nothing but white space.
    """
    head, hint = source.head, hint_of(source.name)
    for magic, format_, kind in _BINARY:
        if head.startswith(magic):
            if hint not in (None, format_):
                _refuse(source.name, kind, f"Rename it, so that its name says what it is; read are {SUPPORTED}.")
            return format_
    for offset, magic, kind, advice in _FOREIGN:
        if head[offset:].startswith(magic):
            _refuse(source.name, kind, advice)
    refuse_wide(head)
    if (len(head) - len(head.translate(None, _CONTROL))) > MAX_CONTROL * len(head):
        _refuse(source.name, "binary data", f"Read are {SUPPORTED}.")
    refuse_other_encoding(head)
    if _MARKUP.match(head.removeprefix(UTF8_BOM)[:4096]):
        _refuse(source.name, "an HTML or XML page", "Extract its text, or write its records as JSON Lines.")
    if hint in ("parquet", "image"):
        _refuse(source.name, "plain text", "Rename it to .txt, .csv or .jsonl, or upload the file that was meant.")
    if source.is_whole and not head.removeprefix(UTF8_BOM).strip():
        raise PermanentError(
            "the file holds nothing but white space", code="EMPTY_INPUT", hint="Upload a file with at least one record."
        )
    return _text_format(source, hint)


def hint_of(name: str) -> Format | None:
    """What a name says, if anything: the extension, without a .gz behind it."""
    path = PurePosixPath(name.rpartition("/")[2].casefold().removesuffix(".gz"))
    return BY_EXTENSION.get(path.suffix[1:])


def _text_format(source: Source, hint: Format | None) -> Format:
    head = source.head.removeprefix(UTF8_BOM)
    lines = sample_lines(head, source.is_whole, SAMPLE_LINES)
    objects = sum(as_object(line) is not None for line in lines)
    if 2 * objects > len(lines):
        return "json" if len(lines) == 1 and source.is_whole and hint != "jsonl" else "jsonl"
    if hint == "jsonl":
        if _JSON_START.match(head) and head.lstrip().startswith(b"["):
            return "json"
        if any(line.lstrip()[:1] in (b"{", b"[", b'"') for line in lines) or not lines:
            return "jsonl"
    elif _JSON_START.match(head) or (hint == "json" and head.lstrip()[:1] in (b"{", b"[")):
        return "json"
    if hint in ("json", "jsonl"):
        _refuse(source.name, "plain text, not JSON", "Rename it to .txt or .csv, or write one JSON object a line.")
    if hint in ("csv", "txt"):
        return hint
    return "csv" if sniff(lines).agreement == 1 else "txt"


def _refuse(name: str, kind: str, advice: str) -> NoReturn:
    raise PermanentError(f"{printable(name)!r} looks like {kind}", code="WRONG_TYPE", hint=advice)
