"""How does a file become a job? Put into the input bucket, with the options as the object's metadata."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from zeroidle.contracts import names
from zeroidle.contracts.services import ObjectRef
from zeroidle.errors import PermanentError, printable
from zeroidle_cli.connection import Connection

AT_ONCE = 4
CHUNK_BYTES = 8 * 2**20  # what a large upload holds in memory, and how often its progress is told
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was put into the input bucket, and the job this makes."""

    path: Path
    ref: ObjectRef
    job_id: str


def check(paths: Sequence[Path]) -> None:
    """Raises PermanentError for what cannot be uploaded, before anything is."""
    for path in paths:
        shown = printable(str(path), 300)
        if not path.exists():
            raise PermanentError(f"no such file: {shown}", code="NO_SUCH_FILE")
        if not path.is_file():
            raise PermanentError(
                f"{shown} is not a file",
                code="NOT_A_FILE",
                hint="Name the files one by one, for example with a pattern: zeroidle run data/*.jsonl",
            )
        if not os.access(path, os.R_OK):
            raise PermanentError(f"{shown} may not be read", code="NOT_READABLE")
        if not path.name.isprintable():
            raise PermanentError(
                f"the name of {shown} cannot be an object's", code="BAD_NAME", hint="Rename or copy the file."
            )


def object_names(paths: Sequence[Path]) -> dict[Path, str]:
    """What each file is called in the input bucket: its own name, with as many of its folders as make it differ.

    Two files under one name would overwrite each other; a file that is given twice is one.
    """
    distinct: dict[tuple[str, ...], Path] = {}
    for path in paths:
        distinct.setdefault(path.resolve().parts[1:], path)
    length = dict.fromkeys(distinct, 1)
    while clashing := _clashes(length):
        length.update({parts: length[parts] + 1 for parts in clashing})
    return {path: "/".join(parts[-length[parts] :]) for parts, path in distinct.items()}


def _clashes(length: Mapping[tuple[str, ...], int]) -> list[tuple[str, ...]]:
    """The paths whose last so many parts are also another's."""
    users: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for parts, count in length.items():
        users.setdefault(parts[-count:], []).append(parts)
    return [parts for same in users.values() if len(same) > 1 for parts in same if length[parts] < len(parts)]


def upload_all(
    connection: Connection, paths: Sequence[Path], options: Mapping[str, str], sent: Callable[[int], object]
) -> list[Upload]:
    """Put the files into the input bucket, a few at a time; `sent` hears of every so many bytes."""
    metadata = {f"zeroidle-{name}": value for name, value in options.items()}
    wanted = object_names(paths)
    _ = connection.client  # made once, before threads ask for it
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda path: _upload(connection, path, wanted[path], metadata, sent), wanted))


def _upload(
    connection: Connection, path: Path, name: str, metadata: Mapping[str, str], sent: Callable[[int], object]
) -> Upload:
    from zeroidle.gcp.objects import RETRY

    bucket = connection.bucket("input")
    blob = connection.client.bucket(bucket).blob(name, chunk_size=CHUNK_BYTES)
    blob.metadata = dict(metadata)
    with path.open("rb") as file:
        blob.upload_from_file(
            _Told(file, sent),
            size=os.fstat(file.fileno()).st_size,
            content_type="application/octet-stream",
            retry=RETRY,
            timeout=TIMEOUT_S,
        )
    generation = str(blob.generation)
    ref = ObjectRef(bucket=bucket, name=name, generation=generation)
    return Upload(path, ref, names.job_id_for_upload(bucket, name, generation))


class _Told:
    """A file that tells how much of it was read; what is read again after an error counts once."""

    def __init__(self, file: BinaryIO, sent: Callable[[int], object]) -> None:
        self._file = file
        self._sent = sent
        self._furthest = 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        beyond = self._file.tell() - self._furthest
        if beyond > 0:
            self._furthest += beyond
            self._sent(beyond)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As files do."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As files do."""
        return self._file.tell()
