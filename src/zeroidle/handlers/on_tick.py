"""A minute has passed: finish whatever earlier calls left undone."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from hashlib import sha256

from zeroidle import logs
from zeroidle.contracts.events import PubSubMessage
from zeroidle.errors import TemporaryError, ZeroidleError
from zeroidle.handlers.context import Context, Outcome
from zeroidle.handlers.converge import converge
from zeroidle.handlers.sweep import is_due, sweep
from zeroidle.ports import Marker

# A marker without a record: its handler died in between, and the event was never delivered again.
FORGET_AFTER_S = 3600.0
# The function has 300 s. What is not reached in one tick comes first in a later one.
BUDGET_S = 200.0

log = logging.getLogger(__name__)


def on_tick(context: Context, _: PubSubMessage) -> Outcome:
    """Look after every marked job, then after uploads that nobody told us of. One bad job holds up no other."""
    began = context.clock.now()
    markers = _shuffled(context.jobs.marked(), int(began // 60))
    for done, marker in enumerate(markers):
        if context.clock.now() - began > BUDGET_S:
            log.error("looked after %d of %d jobs in %.0f s; the rest waits", done, len(markers), BUDGET_S)
            break
        with logs.labelled(job_id=marker.job_id):
            _look_after(context, marker)
    if is_due(began):
        sweep(context)
    return Outcome.APPLIED


def _look_after(context: Context, marker: Marker) -> None:
    try:
        stored = context.jobs.load(marker.job_id)
        if stored is not None:
            converge(context, stored)
        elif context.clock.now() - marker.created > FORGET_AFTER_S:
            context.jobs.unmark(marker.job_id)
    except TemporaryError as error:
        log.warning("job %s waits for the next tick: %s", marker.job_id, error.message)
    except ZeroidleError as error:
        log.error("job %s cannot be looked after: %s: %s", marker.job_id, error.code, error.message)
    except Exception:  # a defect that one job meets must not end the care for all others
        log.exception("job %s cannot be looked after", marker.job_id)


def _shuffled(markers: Iterable[Marker], minute: int) -> list[Marker]:
    """Another order each minute, so that in ticks cut short the last ones are not always the same."""
    return sorted(markers, key=lambda marker: sha256(f"{minute} {marker.job_id}".encode()).digest())
