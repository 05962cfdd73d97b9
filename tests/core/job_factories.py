"""Jobs, beats and events for tests; every argument has a default."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from zeroidle.contracts.messages import Heartbeat, Limits, Result, WorkflowRun
from zeroidle.contracts.records import Job, Reason, State
from zeroidle.contracts.services import ErrorBody, ObjectRef, Stage
from zeroidle.core import events
from zeroidle.core import job as jobs

NOW = 1_800_000_000.0
EXECUTION = "projects/p/locations/r/workflows/w/executions/e1"
LIMITS = Limits(max_runtime_s=3600, provision_timeout_s=300, max_errors=0, max_interruptions=1, max_cost_usd=1.0)
FAILURE = ErrorBody(code="INVALID_INPUT", message="no text column", hint="Name one.", details={"columns": ["a"]})
RESULT = Result(bucket="output", prefix="in.txt/5", records=3)


def submitted(**fields: Any) -> events.Submitted:
    """A start of job-1."""
    run = WorkflowRun(workflow="pipeline", input=ObjectRef(bucket="input", name="in.txt", generation="5"))
    values: dict[str, Any] = {
        "job_id": "job-1",
        "user_id": "me",
        "run": run,
        "limits": LIMITS,
        "labels": {},
        "usd_per_second": {"inference": 0.01},
        "at": NOW,
    }
    return events.Submitted(**{**values, **fields})


def stop_requested(at: float = NOW + 5) -> events.StopRequested:
    """A stop of job-1."""
    return events.StopRequested("job-1", "me", "enough", at)


def a_job(state: State = State.RUNNING, **fields: Any) -> Job:
    """A job in `state`, as it gets there."""
    job = jobs.begin(submitted(limits=fields.pop("limits", LIMITS)))
    if state is not State.QUEUED:
        job = jobs.advance(job, events.ExecutionAsked(1), NOW)
    if state not in (State.QUEUED, State.PROVISIONING):
        job = jobs.advance(job, events.Beat(a_beat()), NOW + 1)
    match state:
        case State.STOPPING:
            job = jobs.advance(job, stop_requested(), NOW + 5)
        case State.SUCCEEDED:
            job = jobs.advance(job, events.Beat(a_last_beat("SUCCEEDED")), NOW + 9)
        case State.FAILED:
            job = jobs.advance(job, events.Beat(a_last_beat("FAILED")), NOW + 9)
        case State.STOPPED:
            job = jobs.advance(job, stop_requested(), NOW + 5)
            job = jobs.advance(job, events.ExecutionCancelled(1, EXECUTION, NOW + 9), NOW + 9)
    assert job.state is state
    return replace(job, **fields)


def a_beat(seq: int = 1, status: str = "RUNNING", **fields: Any) -> Heartbeat:
    """A beat of attempt 1 of job-1, one second after the one before."""
    values: dict[str, Any] = {
        "schema": 1,
        "job_id": "job-1",
        "user_id": "me",
        "attempt": 1,
        "seq": seq,
        "sent_at": NOW + seq,
        "status": status,
        "execution": EXECUTION,
        "stages": [Stage(name="inference", started_at=NOW + 1, busy_s=float(min(seq, 50)))],
    }
    return Heartbeat(**{**values, **fields})


def a_last_beat(status: str, **fields: Any) -> Heartbeat:
    """How attempt 1 ended."""
    ends: dict[str, Any] = {"SUCCEEDED": {"result": RESULT}, "FAILED": {"failure": FAILURE}, "STOPPED": {}}
    return a_beat(**{"seq": 1_000_000, "status": status, "sent_at": NOW + 20, **ends[status], **fields})


def every_event(attempt: int = 1) -> list[events.Event]:
    """One of each."""
    return [
        submitted(),
        stop_requested(),
        events.DeadlinePassed(),
        events.StartRefused(attempt, Reason.START_REFUSED, FAILURE, NOW + 9),
        events.ExecutionAsked(attempt),
        events.ExecutionCreated(attempt, EXECUTION),
        events.ExecutionClaimed(attempt, EXECUTION, NOW + 9),
        events.Beat(a_beat(7, attempt=attempt)),
        events.Beat(a_last_beat("SUCCEEDED", attempt=attempt)),
        events.Beat(a_last_beat("FAILED", attempt=attempt)),
        events.Beat(a_last_beat("STOPPED", attempt=attempt)),
        events.ExecutionSucceeded(attempt, EXECUTION, RESULT, NOW + 9),
        events.ExecutionFailed(attempt, EXECUTION, FAILURE, NOW + 9),
        events.ExecutionCancelled(attempt, EXECUTION, NOW + 9),
        events.AttemptClosed(attempt, NOW + 9),
    ]
