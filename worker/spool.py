"""What did the job append to a file since the last look? Read from its beginning to its end, and freed as it is read.

So a job may write without end, and its disk holds only what was not read yet.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

# How much is read before its blocks are given back to the disk.
FREE_AT_BYTES = 2**20
# FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE: https://man7.org/linux/man-pages/man2/fallocate.2.html
_PUNCH_HOLE = 0x01 | 0x02


class Spool:
    """A file that this process made and others append to.

    It stays open, so that whatever is put in its place later, a link for one, is never followed.
    """

    def __init__(self, path: Path) -> None:
        """Make it. Raises OSError."""
        self._file = path.open("x+b", buffering=0)
        self._offset = 0  # what was read
        self._freed = 0

    def waiting(self) -> int:
        """How many bytes were not read yet."""
        size = os.fstat(self._file.fileno()).st_size
        if size < self._offset:  # it was emptied, and is written anew
            self._offset = self._freed = 0
        return size - self._offset

    def peek(self, most: int) -> bytes:
        """The next bytes, at most so many; they stay unread."""
        return os.pread(self._file.fileno(), min(most, self.waiting()), self._offset)

    def skip(self, count: int) -> None:
        """So many bytes are read, and needed no more."""
        self._offset += count
        if self._offset - self._freed >= FREE_AT_BYTES:
            _free(self._file.fileno(), self._freed, self._offset - self._freed)
            self._freed = self._offset

    def close(self) -> None:
        """It is not read any more."""
        self._file.close()


def _free(descriptor: int, start: int, count: int) -> None:
    """Give blocks back to the disk; the file keeps its size. Where the file system cannot, they stay."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError):  # a C library without it
        fallocate = ctypes.CDLL(None).fallocate
        fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        fallocate(descriptor, _PUNCH_HOLE, start, count)
