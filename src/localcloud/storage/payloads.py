"""Where do an object's bytes go while they arrive, and how are they read back in bounded memory?"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import msgspec

from localcloud.storage.errors import StorageError

INLINE_BYTES = 64 * 1024  # up to this size a payload is a row, not a file
QUANTUM = 256 * 1024  # what Cloud Storage keeps of an interrupted upload is a multiple of this
READ_BYTES = 256 * 1024
FILE_SUFFIX = ".object"


class Payload(msgspec.Struct, frozen=True):
    """Bytes that have arrived: in memory when small, else in a file. Checksums are base64, as in the JSON API."""

    size: int
    crc32c: str
    md5: str | None
    data: bytes | None
    path: Path | None

    def verify(self, expected: Mapping[str, str]) -> None:
        """Compare with the checksums the client sent, by kind (`crc32c`, `md5`). Raises StorageError 400."""
        crc32c, md5 = expected.get("crc32c"), expected.get("md5")
        if crc32c is not None and crc32c != self.crc32c:
            raise _corrupt("CRC32C", crc32c, self.crc32c)
        if md5 is not None and self.md5 is not None and md5 != self.md5:
            raise _corrupt("MD5 hash", md5, self.md5)

    def discard(self) -> None:
        """Forget bytes that no object will hold."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _corrupt(kind: str, given: str, found: str) -> StorageError:
    return StorageError(
        400, f'Provided {kind} "{given}" doesn\'t match calculated {kind} "{found}".', xml_code="BadDigest"
    )


class PayloadWriter:
    """Takes bytes as they come, a quantum at a time to `path`; a payload that stays small never becomes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._tail = bytearray()
        self._crc32c = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._finished = False
        self.persisted = 0  # bytes that outlive this process

    @classmethod
    def reopen(cls, path: Path) -> PayloadWriter:
        """Go on where a killed process stopped; what it wrote of an incomplete quantum is cut off."""
        writer = cls(path)
        if not path.exists():
            return writer
        whole = path.stat().st_size // QUANTUM * QUANTUM
        writer._file = path.open("r+b", buffering=0)
        writer._file.truncate(whole)
        while writer.persisted < whole:
            block = writer._file.read(QUANTUM)
            writer._crc32c = google_crc32c.extend(writer._crc32c, block)
            writer._md5.update(block)
            writer.persisted += len(block)
        return writer

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return self.persisted + len(self._tail)

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises OSError, a full disk for one; `drop_tail` then goes back to what is persisted."""
        self._tail += data
        while len(self._tail) >= QUANTUM:
            self._persist(bytes(self._tail[:QUANTUM]))
            del self._tail[:QUANTUM]

    def drop_tail(self) -> None:
        """Forget what is not yet a whole quantum."""
        self._tail.clear()

    def finish(self) -> Payload:
        """The payload, complete; from now on it is the caller's to discard."""
        data: bytes | None = None
        if self._file is None and len(self._tail) <= INLINE_BYTES:
            data = bytes(self._tail)
            self._crc32c = google_crc32c.extend(self._crc32c, data)
            self._md5.update(data)
            self.persisted = len(data)
        elif self._tail:
            self._persist(bytes(self._tail))
        if self._file is not None:
            self._file.close()
        self._tail.clear()
        self._finished = True
        return Payload(
            size=self.persisted,
            crc32c=base64.b64encode(self._crc32c.to_bytes(4, "big")).decode(),
            md5=base64.b64encode(self._md5.digest()).decode(),
            data=data,
            path=None if data is not None else self._path,
        )

    def close(self) -> None:
        """Close the file; what is persisted can be reopened."""
        if self._file is not None:
            self._file.close()

    def abort(self) -> None:
        """Forget everything."""
        if self._file is not None:
            self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> PayloadWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._finished:
            self.abort()

    def _persist(self, block: bytes) -> None:
        if self._file is None:
            # Unbuffered: what was written must survive the death of this process.
            self._file = self._path.open("wb", buffering=0)
        written = 0
        while written < len(block):  # a disk about to be full takes less than it is given
            # At its place: what an earlier attempt wrote of this block before it failed is replaced.
            written += os.pwrite(self._file.fileno(), block[written:], self.persisted + written)
        self._crc32c = google_crc32c.extend(self._crc32c, block)
        self._md5.update(block)
        self.persisted += len(block)


def joined(writer: PayloadWriter, parts: Sequence[bytes | Iterator[bytes]]) -> Payload:
    """One payload of many."""
    with writer:
        for part in parts:
            for block in [part] if isinstance(part, bytes) else part:
                writer.write(block)
        return writer.finish()


def read_file(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Bytes `start` to `end` (exclusive) of an open file, which is closed at the end."""
    with file:
        file.seek(start)
        while start < end:
            block = file.read(min(READ_BYTES, end - start))
            if not block:
                raise EOFError(f"payload file ends at {start}, expected {end}")
            start += len(block)
            yield block
