"""What can happen to a job? Past tense: what was asked, told or seen; `core.job` says what becomes of it."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from zeroidle.contracts.machines import Vm, VmRef, Worker
from zeroidle.contracts.messages import Heartbeat, Labels, Limits, Result, Run
from zeroidle.contracts.records import Reason
from zeroidle.contracts.services import ErrorBody


class Submitted(Struct, frozen=True):
    """Somebody wants a job to run; `at` is when they said so."""

    job_id: str
    user_id: str
    run: Run
    limits: Limits
    labels: Labels
    usd_per_second: dict[str, float]
    at: float


class StopRequested(Struct, frozen=True):
    """Somebody wants it stopped."""

    job_id: str
    user_id: str
    reason: str
    at: float


class DeadlinePassed(Struct, frozen=True):
    """The present state has lasted too long."""


class StartRefused(Struct, frozen=True):
    """The attempt can never be started."""

    attempt: int
    reason: Reason
    failure: ErrorBody
    at: float


class ExecutionAsked(Struct, frozen=True):
    """An execution is about to be asked for."""

    attempt: int


class ExecutionCreated(Struct, frozen=True):
    """The cloud accepted an execution; whether it is the one that runs the attempt, the claim says."""

    attempt: int
    execution: str


class ExecutionClaimed(Struct, frozen=True):
    """An execution claimed the attempt: it runs."""

    attempt: int
    execution: str
    at: float


class Beat(Struct, frozen=True):
    """An attempt reported."""

    heartbeat: Heartbeat

    @property
    def attempt(self) -> int:
        """The attempt that reported."""
        return self.heartbeat.attempt


class ExecutionSucceeded(Struct, frozen=True):
    """The execution that ran the attempt ended well; `result` is None if it did not say what it published."""

    attempt: int
    execution: str
    result: Result | None
    at: float


class ExecutionFailed(Struct, frozen=True):
    """The execution of the attempt ended with an error."""

    attempt: int
    execution: str
    failure: ErrorBody
    at: float


class ExecutionCancelled(Struct, frozen=True):
    """The execution that ran the attempt was cancelled, by us or by anybody, or is gone."""

    attempt: int
    execution: str
    at: float


class AttemptClosed(Struct, frozen=True):
    """We hold the attempt's claim ourselves, so no execution of it will ever run."""

    attempt: int
    at: float


class VmsAsked(Struct, frozen=True):
    """These VMs are about to be asked for, and the workers of their clusters to be told that the attempt waits."""

    attempt: int
    vms: tuple[Vm, ...]
    at: float


class NothingOffered(Struct, frozen=True):
    """There is nowhere to ask for a VM now."""

    attempt: int
    reason: Reason


class VmRefused(Struct, frozen=True):
    """The cloud refused a VM, or it did not come up; `next_at` is when that place may be asked again."""

    attempt: int
    ref: VmRef
    code: str
    message: str
    at: float
    next_at: float | None = None


class VmGone(Struct, frozen=True):
    """The cloud says that there is no such VM any more, of whichever attempt it was."""

    ref: VmRef


class WorkersTold(Struct, frozen=True):
    """The workers of these clusters, whose VMs are warm, are about to be told that the attempt waits."""

    attempt: int
    clusters: tuple[str, ...]
    at: float


class WorkerClaimed(Struct, frozen=True):
    """A worker claimed the attempt: it runs."""

    attempt: int
    worker: Worker
    at: float


class WorkerLost(Struct, frozen=True):
    """The worker of the attempt is silent and its VM gone, or it has been silent for far too long."""

    attempt: int
    reason: Reason
    at: float


Event: TypeAlias = (
    Submitted
    | StopRequested
    | DeadlinePassed
    | StartRefused
    | ExecutionAsked
    | ExecutionCreated
    | ExecutionClaimed
    | Beat
    | ExecutionSucceeded
    | ExecutionFailed
    | ExecutionCancelled
    | AttemptClosed
    | VmsAsked
    | NothingOffered
    | VmRefused
    | VmGone
    | WorkersTold
    | WorkerClaimed
    | WorkerLost
)
