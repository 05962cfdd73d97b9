"""What do all ways of running a job have in common when it ends, is told to end, or tries again?"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from zeroidle.contracts.messages import Limits, Result
from zeroidle.contracts.records import Attempt, Budget, Job, Machines, Reason, State
from zeroidle.contracts.services import ErrorBody

# How long a job may take to end once told to; a cancelled execution ends within seconds, a container in its grace.
STOPPING_TIMEOUT_S = 300.0
HISTORY = 20


def stopping(job: Job, reason: Reason, now: float) -> Job:
    """Something runs, or may; it is told to end."""
    return replace(job, state=State.STOPPING, reason=reason, deadline_at=now + STOPPING_TIMEOUT_S)


def succeeded(job: Job, result: Result | None, at: float) -> Job:
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


def lost(job: Job, reason: Reason, at: float, now: float) -> Job:
    """The attempt ended without a word of its own."""
    if job.state is State.STOPPING:
        return settled(job, at)
    if may_retry(job, reason):
        return next_attempt(job, reason, _failure(reason, job), at, now)
    return ended(job, reason, at)


def settled(job: Job, at: float) -> Job:
    """A job that was told to end has ended, for the reason it was told."""
    return ended(job, job.reason or Reason.STOP_REQUESTED, at)


def ended(job: Job, reason: Reason, at: float, failure: ErrorBody | None = None) -> Job:
    """No attempt follows."""
    stopped = reason.final_state is State.STOPPED
    return replace(
        job,
        state=reason.final_state,
        reason=reason,
        failure=None if stopped else failure or _failure(reason, job),
        finished_at=at,
        deadline_at=None,
    )


def may_retry(job: Job, reason: Reason) -> bool:
    """Is there another attempt left after an end for this reason?"""
    match reason.budget:
        case Budget.ERRORS:
            return job.errors_used < limits(job).max_errors
        case Budget.INTERRUPTIONS:
            return job.interruptions_used < limits(job).max_interruptions
        case None:
            return False


def next_attempt(job: Job, reason: Reason, failure: ErrorBody, at: float, now: float) -> Job:
    """Back to the queue, with the reason kept beside the state and the attempt in the history."""
    past = Attempt(
        number=job.attempt,
        execution=job.execution,
        worker=job.machines.worker,
        started_at=job.started_at,
        ended_at=at,
        reason=reason,
        failure=failure,
        cost_usd=job.cost_usd,
    )
    return replace(
        job,
        state=State.QUEUED,
        reason=reason,
        attempt=job.attempt + 1,
        deadline_at=now + limits(job).provision_timeout_s,
        history=(*job.history, past)[-HISTORY:],
        errors_used=job.errors_used + (reason.budget is Budget.ERRORS),
        interruptions_used=job.interruptions_used + (reason.budget is Budget.INTERRUPTIONS),
        execution=None,
        machines=Machines(vms=job.machines.vms, story=job.machines.story),
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
    asked, attempt = limits(job), f"attempt {job.attempt}"
    waited = f"{attempt} got no VM within provision_timeout_s ({asked.provision_timeout_s} s)"
    match reason:
        case Reason.TIMEOUT:
            return f"{attempt} ran longer than max_runtime_s ({asked.max_runtime_s} s)"
        case Reason.BUDGET:
            return f"{attempt} cost {job.cost_usd:.4f} USD, more than max_cost_usd ({asked.max_cost_usd} USD)"
        case Reason.NOT_STARTED:
            return f"{attempt} ended without a sign of life; provision_timeout_s is {asked.provision_timeout_s} s"
        case Reason.EXECUTION_LOST:
            return f"the execution of {attempt} was cancelled or is gone"
        case Reason.NO_CAPACITY:
            return f"{waited}: there is no capacity"
        case Reason.QUOTA:
            return f"{waited}: the project's quota is used up"
        case Reason.AT_CAP:
            return f"{waited}: other jobs' VMs are at the caps"
        case Reason.PREEMPTED:
            return f"the VM of {attempt} was taken back"
        case Reason.WORKER_LOST:
            return f"the worker of {attempt} fell silent"
        case Reason.USER_ERROR | Reason.JOB_ERROR | Reason.SERVICE_ERROR | Reason.START_REFUSED:
            return reason.advice
        case Reason.STOP_REQUESTED:
            return reason.advice
        case _:
            assert_never(reason)


def limits(job: Job) -> Limits:
    """Only a job that was stopped before its start came has none, and that one is terminal."""
    if job.limits is None:
        raise ValueError(f"job {job.job_id} has no limits")
    return job.limits
