from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from tests.core.job_factories import EXECUTION, FAILURE, LIMITS, NOW, RESULT, a_job, stop_requested
from zeroidle.contracts import codec
from zeroidle.contracts.records import Job, State
from zeroidle.core import events
from zeroidle.core import job as jobs
from zeroidle.core.converge import (
    BEAT_GRACE_S,
    END_GRACE_S,
    Action,
    CancelExecution,
    Claim,
    CloseAttempt,
    ExecutionState,
    ExecutionView,
    Observed,
    Record,
    RemoveMarker,
    StartExecution,
    WriteError,
    plan,
)

OWNED, CLOSED = Claim(EXECUTION), Claim(None)
LATE = NOW + 10**6
ENDS = (ExecutionState.SUCCEEDED, ExecutionState.FAILED, ExecutionState.CANCELLED)


def view(state: ExecutionState, *, ended_at: float | None = NOW, result: str = "", error: str = "") -> ExecutionView:
    return ExecutionView(EXECUTION, state, result, error, ended_at)


ACTIVE, UNKNOWN = view(ExecutionState.ACTIVE, ended_at=None), view(ExecutionState.UNKNOWN, ended_at=None)
GONE = view(ExecutionState.GONE, ended_at=None)
CANCELLED = view(ExecutionState.CANCELLED)
QUEUED, PROVISIONING = a_job(State.QUEUED), a_job(State.PROVISIONING)
ASKED = replace(PROVISIONING, execution=EXECUTION)
RUNNING, STOPPING = a_job(State.RUNNING), a_job(State.STOPPING)
SUCCEEDED, FAILED, STOPPED = a_job(State.SUCCEEDED), a_job(State.FAILED), a_job(State.STOPPED)
TOMBSTONE = jobs.begin(stop_requested())
DEADLINE = Record(events.DeadlinePassed())
CANCEL = CancelExecution(EXECUTION)

CASES: dict[str, tuple[Job, Observed, float, tuple[Action, ...]]] = {
    "a queued job is started": (QUEUED, Observed(), NOW, (StartExecution(1),)),
    "a queued job that waited too long ends": (QUEUED, Observed(), LATE, (DEADLINE,)),
    "an attempt waits until its predecessor is known to have ended": (
        QUEUED,
        Observed(previous=UNKNOWN),
        NOW,
        (),
    ),
    "a predecessor that lingers is cancelled first": (
        QUEUED,
        Observed(previous=ACTIVE),
        NOW,
        (CANCEL, StartExecution(1)),
    ),
    "an attempt asked for, perhaps in vain, is asked for again": (
        PROVISIONING,
        Observed(),
        NOW,
        (StartExecution(1),),
    ),
    "an execution gets time to claim": (ASKED, Observed(execution=ACTIVE), NOW, ()),
    "an unknown execution gets time to claim": (ASKED, Observed(execution=UNKNOWN), NOW, ()),
    "an attempt without a sign of life is closed": (ASKED, Observed(execution=ACTIVE), LATE, (CloseAttempt(1),)),
    "an attempt whose execution ended unclaimed is closed": (
        ASKED,
        Observed(execution=CANCELLED),
        NOW,
        (CloseAttempt(1),),
    ),
    "a closed attempt is lost, and its execution cancelled": (
        ASKED,
        Observed(CLOSED, ACTIVE),
        LATE,
        (CANCEL, Record(events.AttemptClosed(1, LATE))),
    ),
    "a claimed attempt runs, however late": (
        ASKED,
        Observed(OWNED, ACTIVE),
        LATE,
        (Record(events.ExecutionClaimed(1, EXECUTION, LATE)),),
    ),
    "a running job is left alone": (RUNNING, Observed(OWNED, ACTIVE), NOW, ()),
    "unknown is not dead": (RUNNING, Observed(OWNED, UNKNOWN), NOW, ()),
    "not found is not dead": (RUNNING, Observed(OWNED, GONE), NOW, ()),
    "an execution that just ended may still beat": (
        RUNNING,
        Observed(OWNED, view(ExecutionState.FAILED)),
        NOW + BEAT_GRACE_S - 1,
        (),
    ),
    "a cancelled execution will not": (
        RUNNING,
        Observed(OWNED, CANCELLED),
        NOW,
        (Record(events.ExecutionCancelled(1, EXECUTION, NOW)),),
    ),
    "a job that runs too long is told to end": (RUNNING, Observed(OWNED, ACTIVE), LATE, (DEADLINE,)),
    "a job that runs too long unseen as well": (RUNNING, Observed(OWNED, UNKNOWN), LATE, (DEADLINE,)),
    "a stop of an unclaimed attempt closes it": (STOPPING, Observed(), NOW, (CloseAttempt(1),)),
    "a stop of a closed attempt is done": (
        STOPPING,
        Observed(CLOSED),
        NOW,
        (Record(events.AttemptClosed(1, NOW)),),
    ),
    "a stop cancels what runs": (STOPPING, Observed(OWNED, ACTIVE), NOW, (CANCEL,)),
    "a stop cancels what may run": (STOPPING, Observed(OWNED, UNKNOWN), NOW, (CANCEL,)),
    "a stop is done when the execution is cancelled": (
        STOPPING,
        Observed(OWNED, CANCELLED),
        NOW,
        (Record(events.ExecutionCancelled(1, EXECUTION, NOW)),),
    ),
    "a stop is done when the execution is gone": (
        STOPPING,
        Observed(OWNED, GONE),
        NOW,
        (Record(events.ExecutionCancelled(1, EXECUTION, NOW)),),
    ),
    "a stop that nobody confirms ends the job, not the care": (
        STOPPING,
        Observed(OWNED, UNKNOWN),
        LATE,
        (CANCEL, DEADLINE),
    ),
    "an execution gets time to end after its last beat": (SUCCEEDED, Observed(OWNED, ACTIVE), NOW + 21, ()),
    "one that does not end is cancelled": (SUCCEEDED, Observed(OWNED, ACTIVE), NOW + 20 + END_GRACE_S, (CANCEL,)),
    "a marker stays while nothing is known": (SUCCEEDED, Observed(OWNED, UNKNOWN), LATE, ()),
    "a marker goes when the execution has ended": (
        STOPPED,
        Observed(OWNED, CANCELLED),
        NOW,
        (RemoveMarker(),),
    ),
    "a marker goes when the execution is gone": (STOPPED, Observed(OWNED, GONE), NOW, (RemoveMarker(),)),
    "a marker goes when the attempt is closed": (STOPPED, Observed(CLOSED), NOW, (RemoveMarker(),)),
    "a marker stays while the predecessor is unknown": (STOPPED, Observed(CLOSED, previous=UNKNOWN), NOW, ()),
    "a marker goes after a lingering predecessor": (
        STOPPED,
        Observed(CLOSED, previous=ACTIVE),
        NOW,
        (CANCEL, RemoveMarker()),
    ),
    "an ended job's attempt is closed to late executions": (STOPPED, Observed(), NOW, (CloseAttempt(1),)),
    "a failed job gets its error.json": (
        FAILED,
        Observed(OWNED, CANCELLED),
        NOW,
        (WriteError(), RemoveMarker()),
    ),
    "a failed job gets its error.json at once": (FAILED, Observed(OWNED, ACTIVE), NOW + 21, (WriteError(),)),
    "and only once": (FAILED, Observed(OWNED, CANCELLED, error_present=True), NOW, (RemoveMarker(),)),
    "a job stopped before its start leaves nothing": (TOMBSTONE, Observed(), NOW, (RemoveMarker(),)),
}


