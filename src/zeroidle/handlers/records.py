"""How does a record change? By compare-and-set on what was read, decided again when somebody else wrote first."""

from __future__ import annotations

from zeroidle.contracts.records import Job
from zeroidle.core.events import Event
from zeroidle.core.job import advance
from zeroidle.errors import Conflict, PermanentError, TemporaryError
from zeroidle.handlers.context import Context
from zeroidle.ports import Stored

# Tries of one compare-and-set against other writers.
TRIES = 6


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
            stored = load(context, stored.job.job_id)
    raise TemporaryError(f"the record of job {stored.job.job_id} is written by too many at once")


def load(context: Context, job_id: str) -> Stored:
    """A record that was there a moment ago. Raises TemporaryError if it is gone."""
    stored = context.jobs.load(job_id)
    if stored is None:
        raise TemporaryError(f"job {job_id} was there and is gone")
    return stored


def require_owner(job: Job, user_id: str) -> None:
    """Raises PermanentError if the job is another user's."""
    if job.user_id != user_id:
        raise PermanentError(
            f"job {job.job_id} belongs to another user than {user_id}",
            code="NOT_THE_OWNER",
            hint="Job ids are unique; choose another one.",
        )


def require_attempt(job: Job, attempt: int) -> None:
    """Raises PermanentError if the job has not come to that attempt: it is in the record before anybody runs it."""
    if attempt > job.attempt:
        raise PermanentError(
            f"job {job.job_id} has come to attempt {job.attempt}, not {attempt}", code="NO_SUCH_ATTEMPT"
        )
