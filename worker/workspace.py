"""Where on this machine does a job work, and how does what it leaves there reach the bucket?

    <root>/<random>/work/        where a plain process starts
    <root>/<random>/output/      ZEROIDLE_OUTPUT: what lies here when the container ends is the result
    <root>/<random>/meta.jsonl   ZEROIDLE_META: JSON lines by which the job tells of its progress
    <root>/<random>/log.txt      what it writes to stdout and stderr

Names of jobs and of files are data: no path here is made of one.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from worker.joblog import JobLog
from worker.metafile import MetaFile
from worker.ports import Output, Published
from zeroidle.contracts.services import Folder
from zeroidle.errors import PermanentError, TemporaryError, ZeroidleError, printable
from zeroidle.ports import Clock, Objects

MAX_FILES = 10_000
# One that takes longer to upload than a worker may be silent would cost the attempt.
MAX_FILE_BYTES = 32 * 2**30
# How long one call of `publish` uploads: the beats come between.
PUBLISH_S = 5.0
# With less than that the disk counts as full.
FULL_BYTES = 16 * 2**20

log = logging.getLogger(__name__)


class Workspace:
    """The files of one attempt on this machine."""

    def __init__(self, root: Path, objects: Objects, folder: Folder, clock: Clock) -> None:
        """Make them. Raises OSError, such as for a disk that is full, and leaves nothing then."""
        self._objects, self._folder, self._clock = objects, folder, clock
        root.mkdir(parents=True, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(dir=root))
        self.output, self.work = self.path / "output", self.path / "work"
        try:
            self.output.mkdir()
            self.work.mkdir()
            self.log = JobLog(self.path / "log.txt", objects, folder, clock)
            self.meta = MetaFile(self.path / "meta.jsonl", self.log.note)
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)
            raise
        self._left: deque[Path] | None = None  # files that are still to be uploaded; None: not looked for yet
        self._kept = self._left_out = 0

    def environment(self, job_id: str, attempt: int) -> dict[str, str]:
        """What the job finds in its environment, with paths of this machine."""
        return {
            "ZEROIDLE_JOB_ID": job_id,
            "ZEROIDLE_ATTEMPT": str(attempt),
            "ZEROIDLE_OUTPUT": str(self.output),
            "ZEROIDLE_META": str(self.meta.path),
        }

    def open_to_all(self) -> None:
        """Let every user of a container write: its image says who that is. The folder above is the agent's alone."""
        self.output.chmod(0o777)
        self.meta.path.chmod(0o666)

    def read(self) -> Output:
        """What the job told since the last call; its log goes on to the bucket meanwhile, or waits."""
        try:
            self.log.ship(whole=False)
        except TemporaryError as error:
            log.warning("the log waits: %s", error.message)
        return self.meta.read()

    def publish(self) -> Published | None:
        """Upload the output files and the rest of the log, for some seconds; None: there is more, call again.

        The log tells of a file that cannot be kept: too large, unreadable, refused. Raises TemporaryError; what is up
        by then is not uploaded again.
        """
        if self._left is None:
            self._look_for_files()
        end = self._clock.now() + PUBLISH_S
        while self._left:
            self._upload(self._left[0])
            self._left.popleft()
            if self._left and self._clock.now() >= end:
                return None
        self.log.ship(whole=True)
        return Published(self._kept, self._left_out)

    def remove(self) -> None:
        """Nothing of the attempt is left here."""
        self.log.close()
        self.meta.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def _look_for_files(self) -> None:
        found = _files(self.output)
        self._left = deque(islice(found, MAX_FILES))
        self._left_out = sum(1 for _ in found)
        if self._left_out:
            self.log.note(f"{self._left_out} files after the first {MAX_FILES} are not kept; pack them into archives")
        if self.path.exists() and shutil.disk_usage(self.path).free < FULL_BYTES:
            self.log.note("the disk of this machine is full")

    def _upload(self, path: Path) -> None:
        try:
            if (size := path.stat().st_size) > MAX_FILE_BYTES:
                raise PermanentError(f"it has {size} bytes; at most {MAX_FILE_BYTES} are kept: write several files")
            self._objects.write(self._folder.child(f"output/{_object_name(path, self.output)}"), path)
            self._kept += 1
        except TemporaryError:
            raise
        except (ZeroidleError, OSError) as error:
            self._left_out += 1
            self.log.note(f"{printable(str(path), 300)} is not kept: {printable(str(error), 300)}")


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
    """Plain files below `folder`, in order; links are not followed, so that nothing outside it is read."""
    for where, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(where, name)
            if path.is_file() and not path.is_symlink():
                yield path
