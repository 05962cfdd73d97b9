"""Who runs an attempt? What the plans of all kinds of jobs share: the claim in the ledger, and actions on the record.

Whoever creates `claims/<job_id>-a<attempt>` runs the attempt: an execution of a workflow, or a worker on a VM. So an
attempt that nobody runs yet is ended by taking its claim: that closes it, and whoever comes late finds it taken.
"""

from __future__ import annotations

from msgspec import Struct

from zeroidle.contracts.machines import Worker
from zeroidle.contracts.records import Job
from zeroidle.core.events import Event


class Claim(Struct, frozen=True):
    """Who runs an attempt: the full name of an execution, or a worker; neither where the attempt was closed."""

    execution: str | None = None
    worker: Worker | None = None


class CloseAttempt(Struct, frozen=True):
    """Take the attempt's claim if nobody has it."""

    attempt: int


class Record(Struct, frozen=True):
    """Advance the record by this event, then look again."""

    event: Event


class RemoveMarker(Struct, frozen=True):
    """Nothing of the job is left: it needs no looking after."""


def is_late(job: Job, now: float) -> bool:
    """Has the present state lasted too long?"""
    return job.deadline_at is not None and now >= job.deadline_at
