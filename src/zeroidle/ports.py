"""What do the handlers and services need of the cloud? Small protocols; `gcp` implements them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from zeroidle.contracts.machines import Provisioning, Report, VmEntry, VmRef, Worker
from zeroidle.contracts.messages import Heartbeat, Meta
from zeroidle.contracts.records import Job
from zeroidle.contracts.services import ObjectRef
from zeroidle.core.capacity import Block
from zeroidle.core.claims import Claim
from zeroidle.core.converge import ExecutionView
from zeroidle.core.machines import VmView

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

    def marked(self, shard: str = "") -> Iterator[Marker]:
        """All jobs that may need looking after, or those of a shard (the first hex digit of a hash of the job's id)."""

    def claim(self, job_id: str, attempt: int) -> Claim | None:
        """Who runs the attempt, if somebody claimed it."""

    def take(self, job_id: str, attempt: int, worker: Worker) -> None:
        """Claim the attempt for a worker; again by the same worker is no error. Raises Conflict when another has it."""

    def close(self, job_id: str, attempt: int) -> None:
        """Take the attempt's claim without running it. Raises Conflict when it is claimed."""

    def say_last(self, beat: Heartbeat) -> None:
        """Leave the last beat of an attempt, in case its message gets lost; again changes nothing."""

    def last_word(self, job_id: str, attempt: int) -> Heartbeat | None:
        """The last beat of an attempt, if its worker left one."""

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


@dataclass(frozen=True, slots=True)
class Gone:
    """A VM that was removed from the ledger, by the name of what is left there, and when (seconds since the epoch)."""

    name: str
    at: float


class VmStore(Protocol):
    """What the ledger says of VMs and of capacity. Every call may raise TemporaryError."""

    def enter(self, entry: VmEntry) -> None:
        """Enter a VM that is about to be asked for; one that stands there already stays as it is."""

    def entry(self, ref: VmRef) -> VmEntry | None:
        """The entry of a VM, or None."""

    def entries(self) -> tuple[VmEntry, ...]:
        """All of them: what is live or asked for."""

    def report(self, ref: VmRef, report: Report) -> None:
        """What the VM's worker does from now on. Raises MissingObject when the VM has no entry any more."""

    def remove(self, ref: VmRef) -> None:
        """The VM is gone; a missing entry is no error. It stays among `gone` until it is forgotten."""

    def gone(self) -> tuple[Gone, ...]:
        """VMs that were removed: a create that came late could still bring one of them back."""

    def forget(self, gone: Gone) -> None:
        """It will not come back."""

    def blocks(self) -> tuple[Block, ...]:
        """The refusals that were kept, also those that are over."""

    def block(self, block: Block) -> None:
        """Keep a refusal, in place of the one that stood there."""


class Fleet(Protocol):
    """VMs, by name, in one group a cluster, region and way of buying. Every call may raise TemporaryError."""

    def create(self, ref: VmRef) -> None:
        """Ask for a VM; one that is there is no error. Raises PermanentError whose `code` is the cloud's."""

    def view(self, ref: VmRef) -> VmView:
        """How the VM is doing; GONE if there is none of that name."""

    def delete(self, ref: VmRef) -> None:
        """Have the VM deleted, and its group one smaller; one that is gone is no error."""

    def all(self) -> Iterator[tuple[VmRef, float]]:
        """Every VM of ours that exists, and since when (seconds since the epoch)."""


class Publisher(Protocol):
    """What handlers say to others. Every call may raise TemporaryError."""

    def assign(self, cluster: str, provisioning: Provisioning, job_id: str, attempt: int) -> None:
        """Tell the workers of a cluster that an attempt waits."""

    def tick(self, shard: str) -> None:
        """Have the marked jobs of a shard looked after by a call of its own."""


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Let so much time pass."""
