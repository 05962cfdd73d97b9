"""What is looked at and done for a job that runs a workflow?"""

from __future__ import annotations

import logging

from zeroidle.contracts import codec, names
from zeroidle.contracts.records import Job, Reason, State
from zeroidle.contracts.services import ErrorBody
from zeroidle.core import events, pipeline
from zeroidle.core.claims import CloseAttempt, Record, RemoveMarker
from zeroidle.core.converge import (
    Action,
    CancelExecution,
    ExecutionState,
    ExecutionView,
    Observed,
    StartExecution,
    WriteError,
    plan,
)
from zeroidle.core.events import StartRefused
from zeroidle.errors import Conflict, PermanentError, ZeroidleError
from zeroidle.handlers.context import Context
from zeroidle.handlers.records import record
from zeroidle.ports import ABSENT, Stored

log = logging.getLogger(__name__)


def step(context: Context, stored: Stored, *, is_new: bool) -> bool:
    """Observe, plan, apply, once; whether it is worth looking again. Raises TemporaryError."""
    seen = Observed() if is_new else observe(context, stored.job)
    actions = plan(stored.job, seen, context.clock.now())
    outcomes = [_apply(context, stored, action) for action in actions]  # all of them, whatever the first one brings
    return any(outcomes)


def observe(context: Context, job: Job) -> Observed:
    """What the ledger and the cloud say of the job."""
    asked = job.attempt > 0 and job.state is not State.QUEUED
    claim = context.jobs.claim(job.job_id, job.attempt) if asked else None
    running = claim.execution if claim is not None and claim.execution is not None else job.execution
    past = job.history[-1].execution if job.history and (not asked or job.state.is_terminal) else None
    return Observed(
        claim,
        execution=_view(context, job, running),
        previous=_view(context, job, past),
        error_present=_error_is_present(context, job),
    )


def close(context: Context, job_id: str, attempt: int) -> bool:
    """Take the claim of an attempt so that nobody runs it any more; worth looking again in any case."""
    try:
        context.jobs.close(job_id, attempt)
    except Conflict:
        log.info("attempt %d of job %s was claimed meanwhile", attempt, job_id)
    return True


def _apply(context: Context, stored: Stored, action: Action) -> bool:
    """Do it; whether it is worth looking again at once."""
    job = stored.job
    match action:
        case Record():
            return record(context, stored, action.event)[1]
        case StartExecution():
            return _start(context, stored)
        case CancelExecution():
            context.executions.cancel(action.execution)
            view = _view(context, job, action.execution)
            return job.state is State.STOPPING and view is not None and view.has_ended
        case CloseAttempt():
            return close(context, job.job_id, action.attempt)
        case WriteError():
            _write_error(context, job)
            return False
        case RemoveMarker():
            context.jobs.unmark(job.job_id)
            return False


def _start(context: Context, stored: Stored) -> bool:
    """Write down that the attempt is asked for, ask, write down what came of it."""
    attempt, was_queued = stored.job.attempt, stored.job.state is State.QUEUED
    stored, changed = record(context, stored, events.ExecutionAsked(attempt))
    if stored.job.attempt != attempt or stored.job.state is not State.PROVISIONING:
        return True
    if was_queued and not changed:
        return False  # somebody else is asking for it right now
    try:
        execution = _create(context, stored.job)
    except PermanentError as error:
        failure = ErrorBody(code=error.code, message=error.message, hint=error.hint, details=error.details)
        record(context, stored, StartRefused(attempt, Reason.START_REFUSED, failure, context.clock.now()))
        return True
    record(context, stored, events.ExecutionCreated(attempt, execution))
    return False


def _create(context: Context, job: Job) -> str:
    workflow = pipeline.workflow_of(job, context.deployment)
    if workflow is None:
        raise PermanentError(f"the workflow of job {job.job_id} is not in the bundle")
    labels = {**job.labels, "job_id": job.job_id, "attempt": str(job.attempt)}
    return context.executions.create(workflow, pipeline.argument(job, context.deployment), labels)


def _view(context: Context, job: Job, name: str | None) -> ExecutionView | None:
    workflow = pipeline.workflow_of(job, context.deployment)
    if name is None or workflow is None:
        return None
    execution = names.execution_path(workflow, name)
    try:
        return context.executions.get(execution)
    except ZeroidleError as error:
        log.warning("nothing is known of %s: %s", execution, error.message)
        return ExecutionView(execution, ExecutionState.UNKNOWN)


def _error_is_present(context: Context, job: Job) -> bool:
    folder = pipeline.output_folder(job, context.deployment)
    if job.state is not State.FAILED or folder is None:
        return False
    return context.objects.stat(folder.child(names.ERROR_FILE)) is not None


def _write_error(context: Context, job: Job) -> None:
    folder, content = pipeline.output_folder(job, context.deployment), pipeline.error_file(job)
    if folder is None or content is None:
        return
    try:
        context.objects.write(
            folder.child(names.ERROR_FILE),
            codec.encode(content),
            content_type="application/json",
            if_generation=ABSENT,
        )
    except Conflict:
        return  # it stands there already