@pytest.mark.parametrize(("job", "observed", "now", "actions"), CASES.values(), ids=CASES.keys())
def test_the_plan(job: Job, observed: Observed, now: float, actions: tuple[Action, ...]) -> None:
    assert plan(job, observed, now) == actions


def end(execution: ExecutionView) -> events.Event:
    (action,) = plan(RUNNING, Observed(OWNED, execution), NOW + BEAT_GRACE_S)
    assert isinstance(action, Record)
    return action.event


def test_an_execution_that_ended_without_a_beat_tells_its_result() -> None:
    event = end(view(ExecutionState.SUCCEEDED, result=codec.encode(RESULT).decode()))

    assert event == events.ExecutionSucceeded(1, EXECUTION, RESULT, NOW)


@pytest.mark.parametrize("result", ["", "null", '{"other": 1}'])
def test_a_result_nobody_understands_is_none(result: str) -> None:
    assert end(view(ExecutionState.SUCCEEDED, result=result)) == events.ExecutionSucceeded(1, EXECUTION, None, NOW)


def test_an_execution_that_failed_without_a_beat_tells_its_error() -> None:
    event = end(view(ExecutionState.FAILED, error=codec.encode(FAILURE).decode()))

    assert event == events.ExecutionFailed(1, EXECUTION, FAILURE, NOW)


@pytest.mark.parametrize("error", ["", '"oops"', json.dumps({"message": "KeyError: x", "tags": ["KeyError"]})])
def test_an_error_of_the_workflow_itself_is_quoted(error: str) -> None:
    event = end(view(ExecutionState.FAILED, error=error))

    assert isinstance(event, events.ExecutionFailed)
    assert event.failure.code == "WORKFLOW_ERROR"
    assert error in event.failure.message


def test_an_execution_that_failed_before_it_could_claim_tells_its_error() -> None:
    failed = view(ExecutionState.FAILED, error=codec.encode(FAILURE).decode())

    assert plan(ASKED, Observed(CLOSED, failed), NOW + BEAT_GRACE_S) == (
        Record(events.ExecutionFailed(1, EXECUTION, FAILURE, NOW)),
    )


def test_every_end_of_a_running_execution_changes_the_record() -> None:
    for state in ENDS:
        assert jobs.advance(RUNNING, end(view(state)), NOW + 60) != RUNNING


def test_a_deadline_planned_is_a_deadline_taken() -> None:
    for job in (QUEUED, RUNNING, STOPPING):
        assert jobs.advance(job, events.DeadlinePassed(), LATE).state is not job.state
    assert LIMITS.max_runtime_s < LATE - NOW
