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

from zeroidle.contracts.messages import Heartbeat, Limits, Result
from zeroidle.contracts.records import Attempt, Budget, Job, LastBeat, Reason, State, StopRequest
from zeroidle.contracts.services import ErrorBody, Stage
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
    StartRefused,
    StopRequested,
    Submitted,
)

# How long a job may take to end once told to; a cancelled execution ends within seconds.
STOPPING_TIMEOUT_S = 300.0
HISTORY = 20

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
            return _succeeded(replace(job, execution=event.execution), event.result, event.at)
        case ExecutionFailed():
            return _failed(replace(job, execution=event.execution), event.failure, event.at, now)
        case ExecutionCancelled():
            return _lost(replace(job, execution=event.execution), Reason.EXECUTION_LOST, event.at, now)
        case AttemptClosed():
            return _attempt_closed(job, event, now)
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
        case State.QUEUED:
            return _ended(replace(job, stop=request), Reason.STOP_REQUESTED, event.at)
        case State.PROVISIONING | State.RUNNING:
            return _stopping(replace(job, stop=request), Reason.STOP_REQUESTED, now)
        case _:
            return job


def _deadline_passed(job: Job, now: float) -> Job:
    if job.deadline_at is None or now < job.deadline_at:
        return job
    match job.state:
        case State.QUEUED:
            return _ended(job, Reason.NOT_STARTED, now)
        case State.RUNNING:
            return _stopping(job, Reason.TIMEOUT, now)
        case State.STOPPING:
            return _settled(job, now)
        case _:
            # PROVISIONING ends when the claim is settled: something may just have begun to run.
            return job


def _start_refused(job: Job, event: StartRefused) -> Job:
    match job.state:
        case State.QUEUED | State.PROVISIONING:
            return _ended(job, event.reason, event.at, event.failure)
        case State.STOPPING:
            return _settled(job, event.at)
        case _:
            return job


def _execution_asked(job: Job, now: float) -> Job:
    if job.state is not State.QUEUED:
        return job
    return replace(job, state=State.PROVISIONING, deadline_at=now + _limits(job).provision_timeout_s)


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
    if job.state is State.QUEUED:
        return job  # nothing was asked for this attempt, so nobody can speak for it
    seen = job.last_beat is not None and beat.seq <= job.last_beat.seq
    if seen and not beat.is_last:
        return job
    job = _as_told_by(job, beat)
    match beat.status:
        case "RUNNING":
            return _still_running(job, now)
        case "SUCCEEDED":
            return _succeeded(job, beat.result, beat.sent_at)
        case "FAILED":
            failure = beat.failure or ErrorBody(code="INTERNAL", message="the attempt failed without saying why")
            return _failed(job, failure, beat.sent_at, now)
        case "STOPPED":
            return _lost(job, Reason.EXECUTION_LOST, beat.sent_at, now)
        case _:
            assert_never(beat.status)


def _as_told_by(job: Job, beat: Heartbeat) -> Job:
    """All that is shown of the attempt, from this beat alone."""
    return replace(
        job,
        execution=beat.execution or job.execution,
        started_at=min((stage.started_at for stage in beat.stages), default=beat.sent_at),
        last_beat=LastBeat(seq=beat.seq, sent_at=beat.sent_at),
        stages=beat.stages,
        progress=beat.progress,
        message=beat.message,
        cost_usd=cost_usd(beat.stages, job.usd_per_second),
    )


def _still_running(job: Job, now: float) -> Job:
    if job.state is State.STOPPING:
        return job
    job = _running(job, now if job.started_at is None else job.started_at)
    limit = _limits(job).max_cost_usd
    return job if limit is None or job.cost_usd <= limit else _stopping(job, Reason.BUDGET, now)


def _running(job: Job, started_at: float) -> Job:
    deadline_at = started_at + _limits(job).max_runtime_s
    return replace(job, state=State.RUNNING, reason=None, started_at=started_at, deadline_at=deadline_at)


def _stopping(job: Job, reason: Reason, now: float) -> Job:
    return replace(job, state=State.STOPPING, reason=reason, deadline_at=now + STOPPING_TIMEOUT_S)


