"""How is a stream split into lines in bounded memory?"""

from __future__ import annotations

from collections.abc import Iterator

from services.preprocess.records import MAX_RECORD_BYTES
from services.preprocess.source import Readable

BLOCK_BYTES = 2**17  # large enough that the loop costs little, small enough that its records stay in the cache
UTF8_BOM = b"\xef\xbb\xbf"


def blocks(source: Readable) -> Iterator[tuple[int, bytes]]:
    """Runs of whole lines, without their last newline, each with the number of its first line (from 1).

    Of a line longer than MAX_RECORD_BYTES a part is dropped, so that memory is bounded; it is still longer than that,
    and the first of its block. A byte order mark at the start is dropped.
    """
    number = 1
    carry = source.read(len(UTF8_BOM)).removeprefix(UTF8_BOM)
    while chunk := source.read(BLOCK_BYTES):
        data = carry + chunk
        end = data.rfind(b"\n")
        carry = data[end + 1 :][: MAX_RECORD_BYTES + 1]
        if end >= 0:
            block = data[:end]
            yield number, block
            number += block.count(b"\n") + 1
    if carry:
        yield number, carry


def line_blocks(source: Readable) -> Iterator[tuple[int, list[bytes]]]:
    """`blocks`, split into lines."""
    return ((number, block.split(b"\n")) for number, block in blocks(source))


def sample_lines(head: bytes, is_whole: bool, limit: int) -> list[bytes]:
    """The first lines of `head` that are not blank and not cut, at most `limit`."""
    lines = head.removeprefix(UTF8_BOM).split(b"\n")
    if not is_whole:
        lines.pop()
    return [line for line in lines if line.strip()][:limit]
