"""A minute has passed: finish whatever earlier calls left undone.

With few jobs one call looks after all of them. With many the first call only counts them and publishes one message a
shard of the markers, so that each call stays within its time; `attributes.shard` is then the first hex digit of the
marker names that it is about.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from hashlib import sha256

from msgspec.structs import replace

from zeroidle import logs
from zeroidle.contracts.events import PubSubMessage
from zeroidle.contracts.messages import MachineRun
from zeroidle.contracts.records import State
from zeroidle.core import machines
from zeroidle.errors import TemporaryError, ZeroidleError
from zeroidle.handlers.context import Context, Outcome
from zeroidle.handlers.converge import look_after
from zeroidle.handlers.orphans import end_orphans
from zeroidle.handlers.readonce import ReadOnce
from zeroidle.handlers.sweep import is_due, sweep
from zeroidle.ports import Marker, Stored

# A marker without a record: its handler died in between, and the event was never delivered again.
FORGET_AFTER_S = 3600.0
# The function has 300 s. What is not reached in one tick comes first in a later one.
BUDGET_S = 200.0
# More markers than this are looked after shard by shard.
ONE_CALL = 300
SHARDS = "0123456789abcdef"
SHARD = "shard"
# When so many workers fall silent at once, what fell silent is more likely what we hear them by.
MASS_LOSS_AT_LEAST, MASS_LOSS_PART = 3, 1 / 3

log = logging.getLogger(__name__)


def on_tick(context: Context, message: PubSubMessage) -> Outcome:
    """Look after every marked job, then after uploads that nobody told us of. One bad job holds up no other."""
    began, shard = context.clock.now(), message.attributes.get(SHARD, "")
    markers = _shuffled(context.jobs.marked(shard), int(began // 60))
    if not shard and len(markers) > ONE_CALL:
        for each in SHARDS:
            context.publisher.tick(each)
    else:
        _look_after_all(context, markers, began)
    if not shard:
        end_orphans(context)
        if is_due(began):
            sweep(context)
    return Outcome.APPLIED


def _look_after_all(context: Context, markers: Sequence[Marker], began: float) -> None:
    context = replace(context, vms=ReadOnce(context.vms, context.clock))
    found = [(marker, _load(context, marker)) for marker in markers]
    hold_losses = _is_mass_loss([stored for _, stored in found if stored is not None], context.clock.now())
    for done, (marker, stored) in enumerate(found):
        if context.clock.now() - began > BUDGET_S:
            log.error("looked after %d of %d jobs in %.0f s; the rest waits", done, len(markers), BUDGET_S)
            break
        if stored is not None:
            with logs.labelled(job_id=marker.job_id):
                look_after(context, stored, hold_losses=hold_losses)


def _is_mass_loss(jobs: Iterable[Stored], now: float) -> bool:
    """Do more than a third of all workers look lost at once? Then nobody is declared lost, and somebody has to look."""
    running = [each.job for each in jobs if each.job.state is State.RUNNING and isinstance(each.job.run, MachineRun)]
    silent = sum(machines.is_silent(job, now) for job in running)
    if silent < MASS_LOSS_AT_LEAST or silent <= len(running) * MASS_LOSS_PART:
        return False
    log.critical("MASS_LOSS: %d of %d workers are silent; nothing is declared lost", silent, len(running))
    return True


def _load(context: Context, marker: Marker) -> Stored | None:
    """The record of a marked job. A marker that is long without one is taken away."""
    try:
        stored = context.jobs.load(marker.job_id)
        if stored is None and context.clock.now() - marker.created > FORGET_AFTER_S:
            context.jobs.unmark(marker.job_id)
    except TemporaryError as error:
        log.warning("job %s waits for the next tick: %s", marker.job_id, error.message)
    except ZeroidleError as error:
        log.error("job %s cannot be looked after: %s: %s", marker.job_id, error.code, error.message)
    else:
        return stored
    return None


def _shuffled(markers: Iterable[Marker], minute: int) -> list[Marker]:
    """Another order each minute, so that in ticks cut short the last ones are not always the same."""
    return sorted(markers, key=lambda marker: sha256(f"{minute} {marker.job_id}".encode()).digest())
