"""What did the services print? Files that can be read while no cloud runs: `<state>/logs/<service>.jsonl`.

A line is {"time", "service", "instance", "stream", "line"}; where the service printed a JSON object, that stands under
"entry" instead of "line". Streams are stdout, stderr and, for what the local cloud itself has to say, system. Times
are real, not virtual.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

MAX_FILE_BYTES = 10 * 2**20  # then the file is renamed, replacing the one renamed before
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


def read(state: Path, service: str | None = None, since: datetime | None = None) -> Iterator[dict[str, Any]]:
    """The entries under a state directory, of one service or of all, oldest first, at or after `since` (aware)."""
    pattern = "*" if service is None else service
    names = {path.name.split(".")[0] for path in (state / "logs").glob("*.jsonl")}
    files = [_entries(state / "logs" / f"{name}.jsonl") for name in sorted(names) if pattern in ("*", name)]
    start = "" if since is None else since.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    for entry in heapq.merge(*files, key=lambda entry: str(entry["time"])):
        if entry["time"] >= start:
            yield entry


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    for file in (_rotated(path), path):
        if not file.exists():
            continue
        with file.open("rb") as lines:
            for line in lines:
                entry = _json_object(line)
                if entry is not None and "time" in entry:  # the last line may be half written
                    yield entry


def _rotated(path: Path) -> Path:
    return path.with_suffix(".1.jsonl")


def _json_object(line: bytes) -> dict[str, Any] | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
