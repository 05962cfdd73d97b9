"""Somebody has something worth keeping about a job: keep it."""

from __future__ import annotations

from zeroidle.contracts import codec
from zeroidle.contracts.events import PubSubMessage
from zeroidle.contracts.messages import Meta
from zeroidle.errors import PermanentError
from zeroidle.handlers.context import Outcome
from zeroidle.handlers.records import require_attempt, require_owner
from zeroidle.ports import JobStore

MAX_BYTES = 256 * 1024


def on_job_meta(jobs: JobStore, message: PubSubMessage) -> Outcome:
    """One object a message.

    Raises InvalidMessage, PermanentError (too large, no such job or attempt, another user's), TemporaryError.
    """
    if len(message.data) > MAX_BYTES:
        raise PermanentError(
            f"a meta message of {len(message.data)} bytes; at most {MAX_BYTES} are kept",
            hint="Write the data to a bucket and send its name.",
        )
    meta = codec.decode(message.data, Meta, what="meta message")
    stored = jobs.load(meta.job_id)
    if stored is None:
        raise PermanentError(f"a report on job {meta.job_id}, which there is not", code="NO_SUCH_JOB")
    require_owner(stored.job, meta.user_id)
    require_attempt(stored.job, meta.attempt)
    jobs.add_meta(meta, message.message_id)
    return Outcome.APPLIED
