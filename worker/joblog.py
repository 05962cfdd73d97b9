"""How does what a job writes to stdout and stderr reach the bucket, however much it is?

In numbered parts, since an object cannot be appended to. The first `MAX_LOG_BYTES` are kept, and of what comes after
them the end; what could not be stored for long makes room for what is newer. A line in its place says how much is
left out.
"""

from __future__ import annotations

import logging
from pathlib import Path

from worker.spool import Spool
from zeroidle.contracts.services import Folder
from zeroidle.errors import TemporaryError, ZeroidleError
from zeroidle.ports import Clock, Objects

SHIP_EVERY_S = 5.0
SHIP_AT_BYTES = 256 * 1024
MAX_PART_BYTES = 4 * 2**20
MAX_LOG_BYTES = 2**30
TAIL_BYTES = 2**20
# On the disk, while storage does not answer.
MAX_WAITING_BYTES = 256 * 2**20
MAX_NOTES = 100
LOGS = "logs"

log = logging.getLogger(__name__)


class JobLog:
    """The log of one attempt: the file at `path`, which its container writes to."""

    def __init__(self, path: Path, objects: Objects, folder: Folder, clock: Clock) -> None:
        """Raises OSError."""
        self.path = path
        self._spool = Spool(path)
        self._objects, self._folder, self._clock = objects, folder, clock
        self._shipped = 0
        self._parts = 0
        self._left_out = 0  # bytes before the next part that are not kept
        self._notes: list[str] = []
        self._notes_more = 0
        self._shipped_at = clock.now()

    def note(self, line: str) -> None:
        """Have the worker say something at the end of the log. It takes no disk, which may be full."""
        if len(self._notes) < MAX_NOTES:
            self._notes.append(f"zeroidle: {line}\n")
        else:
            self._notes_more += 1

    def ship(self, *, whole: bool) -> None:
        """Store what is due, or all of it. Raises TemporaryError; what was stored is not stored again."""
        is_full = self._shipped >= MAX_LOG_BYTES
        self._leave_out(self._spool.waiting() - (TAIL_BYTES if is_full else MAX_WAITING_BYTES))
        while whole or not is_full:
            data = self._spool.peek(MAX_PART_BYTES)
            due = self._clock.now() - self._shipped_at >= SHIP_EVERY_S
            if not data or not (whole or due or len(data) >= SHIP_AT_BYTES):
                break
            self._store(self._gap() + data, len(data))
            self._left_out = 0
            if not whole:
                return
        if whole and self._notes:
            more = [f"zeroidle: {self._notes_more} more lines like these\n"] if self._notes_more else []
            self._store("".join([*self._notes, *more]).encode(), 0)
            self._notes, self._notes_more = [], 0

    def close(self) -> None:
        """Nothing of it is read any more."""
        self._spool.close()

    def _leave_out(self, count: int) -> None:
        if count > 0:
            self._spool.skip(count)
            self._left_out += count

    def _gap(self) -> bytes:
        return f"\nzeroidle: {self._left_out} bytes are left out here\n".encode() if self._left_out else b""

    def _store(self, data: bytes, count: int) -> None:
        part = self._folder.child(f"{LOGS}/{self._parts:06d}.txt")
        try:
            self._objects.write(part, data, content_type="text/plain; charset=utf-8")
        except TemporaryError:
            raise
        except ZeroidleError as error:  # refused: the job goes on, and its end is told
            log.error("a part of the log is lost: %s", error.message)
        self._parts += 1
        self._shipped += count
        self._spool.skip(count)
        self._shipped_at = self._clock.now()
