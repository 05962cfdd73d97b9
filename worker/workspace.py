"""Where on this machine does a job work, and how does what it leaves there reach the bucket?

    <root>/<random>/work/        where a plain process starts
    <root>/<random>/output/      ZEROIDLE_OUTPUT: what lies here when the container ends is the result
    <root>/<random>/meta.jsonl   ZEROIDLE_META: JSON lines by which the job tells of its progress
    <root>/<random>/log.txt      what it writes to stdout and stderr

Names of jobs and of files are data: no path here is made of one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from worker.ports import Output
from zeroidle.contracts.messages import Progress
from zeroidle.contracts.services import Folder
from zeroidle.errors import PermanentError, printable
from zeroidle.ports import Clock, Objects

SHIP_EVERY_S = 5.0
SHIP_AT_BYTES = 256 * 1024
MAX_LINE_BYTES = 64 * 1024
# What one step reads at most, so that a job that writes without end does not hold the agent up.
MAX_READ_BYTES = 4 * 2**20
LOGS = "logs"


class Workspace:
    """The files of one attempt on this machine."""

    def __init__(self, root: Path, objects: Objects, folder: Folder, clock: Clock) -> None:
        self._objects, self._folder, self._clock = objects, folder, clock
        root.mkdir(parents=True, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(dir=root))
        self.output = self.path / "output"
        self.output.mkdir()
        self.work = self.path / "work"
        self.work.mkdir()
        self.meta = self.path / "meta.jsonl"
        self.meta.touch()
        self.log = self.path / "log.txt"
        self.log.touch()
        self._meta_read = 0
        self._log_shipped = 0
        self._chunks = 0
        self._shipped_at = clock.now()

    def environment(self, job_id: str, attempt: int) -> dict[str, str]:
        """What the job finds in its environment, with paths of this machine."""
        return {
            "ZEROIDLE_JOB_ID": job_id,
            "ZEROIDLE_ATTEMPT": str(attempt),
            "ZEROIDLE_OUTPUT": str(self.output),
            "ZEROIDLE_META": str(self.meta),
        }

    def read(self) -> Output:
        """What the job told since the last call; its log goes on to the bucket meanwhile. Raises TemporaryError."""
        progress, message, reports = None, "", []
        for line in self._lines():
            told = _told(line)
            if isinstance(told, Progress):
                progress = told
            elif isinstance(told, str):
                message = told
            elif told is not None:
                reports.append(told)
        self._ship_log(whole=False)
        return Output(progress, message, tuple(reports))

    def publish(self) -> int:
        """Upload the output files and the rest of the log; how many files. Raises TemporaryError.

        The log tells of a file that cannot be kept, one that cannot be read or whose name is none for an object.
        """
        count = 0
        for path in sorted(_files(self.output)):
            try:
                self._objects.write(self._folder.child(f"output/{_object_name(path, self.output)}"), path)
                count += 1
            except (PermanentError, OSError) as error:
                self._note(f"zeroidle: {printable(str(path), 300)} is not kept: {printable(str(error), 300)}\n")
        self._ship_log(whole=True)
        return count

    def remove(self) -> None:
        """Nothing of the attempt is left here."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _note(self, line: str) -> None:
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as log:
            log.write(line)

    def _lines(self) -> Iterator[bytes]:
        data = _read(self.meta, self._meta_read)
        whole, newline, _ = data.rpartition(b"\n")
        if not newline:
            if len(data) == MAX_READ_BYTES:  # one line without an end: pass over it
                self._meta_read += len(data)
            return
        self._meta_read += len(whole) + 1
        yield from whole.split(b"\n")

    def _ship_log(self, *, whole: bool) -> None:
        """The log goes in numbered parts: an object cannot be appended to."""
        while True:
            data = _read(self.log, self._log_shipped)
            due = self._clock.now() - self._shipped_at >= SHIP_EVERY_S
            if not data or not (whole or due or len(data) >= SHIP_AT_BYTES):
                return
            part = self._folder.child(f"{LOGS}/{self._chunks:06d}.txt")
            self._objects.write(part, data, content_type="text/plain; charset=utf-8")
            self._chunks += 1
            self._log_shipped += len(data)
            self._shipped_at = self._clock.now()
            if not whole:
                return


def _read(path: Path, start: int) -> bytes:
    """The next bytes of a file, which its job may have removed."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(MAX_READ_BYTES)
    except OSError:
        return b""


def _object_name(path: Path, folder: Path) -> str:
    """The name of a file as part of an object's name; bytes that are not UTF-8, and line ends, as %XX.

    https://cloud.google.com/storage/docs/objects#naming
    """
    name = os.fsencode(path.relative_to(folder).as_posix())
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = quote(name, safe="/")
    return text.replace("\r", "%0D").replace("\n", "%0A")


def _files(folder: Path) -> Iterator[Path]:
    """Plain files below `folder`; links are not followed, so that nothing outside it is read."""
    for where, _, names in os.walk(folder, followlinks=False):
        for name in names:
            path = Path(where, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _told(line: bytes) -> Progress | str | tuple[str, dict[str, Any]] | None:
    """One line of ZEROIDLE_META: `{"done": 3, "total": 10, "unit": "steps"}`, `{"message": "..."}`, or
    `{"operation": "...", "data": {...}}`. Anything else is the job's own business."""
    if not line.strip() or len(line) > MAX_LINE_BYTES:
        return None
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
