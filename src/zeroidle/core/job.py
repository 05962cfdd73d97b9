"""What becomes of a job when something happens?

    QUEUED -> PROVISIONING -> RUNNING -> SUCCEEDED | FAILED | STOPPED      STOPPING: on the way to the latter two
       ^____________|____________|       a lost attempt, if its budget allows another

`advance` is total: every event in every state has an answer. Terminal states absorb everything, and what belongs to
another attempt than the current one changes nothing. Messages come twice and in any order, so all that is shown of an
attempt comes from its newest beat alone (`seq`; a last beat beats all others), with the times its sender gave.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from zeroidle.contracts.messages import Heartbeat, MachineRun
from zeroidle.contracts.records import Job, LastBeat, Reason, State, StopRequest
from zeroidle.contracts.services import ErrorBody, Stage
from zeroidle.core import machine_job
from zeroidle.core.events import (
    AttemptClosed,
    Beat,
    DeadlinePassed,
    Event,
    ExecutionAsked,
    ExecutionCancelled,
    ExecutionClaimed,
    ExecutionCreated,
    ExecutionFailed,
    ExecutionSucceeded,
    NothingOffered,
    StartRefused,
    StopRequested,
    Submitted,
    VmGone,
    VmRefused,
    VmsAsked,
    WorkerClaimed,
    WorkerLost,
    WorkersTold,
)
from zeroidle.core.transitions import ended, limits, lost, may_retry, next_attempt, settled, stopping, succeeded

# Codes of failures that another attempt may not meet again. All others blame the input or the options.
_PLATFORM_CODES = frozenset(
    {"CONFLICT", "INTERNAL", "SERVICE_ERROR", "TIMEOUT", "UNAVAILABLE", "WORKFLOW_ERROR", "HTTP_429"}
)


def begin(event: Submitted | StopRequested) -> Job:
    """The first record of a job. A stop that comes before its start leaves a STOPPED one, so the start never runs."""
    match event:
        case Submitted():
            return Job(
                job_id=event.job_id,
                user_id=event.user_id,
                run=event.run,
                limits=event.limits,
                labels=event.labels,
                usd_per_second=event.usd_per_second,
                state=State.QUEUED,
                created_at=event.at,
                deadline_at=event.at + event.limits.provision_timeout_s,
                attempt=1,
            )
        case StopRequested():
            return Job(
                job_id=event.job_id,
                user_id=event.user_id,
                run=None,
                limits=None,
                state=State.STOPPED,
                reason=Reason.STOP_REQUESTED,
                created_at=event.at,
                finished_at=event.at,
                deadline_at=None,
                attempt=0,
                stop=StopRequest(user_id=event.user_id, reason=event.reason, at=event.at),
            )


def advance(job: Job, event: Event, now: float) -> Job:
    """The job after `event`; `now` only sets deadlines and dates what nobody else dated."""
    if job.state.is_terminal:
        return job
    match event:
        case Submitted():
            return job
        case StopRequested():
            return _stop_requested(job, event, now)
        case DeadlinePassed():
            return _deadline_passed(job, now)
        case VmGone():
            return machine_job.vm_gone(job, event)
    if event.attempt != job.attempt:
        return job
    match event:
        case StartRefused():
            return _start_refused(job, event)
        case ExecutionAsked():
            return _execution_asked(job, now)
        case ExecutionCreated():
            return _execution_created(job, event)
        case ExecutionClaimed():
            return _execution_claimed(job, event)
        case Beat():
            return _beat(job, event.heartbeat, now)
        case ExecutionSucceeded():
            return succeeded(replace(job, execution=event.execution), event.result, event.at)
        case ExecutionFailed():
            return _failed(replace(job, execution=event.execution), event.failure, event.at, now)
        case ExecutionCancelled():
            return lost(replace(job, execution=event.execution), Reason.EXECUTION_LOST, event.at, now)
        case AttemptClosed():
            return _attempt_closed(job, event, now)
        case VmsAsked() | NothingOffered() | VmRefused() | WorkersTold() | WorkerClaimed() | WorkerLost():
            return machine_job.advance(job, event, now)
        case _:
            assert_never(event)


def reason_of(failure: ErrorBody) -> Reason:
    """Who is to blame for what a service or the workflow reported: the input, or what runs it?"""
    platform = failure.code in _PLATFORM_CODES or failure.code.startswith("HTTP_5")
    return Reason.SERVICE_ERROR if platform else Reason.USER_ERROR


def cost_usd(stages: list[Stage], usd_per_second: dict[str, float]) -> float:
    """What the busy time reported so far costs; a stage without a price is free."""
    return round(sum((stage.busy_s or 0.0) * usd_per_second.get(stage.name, 0.0) for stage in stages), 9)


def _stop_requested(job: Job, event: StopRequested, now: float) -> Job:
    request = StopRequest(user_id=event.user_id, reason=event.reason, at=event.at)
    match job.state:
        case State.QUEUED if not job.machines.told:
            return ended(replace(job, stop=request), Reason.STOP_REQUESTED, event.at)
        case State.QUEUED | State.PROVISIONING | State.RUNNING:
            return stopping(replace(job, stop=request), Reason.STOP_REQUESTED, now)
        case _:
            return job


def _deadline_passed(job: Job, now: float) -> Job:
    if job.deadline_at is None or now < job.deadline_at:
        return job
    match job.state:
        case State.QUEUED if not job.machines.told:
            return ended(job, machine_job.why_not_started(job), now)
        case State.RUNNING:
            return stopping(job, Reason.TIMEOUT, now)
        case State.STOPPING:
            return settled(job, now)
        case _:
            # Where somebody may just have begun to run it, the claim has to be settled first.
            return job


def _start_refused(job: Job, event: StartRefused) -> Job:
    match job.state:
        case State.QUEUED | State.PROVISIONING:
            return ended(job, event.reason, event.at, event.failure)
        case State.STOPPING:
            return settled(job, event.at)
        case _:
            return job


def _execution_asked(job: Job, now: float) -> Job:
    if job.state is not State.QUEUED:
        return job
    return replace(job, state=State.PROVISIONING, deadline_at=now + limits(job).provision_timeout_s)


def _execution_created(job: Job, event: ExecutionCreated) -> Job:
    unknown = job.execution is None and job.state in (State.PROVISIONING, State.STOPPING)
    return replace(job, execution=event.execution) if unknown else job


def _execution_claimed(job: Job, event: ExecutionClaimed) -> Job:
    match job.state:
        case State.PROVISIONING:
            return _running(replace(job, execution=event.execution), event.at)
        case State.STOPPING:
            return replace(job, execution=event.execution)
        case _:
            return job


def _beat(job: Job, beat: Heartbeat, now: float) -> Job:
    if job.state is State.QUEUED and not job.machines.told:
        return job  # nobody was told of this attempt, so nobody can speak for it
    seen = job.last_beat is not None and beat.seq <= job.last_beat.seq
    if seen and not beat.is_last:
        return job
    job = _as_told_by(job, beat, now)
    match beat.status:
        case "RUNNING":
            return _still_running(job, now)
        case "SUCCEEDED":
            return succeeded(job, beat.result, beat.sent_at)
        case "FAILED":
            failure = beat.failure or ErrorBody(code="INTERNAL", message="the attempt failed without saying why")
            return _failed(job, failure, beat.sent_at, now)
        case "STOPPED":
            return lost(job, machine_job.loss_of(job), beat.sent_at, now)
        case "PREEMPTED":
            return lost(job, Reason.PREEMPTED, beat.sent_at, now)
        case _:
            assert_never(beat.status)


def _as_told_by(job: Job, beat: Heartbeat, now: float) -> Job:
    """All that is shown of the attempt, from this beat alone."""
    job = replace(
        job,
        execution=beat.execution or job.execution,
        started_at=min((stage.started_at for stage in beat.stages), default=beat.sent_at),
        last_beat=LastBeat(seq=beat.seq, sent_at=beat.sent_at, received_at=now),
        stages=beat.stages,
        progress=beat.progress,
        message=beat.message,
        cost_usd=cost_usd(beat.stages, job.usd_per_second),
    )
    return machine_job.as_told_by(job, beat, now) if isinstance(job.run, MachineRun) else job


def _still_running(job: Job, now: float) -> Job:
    if job.state is State.STOPPING:
        return job
    job = _running(job, now if job.started_at is None else job.started_at)
    limit = limits(job).max_cost_usd
    return job if limit is None or job.cost_usd <= limit else stopping(job, Reason.BUDGET, now)


def _running(job: Job, started_at: float) -> Job:
    deadline_at = started_at + limits(job).max_runtime_s
    return replace(job, state=State.RUNNING, reason=None, started_at=started_at, deadline_at=deadline_at)


def _attempt_closed(job: Job, event: AttemptClosed, now: float) -> Job:
    match job.state:
        case State.PROVISIONING | State.STOPPING:
            return lost(job, machine_job.why_not_started(job), event.at, now)
        case State.QUEUED if job.machines.told:
            return lost(job, machine_job.why_not_started(job), event.at, now)
        case _:
            return job


def _failed(job: Job, failure: ErrorBody, at: float, now: float) -> Job:
    """The attempt ended by an error."""
    reason = Reason.JOB_ERROR if isinstance(job.run, MachineRun) else reason_of(failure)
    if job.state is State.STOPPING and may_retry(job, reason):
        return settled(job, at)
    if may_retry(job, reason):
        return next_attempt(job, reason, failure, at, now)
    return ended(replace(job, stop=None), reason, at, failure)
