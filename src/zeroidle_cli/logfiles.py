"""What do the log files of a state directory say, and what is new in them since the last look?

`<state>/logs/<service>.jsonl`, one entry a line as `localcloud.run.logs` writes them; a file that has grown too long is
renamed to `<service>.1.jsonl`, in place of the one renamed before.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from zeroidle.errors import printable
from zeroidle_cli.cloudlog import LABELS

Entry = dict[str, Any]
MAX_SHOWN = 2000


@dataclass
class LogFiles:
    """The logs of one service or of all. Remembers how far it has read each file, nothing else."""

    state: Path
    service: str | None = None
    _read: dict[int, int] = field(default_factory=dict)  # inode -> bytes; renaming keeps the inode

    def new(self) -> Iterator[Entry]:
        """What was written since the last call, oldest first as far as it is there by now. Read it to the end."""
        services = {path.name.split(".")[0] for path in (self.state / "logs").glob("*.jsonl")}
        wanted = sorted(name for name in services if self.service in (None, name))
        return heapq.merge(*(self._new_of(name) for name in wanted), key=lambda entry: str(entry["time"]))

    def _new_of(self, service: str) -> Iterator[Entry]:
        for name in (f"{service}.1.jsonl", f"{service}.jsonl"):
            try:
                file = (self.state / "logs" / name).open("rb")
            except FileNotFoundError:
                continue
            with file:
                yield from self._new_in(file)

    def _new_in(self, file: BinaryIO) -> Iterator[Entry]:
        status = os.fstat(file.fileno())
        inode = status.st_ino
        if self._read.get(inode, 0) > status.st_size:
            del self._read[inode]  # of a file that is gone, given to this one
        file.seek(self._read.get(inode, 0))
        for line in file:
            if not line.endswith(b"\n"):
                return  # still being written
            self._read[inode] = self._read.get(inode, 0) + len(line)
            entry = _decoded(line)
            if entry is not None:
                yield entry


def job_of(entry: Entry) -> str:
    """The id of the job that an entry is about, or nothing."""
    inner = entry.get("entry")
    labels = inner.get(LABELS) if isinstance(inner, dict) else None
    return str(labels.get("job_id", "")) if isinstance(labels, dict) else ""


def as_line(entry: Entry) -> str:
    """An entry for people: when, who, how bad if bad, what; a stack trace below."""
    inner = entry.get("entry")
    inner = inner if isinstance(inner, dict) else {}
    text = entry["line"] if "line" in entry else inner.get("message") or msgspec.json.encode(inner).decode()
    severity = str(inner.get("severity", ""))
    head = [str(entry["time"])[:23], str(entry.get("service", "")), "" if severity == "INFO" else severity]
    below = str(inner.get("stack_trace") or inner.get("stderr") or "")
    trace = "".join(f"\n    {printable(line, MAX_SHOWN)}" for line in below.splitlines())
    return f"{'  '.join(printable(part) for part in head if part)}  {printable(str(text), MAX_SHOWN)}{trace}"


def _decoded(line: bytes) -> Entry | None:
    try:
        entry = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and "time" in entry else None