def _attempt_closed(job: Job, event: AttemptClosed, now: float) -> Job:
    match job.state:
        case State.PROVISIONING | State.STOPPING:
            return _lost(job, Reason.NOT_STARTED, event.at, now)
        case _:
            return job


def _succeeded(job: Job, result: Result | None, at: float) -> Job:
    """What is published is published: it succeeded, whatever it was told in between."""
    return replace(
        job,
        state=State.SUCCEEDED,
        reason=None,
        failure=None,
        stop=None,
        result=result,
        finished_at=at,
        deadline_at=None,
    )


def _failed(job: Job, failure: ErrorBody, at: float, now: float) -> Job:
    """The attempt ended by an error."""
    reason = reason_of(failure)
    if job.state is State.STOPPING and _may_retry(job, reason):
        return _settled(job, at)
    if _may_retry(job, reason):
        return _next_attempt(job, reason, failure, at, now)
    return _ended(replace(job, stop=None), reason, at, failure)


def _lost(job: Job, reason: Reason, at: float, now: float) -> Job:
    """The attempt ended without a word of its own."""
    if job.state is State.STOPPING:
        return _settled(job, at)
    if _may_retry(job, reason):
        return _next_attempt(job, reason, _failure(reason, job), at, now)
    return _ended(job, reason, at)


def _settled(job: Job, at: float) -> Job:
    """A job that was told to end has ended, for the reason it was told."""
    return _ended(job, job.reason or Reason.STOP_REQUESTED, at)


def _ended(job: Job, reason: Reason, at: float, failure: ErrorBody | None = None) -> Job:
    stopped = reason.final_state is State.STOPPED
    return replace(
        job,
        state=reason.final_state,
        reason=reason,
        failure=None if stopped else failure or _failure(reason, job),
        finished_at=at,
        deadline_at=None,
    )


def _may_retry(job: Job, reason: Reason) -> bool:
    match reason.budget:
        case Budget.ERRORS:
            return job.errors_used < _limits(job).max_errors
        case Budget.INTERRUPTIONS:
            return job.interruptions_used < _limits(job).max_interruptions
        case None:
            return False


def _next_attempt(job: Job, reason: Reason, failure: ErrorBody, at: float, now: float) -> Job:
    """Back to the queue, with the reason kept beside the state and the attempt in the history."""
    past = Attempt(
        number=job.attempt,
        execution=job.execution,
        started_at=job.started_at,
        ended_at=at,
        reason=reason,
        failure=failure,
    )
    return replace(
        job,
        state=State.QUEUED,
        reason=reason,
        attempt=job.attempt + 1,
        deadline_at=now + _limits(job).provision_timeout_s,
        history=(*job.history, past)[-HISTORY:],
        errors_used=job.errors_used + (reason.budget is Budget.ERRORS),
        interruptions_used=job.interruptions_used + (reason.budget is Budget.INTERRUPTIONS),
        execution=None,
        started_at=None,
        last_beat=None,
        stages=[],
        progress=None,
        message="",
        cost_usd=0.0,
    )


def _failure(reason: Reason, job: Job) -> ErrorBody:
    return ErrorBody(code=reason.value, message=_explanation(reason, job), hint=reason.advice)


def _explanation(reason: Reason, job: Job) -> str:
    limits, attempt = _limits(job), f"attempt {job.attempt}"
    match reason:
        case Reason.TIMEOUT:
            return f"{attempt} ran longer than max_runtime_s ({limits.max_runtime_s} s)"
        case Reason.BUDGET:
            return f"{attempt} cost {job.cost_usd:.4f} USD, more than max_cost_usd ({limits.max_cost_usd} USD)"
        case Reason.NOT_STARTED:
            return f"{attempt} ended without a sign of life; provision_timeout_s is {limits.provision_timeout_s} s"
        case Reason.EXECUTION_LOST:
            return f"the execution of {attempt} was cancelled or is gone"
        case Reason.USER_ERROR | Reason.SERVICE_ERROR | Reason.START_REFUSED | Reason.STOP_REQUESTED:
            return reason.advice
        case _:
            assert_never(reason)


def _limits(job: Job) -> Limits:
    """Only a job that was stopped before its start came has none, and that one is terminal."""
    if job.limits is None:
        raise ValueError(f"job {job.job_id} has no limits")
    return job.limits
