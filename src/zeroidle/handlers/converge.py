"""How does the cloud come to match a record? Observe, plan, apply; and how a record is made at all.

What is asked of the cloud is written down before it is asked: the marker before the record, the record before the
execution or the VM. Whatever a crash leaves undone, the next delivery of the event or the next tick does.
"""

from __future__ import annotations

import logging

from zeroidle.contracts.messages import MachineRun
from zeroidle.core import events
from zeroidle.core.events import Event, StartRefused, Submitted
from zeroidle.core.job import advance, begin
from zeroidle.errors import Conflict, TemporaryError, ZeroidleError
from zeroidle.handlers import machine_jobs, workflow_jobs
from zeroidle.handlers.context import Context, Outcome
from zeroidle.handlers.records import load, require_owner
from zeroidle.ports import Stored

# Looks at one job in one call; a job that needs more is looked at again by the next tick.
ROUNDS = 8

log = logging.getLogger(__name__)


def submit(context: Context, event: Submitted, refusal: StartRefused | None = None) -> Outcome:
    """Make a job of `event`, once; with a `refusal` one that has failed already."""
    context.jobs.mark(event.job_id)
    job = begin(event)
    # One write, not two: storage takes about one a second of the same object.
    # https://cloud.google.com/storage/quotas#objects
    first: Event | None = refusal or _first_event(context, event)
    if first is not None:
        job = advance(job, first, context.clock.now())
    try:
        stored = context.jobs.create(job)
    except Conflict:
        return _submitted_before(context, event)
    # Without a first event there is something to be seen: warm workers, who are to be told of it.
    converge(context, stored, is_new=first is not None)
    return Outcome.ACCEPTED


def converge(context: Context, stored: Stored, *, is_new: bool = False, hold_losses: bool = False) -> None:
    """Make the cloud match the record. Raises TemporaryError; whatever is left over then, the next tick does.

    With `is_new` nothing is looked up at first: of a job made just now there is nothing to be seen. With `hold_losses`
    no worker is declared lost.
    """
    for _ in range(ROUNDS):
        if isinstance(stored.job.run, MachineRun):
            look_again = machine_jobs.step(context, stored, is_new=is_new, hold_losses=hold_losses)
        else:
            look_again = workflow_jobs.step(context, stored, is_new=is_new)
        is_new = False
        if not look_again:
            return
        stored = load(context, stored.job.job_id)


def look_after(context: Context, stored: Stored, *, hold_losses: bool = False) -> None:
    """Converge; a job for which that is not possible now, or at all, is logged and holds up no other."""
    job_id = stored.job.job_id
    try:
        converge(context, stored, hold_losses=hold_losses)
    except TemporaryError as error:
        log.warning("job %s waits for the next tick: %s", job_id, error.message)
    except ZeroidleError as error:
        log.error("job %s cannot be looked after: %s: %s", job_id, error.code, error.message)
    except Exception:  # a defect that one job meets must not end the care for all others
        log.exception("job %s cannot be looked after", job_id)


def _first_event(context: Context, event: Submitted) -> Event | None:
    if isinstance(event.run, MachineRun):
        return machine_jobs.first_event(context, event)
    return events.ExecutionAsked(attempt=1)


def _submitted_before(context: Context, event: Submitted) -> Outcome:
    stored = load(context, event.job_id)
    require_owner(stored.job, event.user_id)
    converge(context, stored)
    if stored.job.run is not None and stored.job.run != event.run:
        log.error("job %s was accepted before with another run; this start is ignored", event.job_id)
    return Outcome.DUPLICATE
