"""In-memory ports that behave like the cloud: object storage with generations, and workflow executions."""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from zeroidle.contracts.services import ObjectRef
from zeroidle.core.converge import ExecutionState, ExecutionView
from zeroidle.errors import Conflict, MissingObject, TemporaryError
from zeroidle.ports import ObjectInfo


class Killed(BaseException):
    """The process died here. No handler may catch it."""


@dataclass
class Faults:
    """Where the running handler is interrupted: at the `at`-th point, counting one before and one after each effect."""

    at: int | None = None
    how: Callable[[], BaseException] = Killed
    only: str = ""  # count only points that begin so
    then: int | None = None  # and again so many points later
    meanwhile: Callable[[], None] | None = None  # instead of dying, somebody else does this at that point
    count: int = 0
    fired: str = ""
    armed: bool = False  # only while a handler runs
    log: list[str] = field(default_factory=list)

    def point(self, name: str) -> None:
        """Die here if it is time."""
        if not self.armed or not name.startswith(self.only):
            return
        self.log.append(name)
        self.count += 1
        if self.at is not None and self.count == self.at + 1:
            self.at, self.fired = None if self.then is None else self.count + self.then - 1, name
            self.then = None
            if self.meanwhile is None:
                raise self.how()
            self.meanwhile()
            self.armed = True


@dataclass(frozen=True)
class _Version:
    data: bytes
    generation: int
    content_type: str
    metadata: Mapping[str, str]
    created: float


class MemoryObjects:
    """`zeroidle.ports.Objects`. `after` is called after each change with its name."""

    def __init__(self, now: Callable[[], float], faults: Faults, after: Callable[[str], None] = lambda _: None) -> None:
        self.now, self.faults, self.after = now, faults, after
        self.stored: dict[tuple[str, str], _Version] = {}
        self._names: dict[str, list[str]] = {}  # of each bucket, in order
        self._last_generation = 1000

    def stat(self, ref: ObjectRef) -> ObjectInfo | None:
        found = self._find(ref)
        return None if found is None else self._info(ref, found)

    def read(self, ref: ObjectRef) -> tuple[bytes, int]:
        found = self._find(ref)
        if found is None:
            raise MissingObject(f"{ref.bucket}/{ref.name}")
        return found.data, found.generation

    def open(self, ref: ObjectRef) -> BinaryIO:
        return BytesIO(self.read(ref)[0])

    def write(
        self,
        ref: ObjectRef,
        data: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> int:
        self.faults.point(f"before write {ref.name}")
        self._require(ref, if_generation)
        self._last_generation += 1
        content = data.read_bytes() if isinstance(data, Path) else data
        version = _Version(content, self._last_generation, content_type, metadata or {}, self.now())
        if (ref.bucket, ref.name) not in self.stored:
            insort(self._names.setdefault(ref.bucket, []), ref.name)
        self.stored[ref.bucket, ref.name] = version
        self.after(f"write {ref.name}")
        self.faults.point(f"after write {ref.name}")
        return version.generation

    def copy(self, source: ObjectRef, target: ObjectRef, *, if_generation: int | None = None) -> int:
        return self.write(target, self.read(source)[0], if_generation=if_generation)

    def list(self, bucket: str, prefix: str, start: str = "") -> Iterator[ObjectInfo]:
        for name in self.names(bucket, prefix, start):
            version = self.stored.get((bucket, name))
            if version is not None:
                yield self._info(ObjectRef(bucket=bucket, name=name), version)

    def delete(self, ref: ObjectRef, *, if_generation: int | None = None) -> None:
        self.faults.point(f"before delete {ref.name}")
        if self._find(ref) is not None:
            self._require(ref, if_generation)
            del self.stored[ref.bucket, ref.name]
            self._names[ref.bucket].remove(ref.name)
            self.after(f"delete {ref.name}")
        self.faults.point(f"after delete {ref.name}")

    def names(self, bucket: str, prefix: str = "", start: str = "") -> list[str]:
        """Names in a bucket, in order."""
        names = self._names.get(bucket, [])
        first = bisect_left(names, max(prefix, start))
        past = next((at for at in range(first, len(names)) if not names[at].startswith(prefix)), len(names))
        return names[first:past]

    def _find(self, ref: ObjectRef) -> _Version | None:
        found = self.stored.get((ref.bucket, ref.name))
        if found is None or (ref.generation is not None and int(ref.generation) != found.generation):
            return None
        return found

    def _require(self, ref: ObjectRef, if_generation: int | None) -> None:
        current = self.stored.get((ref.bucket, ref.name))
        if if_generation is not None and if_generation != (current.generation if current else 0):
            raise Conflict(f"{ref.bucket}/{ref.name} was written by somebody else")

    @staticmethod
    def _info(ref: ObjectRef, version: _Version) -> ObjectInfo:
        pinned = ObjectRef(bucket=ref.bucket, name=ref.name, generation=str(version.generation))
        return ObjectInfo(pinned, len(version.data), version.content_type, version.metadata, version.created)


@dataclass
class Execution:
    """One execution of the model workflow; `step` is the next thing it does."""

    name: str
    argument: dict[str, object]
    created_at: float
    state: ExecutionState = ExecutionState.ACTIVE
    step: int = 0
    result: str = ""
    error: str = ""
    ended_at: float | None = None

    @property
    def job_id(self) -> str:
        return str(self.argument["job_id"])

    @property
    def attempt(self) -> int:
        return int(str(self.argument["attempt"]))


class SimExecutions:
    """`zeroidle.ports.Executions`; `unavailable` makes looking fail, as an API outage does."""

    def __init__(self, now: Callable[[], float], faults: Faults, created: Callable[[Execution], None]) -> None:
        self.now, self.faults, self._created = now, faults, created
        self.all: dict[str, Execution] = {}
        self.unavailable = False

    def create(self, workflow: str, argument: bytes, labels: Mapping[str, str]) -> str:
        self.faults.point("before create execution")
        execution = Execution(f"{workflow}/executions/e{len(self.all) + 1}", json.loads(argument), self.now())
        self.all[execution.name] = execution
        self._created(execution)
        self.faults.point("after create execution")
        return execution.name

    def get(self, execution: str) -> ExecutionView:
        if self.unavailable:
            raise TemporaryError("the Executions API does not answer")
        found = self.all.get(execution)
        if found is None:
            return ExecutionView(execution, ExecutionState.GONE)
        return ExecutionView(found.name, found.state, found.result, found.error, found.ended_at)

    def cancel(self, execution: str) -> None:
        self.faults.point("before cancel execution")
        found = self.all.get(execution)
        if found is not None and found.state is ExecutionState.ACTIVE:
            found.state, found.ended_at = ExecutionState.CANCELLED, self.now()
        self.faults.point("after cancel execution")

    def active(self) -> list[Execution]:
        """Those that still run."""
        return [execution for execution in self.all.values() if execution.state is ExecutionState.ACTIVE]
