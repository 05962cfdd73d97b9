"""An attempt reported: take it into the record."""

from __future__ import annotations

from zeroidle.contracts import codec
from zeroidle.contracts.events import PubSubMessage
from zeroidle.contracts.messages import Heartbeat
from zeroidle.contracts.records import State
from zeroidle.core.events import Beat
from zeroidle.errors import PermanentError
from zeroidle.handlers.context import Context, Outcome
from zeroidle.handlers.converge import converge
from zeroidle.handlers.records import record, require_attempt, require_owner


def on_job_heartbeat(context: Context, message: PubSubMessage) -> Outcome:
    """Raises InvalidMessage, PermanentError (no such job or attempt, or another user's), TemporaryError."""
    beat = codec.decode(message.data, Heartbeat, what="heartbeat")
    stored = context.jobs.load(beat.job_id)
    if stored is None:
        raise PermanentError(f"a heartbeat of job {beat.job_id}, which there is not", code="NO_SUCH_JOB")
    require_owner(stored.job, beat.user_id)
    require_attempt(stored.job, beat.attempt)
    stored, changed = record(context, stored, Beat(beat))
    if stored.job.state is not State.RUNNING:
        converge(context, stored)
    return Outcome.APPLIED if changed else Outcome.DUPLICATE
