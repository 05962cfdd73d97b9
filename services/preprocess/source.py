"""What are the bytes of an input, expanded and within limits?

Content decides whether an input is gzipped, not its name. Everything is a stream: no more than a chunk is in memory.
"""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol

from zeroidle.contracts.services import InputOptions
from zeroidle.errors import PermanentError
from zeroidle.ports import ObjectInfo, Objects

HEAD_BYTES = 256 * 2**10  # what detection and guesses see
COPY_BYTES = 2**20
GZIP = b"\x1f\x8b"
# deflate reaches 1,032:1 on one repeated byte; text in whatever format stays far below 100:1.
MAX_RATIO = 250
RATIO_FREE_BYTES = 64 * 2**20  # below this size an expansion hurts nobody, whatever its ratio
# A gzipped file that must be read out of order lies on the disk first, and Cloud Run's disk is memory.
MAX_UNPACKED_BYTES = 512 * 2**20


class Readable(Protocol):
    """Bytes in order: fewer than asked for only at the end."""

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes."""


@dataclass(slots=True)
class Source:
    """The expanded bytes of an input: `head` to look at, `read` from the start, `file` to seek in."""

    info: ObjectInfo
    head: bytes
    compression: Literal["gzip"] | None
    options: InputOptions
    _stored: BinaryIO
    _rest: Readable
    _closing: ExitStack
    _offset: int = 0  # how much of the head is read
    _unpacked: BinaryIO | None = None

    @property
    def name(self) -> str:
        """The object's name, as a hint; it is data, never a path."""
        return self.info.ref.name

    @property
    def is_whole(self) -> bool:
        """Is the head all there is?"""
        return len(self.head) < HEAD_BYTES

    def read(self, size: int, /) -> bytes:
        """The next bytes; empty at the end."""
        if self._offset < len(self.head):
            chunk = self.head[self._offset : self._offset + size]
            self._offset += len(chunk)
            return chunk
        return self._rest.read(size)

    def file(self) -> BinaryIO:
        """The expanded bytes as a seekable file; a gzipped input is unpacked into a nameless temporary one, once."""
        if self.compression is not None and self._unpacked is None:
            self._unpacked = self._unpack()
        file = self._unpacked or self._stored
        file.seek(0)
        return file

    def _unpack(self) -> BinaryIO:
        unpacked = self._closing.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # closed with the source
        while chunk := self.read(COPY_BYTES):
            if unpacked.tell() + len(chunk) > MAX_UNPACKED_BYTES:
                raise PermanentError(
                    f"the file expands to more than {MAX_UNPACKED_BYTES} bytes, and its format cannot be read in order",
                    code="TOO_LARGE",
                    hint="Upload it without gzip: its format compresses by itself.",
                )
            unpacked.write(chunk)
        return unpacked


@contextmanager
def opened(objects: Objects, info: ObjectInfo, options: InputOptions) -> Iterator[Source]:
    """The object's bytes.

    Raises:
        PermanentError: CORRUPT, broken gzip (also from `read`); DECOMPRESSION_BOMB, it expands beyond the limits.
        MissingObject: it was deleted meanwhile.
    """
    with ExitStack() as closing:
        stored = closing.enter_context(objects.open(info.ref))
        is_gzip = stored.read(len(GZIP)) == GZIP
        stored.seek(0)
        rest: Readable = Expanded(stored, info.size, options.max_expanded_bytes) if is_gzip else stored
        head = rest.read(HEAD_BYTES)
        yield Source(info, head, "gzip" if is_gzip else None, options, stored, rest, closing)


class Expanded:
    """A gzip stream (of one member or several) read as what it holds."""

    def __init__(self, stored: BinaryIO, stored_bytes: int, max_bytes: int) -> None:
        self._gzip = gzip.GzipFile(fileobj=stored, mode="rb")
        self._expanded = 0
        self._max_bytes = max_bytes
        self._ratio_bytes = max(RATIO_FREE_BYTES, MAX_RATIO * stored_bytes)

    def read(self, size: int, /) -> bytes:
        """The next bytes; empty at the end."""
        try:
            chunk = self._gzip.read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise PermanentError(
                f"the gzip file is broken after {self._expanded} expanded bytes: {error}",
                code="CORRUPT",
                hint="Check it with `gzip -t`, compress it again and upload it again.",
            ) from error
        self._expanded += len(chunk)
        if self._expanded > min(self._max_bytes, self._ratio_bytes):
            limit = (
                f"more than {self._max_bytes} bytes"
                if self._expanded > self._max_bytes
                else f"more than {MAX_RATIO} times its size"
            )
            raise PermanentError(
                f"the gzip file expands to {limit}",
                code="DECOMPRESSION_BOMB",
                hint="Upload it uncompressed, split it, or raise options.max_expanded_bytes if the size is meant.",
            )
        return chunk
