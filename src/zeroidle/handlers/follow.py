"""What becomes of the VMs that a call asked for, or met on their way?

The cloud takes a request for a VM at once and refuses it some seconds later, so whoever asked looks again, for a while,
before its call ends. What comes of it after that, or of a call that died meanwhile, the next tick finds.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from zeroidle import logs
from zeroidle.core import machines
from zeroidle.errors import ZeroidleError
from zeroidle.handlers.context import Context
from zeroidle.handlers.converge import look_after
from zeroidle.handlers.readonce import ReadOnce

# Between two looks. Most refusals come within seconds, and a tick comes every minute.
PAUSES_S = (2.0, 3.0, 5.0, 5.0, 10.0, 10.0, 10.0)
# No more looks after this, however long they take: the function has a time limit.
BUDGET_S = 60.0


def follow(context: Context) -> None:
    """Look again at the jobs of this call that wait for a VM. Raises nothing: it is the next tick's in any case."""
    for pause_s in looks(context):
        context.clock.sleep(pause_s)


def looks(context: Context) -> Iterator[float]:
    """One look after another; whoever drives it lets so many seconds pass before the next one."""
    began = context.clock.now()
    for pause_s in PAUSES_S:
        if not context.waiting or context.clock.now() - began > BUDGET_S:
            return
        yield pause_s
        waiting = sorted(context.waiting)
        context.waiting.clear()
        looking = replace(context, vms=ReadOnce(context.vms, context.clock))
        for job_id in waiting:
            with logs.labelled(job_id=job_id):
                _look(looking, job_id)


def _look(context: Context, job_id: str) -> None:
    try:
        stored = context.jobs.load(job_id)
    except ZeroidleError:
        context.waiting.add(job_id)
        return
    if stored is not None and machines.needs_market(stored.job):
        look_after(context, stored)
