"""Somebody wants a job stopped: end what runs of it, or see to it that it never starts."""

from __future__ import annotations

from zeroidle.contracts import codec
from zeroidle.contracts.events import PubSubMessage
from zeroidle.contracts.messages import Stop
from zeroidle.core.events import StopRequested
from zeroidle.core.job import begin
from zeroidle.errors import Conflict, TemporaryError
from zeroidle.handlers.context import Context, Outcome
from zeroidle.handlers.converge import converge
from zeroidle.handlers.records import record, require_owner


def on_job_stop(context: Context, message: PubSubMessage) -> Outcome:
    """A stop of an unknown job leaves a STOPPED record. Raises InvalidMessage, PermanentError, TemporaryError."""
    stop = codec.decode(message.data, Stop, what="stop message")
    event = StopRequested(stop.job_id, stop.user_id, stop.reason, message.publish_time)
    stored = context.jobs.load(stop.job_id)
    if stored is None:
        return _never_start(context, event)
    require_owner(stored.job, stop.user_id)
    stored, changed = record(context, stored, event)
    converge(context, stored)
    return Outcome.APPLIED if changed else Outcome.DUPLICATE


def _never_start(context: Context, event: StopRequested) -> Outcome:
    try:
        context.jobs.create(begin(event))
    except Conflict as error:
        raise TemporaryError(f"job {event.job_id} was just started", retry_after_s=1) from error
    return Outcome.APPLIED
