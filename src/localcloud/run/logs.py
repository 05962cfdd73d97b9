"""What did the services print? Files that can be read while no cloud runs: `<state>/logs/<service>.jsonl`.

A line is {"time", "service", "instance", "stream", "line"}; where the service printed a JSON object, that stands under
"entry" instead of "line". Streams are stdout, stderr and, for what the local cloud itself has to say, system. Times
are real, not virtual.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

Entry = dict[str, Any]

MAX_FILE_BYTES = 10 * 2**20  # then the file is renamed, replacing the one renamed before
MAX_TAIL_BYTES = 2**20
MAX_LINE_BYTES = 256 * 2**10  # of an entry in Cloud Logging: https://cloud.google.com/logging/quotas


class LogWriter:
    """The log of one service."""

    def __init__(self, directory: Path, service: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / f"{service}.jsonl"
        self._service = service
        self._file = -1
        self._size = 0

    def line(self, instance: str, stream: str, line: bytes) -> None:
        """Append what an instance printed."""
        entry = _json_object(line)
        if entry is None:
            self._append(instance, stream, "line", line.decode(errors="replace"))
        else:
            self._append(instance, stream, "entry", entry)

    def entry(self, instance: str, entry: dict[str, Any]) -> None:
        """Append what the local cloud has to say of an instance."""
        self._append(instance, "system", "entry", entry)

    def close(self) -> None:
        """Let go of the file; a later line opens it again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, instance: str, stream: str, key: str, value: object) -> None:
        time = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        data = msgspec.json.encode(
            {"time": time, "service": self._service, "instance": instance, "stream": stream, key: value}
        )
        if self._file < 0:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._file).st_size
        os.write(self._file, data + b"\n")
        self._size += len(data) + 1
        if self._size >= MAX_FILE_BYTES:
            self.close()
            self.path.replace(_rotated(self.path))


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
        path = self.state / "logs" / f"{service}.jsonl"
        for part in (_rotated(path), path):
            try:
                file = part.open("rb")
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
            entry = _json_object(line)
            if entry is not None and "time" in entry:
                yield entry


def tail(directory: Path, service: str, instance: str = "", limit: int = 200) -> list[Entry]:
    """The last entries of a service, or of one instance of it, oldest first, as far as MAX_TAIL_BYTES hold them."""
    try:
        with (directory / f"{service}.jsonl").open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - MAX_TAIL_BYTES)
            file.seek(start)
            lines = file.read().split(b"\n")[1 if start else 0 :]
    except FileNotFoundError:
        return []
    entries = (entry for line in reversed(lines) if (entry := _json_object(line)) is not None and "time" in entry)
    wanted = (entry for entry in entries if not instance or entry.get("instance") == instance)
    return list(islice(wanted, limit))[::-1]


def _rotated(path: Path) -> Path:
    return path.with_suffix(".1.jsonl")


def _json_object(line: bytes) -> Entry | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
