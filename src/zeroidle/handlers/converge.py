"""How does the cloud come to match a record? Observe, plan, apply; and how a record is made and changed at all.

What is asked of the cloud is written down before it is asked: the marker before the record, the record before the
execution. Whatever a crash leaves undone, the next delivery of the event or the next tick does.
"""

from __future__ import annotations

import logging

from zeroidle.contracts import codec, names
from zeroidle.contracts.records import Job, Reason, State
from zeroidle.contracts.services import ErrorBody
from zeroidle.core import events, pipeline
from zeroidle.core.converge import (
    Action,
    CancelExecution,
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
from zeroidle.core.events import Event, StartRefused, Submitted
from zeroidle.core.job import advance, begin
from zeroidle.errors import Conflict, PermanentError, TemporaryError, ZeroidleError
from zeroidle.handlers.context import Context, Outcome
from zeroidle.ports import ABSENT, Stored

# Looks at one job in one call; a job that needs more is looked at again by the next tick.
ROUNDS = 8
# Tries of one compare-and-set against other writers.
TRIES = 6

log = logging.getLogger(__name__)


def submit(context: Context, event: Submitted, refusal: StartRefused | None = None) -> Outcome:
    """Make a job of `event`, once; with a `refusal` one that has failed already."""
    context.jobs.mark(event.job_id)
    # One write, not two: storage takes about one a second of the same object.
    # https://cloud.google.com/storage/quotas#objects
    first = refusal or events.ExecutionAsked(attempt=1)
    job = advance(begin(event), first, context.clock.now())
    try:
        stored = context.jobs.create(job)
    except Conflict:
        return _submitted_before(context, event)
    converge(context, stored, Observed())  # of a job made just now there is nothing to be seen
    return Outcome.ACCEPTED


def record(context: Context, stored: Stored, event: Event) -> tuple[Stored, bool]:
    """Advance the record by `event`, read again if it changed since; the record, and whether the event changed it.

    Raises:
        TemporaryError: too many others write the record, or it is gone.
    """
    for _ in range(TRIES):
        job = advance(stored.job, event, context.clock.now())
        if job == stored.job:
            return stored, False
        try:
            return context.jobs.replace(stored, job), True
        except Conflict:
            stored = _load(context, stored.job.job_id)
    raise TemporaryError(f"the record of job {stored.job.job_id} is written by too many at once")


def converge(context: Context, stored: Stored, observed: Observed | None = None) -> None:
    """Make the cloud match the record. Raises TemporaryError; whatever is left over then, the next tick does."""
    for _ in range(ROUNDS):
        seen = observe(context, stored.job) if observed is None else observed
        observed = None
        actions = plan(stored.job, seen, context.clock.now())
        look_again = [_apply(context, stored, action) for action in actions]
        if not any(look_again):
            return
        stored = _load(context, stored.job.job_id)


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


def require_owner(job: Job, user_id: str) -> None:
    """Raises PermanentError if the job is another user's."""
    if job.user_id != user_id:
        raise PermanentError(
            f"job {job.job_id} belongs to another user than {user_id}",
            code="NOT_THE_OWNER",
            hint="Job ids are unique; choose another one.",
        )


def _submitted_before(context: Context, event: Submitted) -> Outcome:
    stored = _load(context, event.job_id)
    converge(context, stored)
    require_owner(stored.job, event.user_id)
    if stored.job.run is not None and stored.job.run != event.run:
        log.error("job %s was accepted before with another run; this start is ignored", event.job_id)
    return Outcome.DUPLICATE


def _load(context: Context, job_id: str) -> Stored:
    """A record that was there a moment ago."""
    stored = context.jobs.load(job_id)
    if stored is None:
        raise TemporaryError(f"job {job_id} was there and is gone")
    return stored


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
            return _close(context, job.job_id, action.attempt)
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


def _close(context: Context, job_id: str, attempt: int) -> bool:
    try:
        context.jobs.close(job_id, attempt)
    except Conflict:
        log.info("attempt %d of job %s was claimed meanwhile", attempt, job_id)
    return True


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
