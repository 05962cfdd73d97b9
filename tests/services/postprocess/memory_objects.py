"""Object storage in a dictionary, with generations and preconditions: fast enough to crash a step at every write."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from zeroidle.contracts.services import ObjectRef
from zeroidle.errors import Conflict, MissingObject
from zeroidle.ports import ObjectInfo


class Crash(Exception):
    """The process ends here."""


class MemoryObjects:
    """`zeroidle.ports.Objects`; the write number `crash_at` ends the process, after its effect if `after`.

    Nothing is written from then on, by any thread, until `revive`.
    """

    def __init__(self) -> None:
        self.data: dict[tuple[str, str], tuple[bytes, int, str]] = {}
        self.writes = 0
        self.crash_at: int | None = None
        self.after = False
        self._generation = 0
        self._dead = False
        self._lock = threading.Lock()

    def revive(self) -> None:
        """A new process, which doesn't crash."""
        self._dead, self.crash_at = False, None

    def stat(self, ref: ObjectRef) -> ObjectInfo | None:
        found = self.data.get((ref.bucket, ref.name))
        if found is None:
            return None
        data, generation, content_type = found
        exact = ObjectRef(bucket=ref.bucket, name=ref.name, generation=str(generation))
        return ObjectInfo(exact, len(data), content_type, {}, 0.0)

    def read(self, ref: ObjectRef) -> tuple[bytes, int]:
        found = self.data.get((ref.bucket, ref.name))
        if found is None:
            raise MissingObject(f"no {ref.name}")
        return found[0], found[1]

    def open(self, ref: ObjectRef) -> BinaryIO:
        return io.BytesIO(self.read(ref)[0])

    def write(
        self,
        ref: ObjectRef,
        data: bytes | Path,
        *,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> int:
        content = data.read_bytes() if isinstance(data, Path) else data
        return self._effect(ref, content, content_type, if_generation)

    def copy(self, source: ObjectRef, target: ObjectRef, *, if_generation: int | None = None) -> int:
        data, _, content_type = self.data[(source.bucket, source.name)]
        return self._effect(target, data, content_type, if_generation)

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        for held, name in sorted(self.data):
            if held == bucket and name.startswith(prefix):
                info = self.stat(ObjectRef(bucket=bucket, name=name))
                assert info is not None
                yield info

    def delete(self, ref: ObjectRef, *, if_generation: int | None = None) -> None:
        self.data.pop((ref.bucket, ref.name), None)

    def _effect(self, ref: ObjectRef, data: bytes, content_type: str, if_generation: int | None) -> int:
        with self._lock:
            if self._dead:
                raise Crash
            self._dead = self.writes == self.crash_at
            self.writes += 1
            if self._dead and not self.after:
                raise Crash
            current = self.data.get((ref.bucket, ref.name))
            if if_generation is not None and if_generation != (current[1] if current else 0):
                raise Conflict(ref.name)
            self._generation += 1
            self.data[(ref.bucket, ref.name)] = (data, self._generation, content_type)
            if self._dead:
                raise Crash
            return self._generation
