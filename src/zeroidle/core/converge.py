"""What is to be done so that the executions match the record of a job that runs a workflow?

Starting an execution has no idempotency key, so one attempt may be started twice. The claim in the ledger decides which
of them runs; the other ends as a duplicate.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias, assert_never

from msgspec import Struct

from zeroidle.contracts import codec
from zeroidle.contracts.messages import Result
from zeroidle.contracts.records import Job, State
from zeroidle.contracts.services import ErrorBody
from zeroidle.core import events
from zeroidle.core.claims import Claim, CloseAttempt, Record, RemoveMarker, is_late
from zeroidle.core.events import Event
from zeroidle.errors import InvalidMessage, printable

# An execution sends its last beat, then ends. Its beat says more than its end, so it gets this long to arrive.
BEAT_GRACE_S = 30.0
# And once its last beat arrived it gets this long to end by itself.
END_GRACE_S = 120.0


class ExecutionState(StrEnum):
    """What the Executions API says of an execution."""

    ACTIVE = "ACTIVE"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    GONE = "GONE"  # there is no such execution
    UNKNOWN = "UNKNOWN"  # the API did not answer: that is no news


class ExecutionView(Struct, frozen=True):
    """An execution as the API shows it. `result` and `error` are JSON texts, `ended_at` is in epoch seconds."""

    name: str
    state: ExecutionState
    result: str = ""
    error: str = ""
    ended_at: float | None = None

    @property
    def has_ended(self) -> bool:
        """It does nothing any more."""
        return self.state not in (ExecutionState.ACTIVE, ExecutionState.UNKNOWN)


class Observed(Struct, frozen=True):
    """What was seen of the job.

    `execution` is the owner of the current attempt's claim, else the one last asked for; `previous` is the one that ran
    the attempt before, which has said its last word but may not have ended yet.
    """

    claim: Claim | None = None
    execution: ExecutionView | None = None
    previous: ExecutionView | None = None
    error_present: bool = False


class StartExecution(Struct, frozen=True):
    """Record that the attempt is asked for, then ask."""

    attempt: int


class CancelExecution(Struct, frozen=True):
    """Cancel this execution."""

    execution: str


class WriteError(Struct, frozen=True):
    """Write error.json."""


Action: TypeAlias = StartExecution | CancelExecution | CloseAttempt | Record | WriteError | RemoveMarker


def plan(job: Job, observed: Observed, now: float) -> tuple[Action, ...]:
    """What to do now, in this order. Every action may be done twice."""
    match job.state:
        case State.QUEUED:
            return _queued(job, observed, now)
        case State.PROVISIONING:
            return _provisioning(job, observed, now)
        case State.RUNNING:
            return _running(job, observed, now)
        case State.STOPPING:
            return _stopping(job, observed, now)
        case State.SUCCEEDED | State.FAILED | State.STOPPED:
            return _terminal(job, observed, now)
        case _:
            assert_never(job.state)


def _queued(job: Job, observed: Observed, now: float) -> tuple[Action, ...]:
    if is_late(job, now):
        return (Record(events.DeadlinePassed()),)
    previous = observed.previous
    if previous is not None and previous.state is ExecutionState.UNKNOWN:
        return ()
    return (*_cancel(previous), StartExecution(job.attempt))


def _provisioning(job: Job, observed: Observed, now: float) -> tuple[Action, ...]:
    claim, view = observed.claim, observed.execution
    if claim is None:
        if is_late(job, now) or (view is not None and view.has_ended):
            return (CloseAttempt(job.attempt),)
        return (StartExecution(job.attempt),) if job.execution is None else ()
    if claim.execution is not None:
        return (Record(events.ExecutionClaimed(job.attempt, claim.execution, now)),)
    if view is not None and view.state is ExecutionState.FAILED:
        return (Record(_end_of(job, view, now)),)  # it failed before it could claim: its error says more
    return (*_cancel(observed.execution), Record(events.AttemptClosed(job.attempt, now)))


def _running(job: Job, observed: Observed, now: float) -> tuple[Action, ...]:
    view = observed.execution
    # One that cannot be found has not said how it ended; then only the deadline ends the job.
    if view is not None and view.has_ended and view.state is not ExecutionState.GONE:
        return () if _may_still_beat(view, now) else (Record(_end_of(job, view, now)),)
    return (Record(events.DeadlinePassed()),) if is_late(job, now) else ()


def _stopping(job: Job, observed: Observed, now: float) -> tuple[Action, ...]:
    claim, view = observed.claim, observed.execution
    if claim is None:
        return (CloseAttempt(job.attempt),)
    if claim.execution is None:
        return (*_cancel(observed.execution), Record(events.AttemptClosed(job.attempt, now)))
    if view is not None and view.has_ended:
        return () if _may_still_beat(view, now) else (Record(_end_of(job, view, now)),)
    late: tuple[Action, ...] = (Record(events.DeadlinePassed()),) if is_late(job, now) else ()
    return (CancelExecution(claim.execution), *late)


def _terminal(job: Job, observed: Observed, now: float) -> tuple[Action, ...]:
    due = job.state is State.FAILED and job.run is not None and not observed.error_present
    error: tuple[Action, ...] = (WriteError(),) if due else ()
    claim, view = observed.claim, observed.execution
    if job.attempt == 0:
        return (*error, RemoveMarker())
    if claim is None:
        return (*error, CloseAttempt(job.attempt))
    # Unknown is not dead: the marker stays until the API has answered.
    if observed.previous is not None and observed.previous.state is ExecutionState.UNKNOWN:
        return error
    if claim.execution is None or (view is not None and view.has_ended):
        return (*error, *_cancel(observed.previous), *_cancel(view), RemoveMarker())
    overdue = job.finished_at is None or now - job.finished_at >= END_GRACE_S
    if overdue and view is not None and view.state is ExecutionState.ACTIVE:
        return (*error, CancelExecution(claim.execution))
    return error


def _cancel(view: ExecutionView | None) -> tuple[Action, ...]:
    """One that comes too late for its attempt, or has said its last word, would end by itself; this makes sure."""
    return (CancelExecution(view.name),) if view is not None and view.state is ExecutionState.ACTIVE else ()


def _may_still_beat(view: ExecutionView, now: float) -> bool:
    """It ended by itself just now, so its last beat is on its way."""
    spoke = view.state in (ExecutionState.SUCCEEDED, ExecutionState.FAILED)
    return spoke and view.ended_at is not None and now - view.ended_at < BEAT_GRACE_S


def _end_of(job: Job, view: ExecutionView, now: float) -> Event:
    """How an execution that has ended did so."""
    at = now if view.ended_at is None else view.ended_at
    match view.state:
        case ExecutionState.SUCCEEDED:
            return events.ExecutionSucceeded(job.attempt, view.name, _result(view.result), at)
        case ExecutionState.FAILED:
            return events.ExecutionFailed(job.attempt, view.name, _failure(view.error), at)
        case ExecutionState.CANCELLED | ExecutionState.GONE:
            return events.ExecutionCancelled(job.attempt, view.name, at)
        case ExecutionState.ACTIVE | ExecutionState.UNKNOWN:
            raise ValueError(f"{view.name} has not ended")
        case _:
            assert_never(view.state)


def _result(text: str) -> Result | None:
    try:
        return codec.decode(text, Result, what="result")
    except InvalidMessage:
        return None


def _failure(text: str) -> ErrorBody:
    """The error of an execution: ours as it was raised, or any other wrapped."""
    try:
        return codec.decode(text, ErrorBody, what="error")
    except InvalidMessage:
        return ErrorBody(
            code="WORKFLOW_ERROR",
            message=f"the workflow failed: {printable(text, 500)}",
            hint="The execution in the Workflows console tells the step.",
        )
