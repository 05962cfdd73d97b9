"""Which VMs does nobody look after? They cost money, so each tick ends them.

A VM has an entry in the ledger from before it is asked for until it is confirmed gone, and the job of the entry is
marked as long. What breaks that chain is mended here: a VM without an entry, which a call that had timed out created
late; and an entry whose job is not marked.
"""

from __future__ import annotations

import logging

from zeroidle.core.machines import LATE_CREATE_S
from zeroidle.errors import TemporaryError, ZeroidleError
from zeroidle.handlers.context import Context

# No create comes so late; until then VMs are looked for, and after that nothing of them is left.
LATEST_CREATE_S = 3600.0

log = logging.getLogger(__name__)


def end_orphans(context: Context) -> int:
    """Delete VMs without an entry, mark jobs with one; how many were found. What fails is tried by the next tick."""
    try:
        entries, gone = {entry.ref: entry for entry in context.vms.entries()}, context.vms.gone()
        if not entries and not gone:
            return 0  # the Compute Engine API is not even asked
        found = _unentered(context, set(entries)) + _unmarked(context, {each.job_id for each in entries.values()})
        for each in gone:
            if context.clock.now() - each.at > LATEST_CREATE_S:
                context.vms.forget(each)
        return found
    except TemporaryError as error:
        log.warning("orphans are looked for by the next tick: %s", error.message)
    except ZeroidleError as error:
        log.error("orphans cannot be looked for: %s: %s", error.code, error.message)
    return 0


def _unentered(context: Context, entered: set[object]) -> int:
    found = 0
    for ref, since in context.fleet.all():
        if ref not in entered and context.clock.now() - since > LATE_CREATE_S:
            log.error("VM %s in %s belongs to nobody and is deleted", ref.name, ref.region)
            context.fleet.delete(ref)
            found += 1
    return found


def _unmarked(context: Context, job_ids: set[str]) -> int:
    unmarked = job_ids - {marker.job_id for marker in context.jobs.marked()}
    for job_id in unmarked:
        log.error("job %s has a VM and was not looked after", job_id)
        context.jobs.mark(job_id)
    return len(unmarked)
