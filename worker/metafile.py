"""What does a job tell of itself? The lines that it appends to the file named in `ZEROIDLE_META`, each a JSON object:

    {"done": 3, "total": 10, "unit": "steps"}     how far it is
    {"message": "..."}                            what it does now
    {"operation": "...", "data": {...}}           a report, kept for `zeroidle meta`

Anything else is the job's own business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from worker.ports import Output
from worker.spool import Spool
from zeroidle.contracts.messages import Progress
from zeroidle.errors import printable

MAX_LINE_BYTES = 64 * 1024
# What one step reads at most, so that a job that writes without end does not hold the agent up.
MAX_READ_BYTES = 4 * 2**20
# Of one attempt: each report becomes an object of the ledger.
MAX_REPORTS = 10_000
MAX_REPORT_BYTES = 64 * 2**20

Report = tuple[str, dict[str, Any]]  # operation and data


class MetaFile:
    """The file of one attempt. `note` is told, once each, what of it is not kept."""

    def __init__(self, path: Path, note: Callable[[str], None]) -> None:
        """Raises OSError."""
        self.path = path
        self._spool = Spool(path)
        self._note = note
        self._noted: set[str] = set()
        self._reports = 0
        self._report_bytes = 0

    def read(self) -> Output:
        """What was told since the last call."""
        progress, message, reports = None, "", []
        has_more = self._spool.waiting() > MAX_READ_BYTES
        for line in self._lines():
            said = self._told(line)
            if isinstance(said, Progress):
                progress = said
            elif isinstance(said, str):
                message = said
            elif said is not None and self._has_room(len(line)):
                reports.append(said)
        return Output(progress, message, tuple(reports), has_more)

    def close(self) -> None:
        """It is not read any more."""
        self._spool.close()

    def _lines(self) -> Iterator[bytes]:
        data = self._spool.peek(MAX_READ_BYTES)
        whole, newline, _ = data.rpartition(b"\n")
        if newline:
            self._spool.skip(len(whole) + 1)
            yield from whole.split(b"\n")
        elif len(data) == MAX_READ_BYTES:  # one line without an end: pass over it
            self._spool.skip(len(data))
            self._note_once(f"a line of ZEROIDLE_META is longer than {MAX_LINE_BYTES} bytes; it is passed over")

    def _told(self, line: bytes) -> Progress | str | Report | None:
        if len(line) > MAX_LINE_BYTES:
            self._note_once(f"a line of ZEROIDLE_META is longer than {MAX_LINE_BYTES} bytes; it is passed over")
            return None
        return told(line)

    def _has_room(self, size: int) -> bool:
        self._reports += 1
        self._report_bytes += size
        if self._reports <= MAX_REPORTS and self._report_bytes <= MAX_REPORT_BYTES:
            return True
        self._note_once(
            f"reports in ZEROIDLE_META after the first {MAX_REPORTS}, or {MAX_REPORT_BYTES} bytes, are not kept"
        )
        return False

    def _note_once(self, line: str) -> None:
        if line not in self._noted:
            self._noted.add(line)
            self._note(line)


def told(line: bytes) -> Progress | str | Report | None:
    """What one line says; None: nothing to us."""
    try:
        value = msgspec.json.decode(line)
        if not isinstance(value, dict):
            return None
        if "done" in value:
            return msgspec.convert({"unit": "steps", **value}, Progress)
        if isinstance(value.get("message"), str):
            return printable(value["message"], 2000)
        operation, data = value.get("operation"), value.get("data", {})
        if isinstance(operation, str) and 1 <= len(operation) <= 100 and isinstance(data, dict):
            return operation, data
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    return None
