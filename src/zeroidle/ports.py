"""What do the handlers and services need of the cloud? Small protocols; `gcp` implements them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from zeroidle.contracts.messages import Meta
from zeroidle.contracts.records import Job
from zeroidle.contracts.services import ObjectRef
from zeroidle.core.converge import Claim, ExecutionView

ABSENT = 0  # as `if_generation`: the object must not exist yet


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What storage says of an object. `size` is in bytes, `created` in seconds since the epoch."""

    ref: ObjectRef  # with its generation
    size: int
    content_type: str
    metadata: Mapping[str, str]
    created: float

    @property
    def generation(self) -> int:
        """The version as a number, for `if_generation`."""
        return int(self.ref.generation or 0)


class Objects(Protocol):
    """Object storage. Every call raises TemporaryError when storage stays unavailable."""

    def stat(self, ref: ObjectRef) -> ObjectInfo | None:
        """The object's metadata, or None if there is no such object or generation."""

    def read(self, ref: ObjectRef) -> tuple[bytes, int]:
        """The whole content and its generation. Raises MissingObject."""

    def open(self, ref: ObjectRef) -> BinaryIO:
        """A seekable stream over the content in bounded memory. Raises MissingObject."""

    def write(
        self,
        ref: ObjectRef,
        data: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> int:
        """Store bytes or a file; the new generation.

        With `if_generation` only if the object is at that generation (ABSENT: does not exist). A write whose response
        was lost counts as won. Raises Conflict.
        """

    def copy(self, source: ObjectRef, target: ObjectRef, *, if_generation: int | None = None) -> int:
        """Copy on the server; the new generation. Raises MissingObject, Conflict."""

    def list(self, bucket: str, prefix: str, start: str = "") -> Iterator[ObjectInfo]:
        """All objects whose name starts with `prefix` and does not sort before `start`, in name order."""

    def delete(self, ref: ObjectRef, *, if_generation: int | None = None) -> None:
        """Remove the object; one that is already gone is no error. Raises Conflict."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A job's record and the generation it was read or written at."""

    job: Job
    generation: int


@dataclass(frozen=True, slots=True)
class Marker:
    """A job that may need looking after, and since when (seconds since the epoch)."""

    job_id: str
    created: float


class JobStore(Protocol):
    """The ledger. Every call may raise TemporaryError, and ZeroidleError (BROKEN_LEDGER) where an object is not as we
    write it."""

    def load(self, job_id: str) -> Stored | None:
        """The job's record, or None."""

    def create(self, job: Job) -> Stored:
        """Store a first record. Raises Conflict when there is one."""

    def replace(self, stored: Stored, job: Job) -> Stored:
        """Put `job` in place of what was read. Raises Conflict when it changed since."""

    def mark(self, job_id: str) -> None:
        """Have the job looked after from now on."""

    def unmark(self, job_id: str) -> None:
        """Nothing of the job is left."""

    def marked(self) -> Iterator[Marker]:
        """All jobs that may need looking after."""

    def claim(self, job_id: str, attempt: int) -> Claim | None:
        """Who runs the attempt, if somebody claimed it."""

    def close(self, job_id: str, attempt: int) -> None:
        """Take the attempt's claim without running it. Raises Conflict when it is claimed."""

    def add_meta(self, meta: Meta, message_id: str) -> None:
        """Keep a report; the same message again changes nothing."""


class Executions(Protocol):
    """Executions of workflows. Every call may raise TemporaryError, or PermanentError when the call is refused."""

    def create(self, workflow: str, argument: bytes, labels: Mapping[str, str]) -> str:
        """Start an execution of the workflow with this full name; the execution's full name. Not idempotent."""

    def get(self, execution: str) -> ExecutionView:
        """How an execution is doing; its state is GONE if there is none of that name."""

    def cancel(self, execution: str) -> None:
        """End an execution; one that has ended or is gone is no error."""


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Seconds since the epoch."""
