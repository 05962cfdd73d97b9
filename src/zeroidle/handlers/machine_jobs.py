"""What is looked at and done for a job that runs on machines of its own?"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from msgspec.structs import replace

from zeroidle.contracts.machines import Vm, VmEntry, VmRef
from zeroidle.contracts.records import Job
from zeroidle.core import capacity, events, machines, placement
from zeroidle.core.claims import CloseAttempt, Record, RemoveMarker
from zeroidle.core.events import Event, Submitted
from zeroidle.core.job import begin
from zeroidle.core.machines import (
    Action,
    AskVm,
    DeleteVm,
    ForgetVm,
    GiveUpVm,
    Observed,
    SeenVm,
    TellWorkers,
    Use,
    VmState,
    VmView,
    plan,
)
from zeroidle.core.placement import Market
from zeroidle.errors import PermanentError, ZeroidleError
from zeroidle.handlers.context import Context
from zeroidle.handlers.records import record
from zeroidle.handlers.workflow_jobs import close
from zeroidle.ports import Stored

# What the story says where our own caps refused a VM.
AT_CAP = "AT_CAP"

# So many jobs for which nothing is open one call looks at again, at most.
MAX_WAITING = 16

log = logging.getLogger(__name__)


def first_event(context: Context, event: Submitted) -> Event | None:
    """What to write into the first record besides that there is a job. Raises TemporaryError."""
    catalog, now = context.deployment.catalog, context.clock.now()
    return machines.first_event(begin(event), catalog, _market(context), now)


def step(context: Context, stored: Stored, *, is_new: bool, hold_losses: bool) -> bool:
    """Observe, plan, apply, once; whether it is worth looking again. Raises TemporaryError."""
    if is_new and not stored.job.state.is_terminal and (stored.job.machines.vms or stored.job.reason is not None):
        # `first_event` has just looked: ask for what it recorded, or wait.
        return _ask_all(context, stored, stored.job.machines.vms)
    seen = observe(context, stored.job)
    if hold_losses and seen.worker is not None:
        seen = replace(seen, worker=VmView(VmState.UNKNOWN))  # no news: deadlines hold all the same
    if _is_worth_another_look(context, stored.job, seen):
        context.waiting.add(stored.job.job_id)
    actions = plan(stored.job, seen, context.deployment.catalog, context.clock.now())
    outcomes = [_apply(context, stored, action) for action in actions]  # all of them, whatever the first one brings
    return any(outcomes)


def _is_worth_another_look(context: Context, job: Job, seen: Observed) -> bool:
    now = context.clock.now()
    if machines.may_be_refused(job, seen, now):
        return True
    if len(context.waiting) >= MAX_WAITING:
        return False  # whoever comes first asks there again, and that is enough to find out
    return machines.opens_soon(job, seen.market, context.deployment.catalog, now)


def observe(context: Context, job: Job) -> Observed:
    """What the ledger and the cloud say of the job."""
    market = _market(context) if machines.needs_market(job) else Market()
    asked = job.attempt > 0 and (job.machines.told or job.machines.vms or job.state.is_terminal)
    claim = context.jobs.claim(job.job_id, job.attempt) if asked else None
    worker = claim.worker.vm if claim is not None and claim.worker is not None else None
    works = worker is not None and not job.state.is_terminal
    return Observed(
        claim=claim,
        vms=tuple(SeenVm(vm, _view(context, vm.ref), _use(context, job, vm.ref)) for vm in job.machines.vms),
        worker=None if worker is None else _view(context, worker),
        last_word=context.jobs.last_word(job.job_id, job.attempt) if works else None,
        worker_use=Use.NOTHING if worker is None else _use(context, job, worker),
        market=market,
    )


def _apply(context: Context, stored: Stored, action: Action) -> bool:
    """Do it; whether it is worth looking again at once."""
    job = stored.job
    match action:
        case Record():
            return _record(context, stored, action.event)
        case AskVm():
            return _ask(context, stored, action)
        case GiveUpVm():
            return _give_up(context, stored, action)
        case DeleteVm():
            return _delete(context, action.ref)
        case ForgetVm():
            context.vms.remove(action.ref)
            return False
        case TellWorkers():
            return _tell(context, stored, action)
        case CloseAttempt():
            return close(context, job.job_id, action.attempt)
        case RemoveMarker():
            context.jobs.unmark(job.job_id)
            return False


def _record(context: Context, stored: Stored, event: Event) -> bool:
    """Whoever records VMs asks for them at once; nobody else does meanwhile."""
    stored, changed = record(context, stored, event)
    if changed and isinstance(event, events.VmsAsked):
        return _ask_all(context, stored, event.vms)
    return changed


def _delete(context: Context, ref: VmRef) -> bool:
    """A VM that may not be deleted holds up nothing else that is to be done for its job. Each tick tries again."""
    try:
        context.fleet.delete(ref)
    except PermanentError as error:
        log.error("VM %s in %s cannot be deleted: %s: %s", ref.name, ref.region, error.code, error.message)
    return False


def _ask_all(context: Context, stored: Stored, vms: Iterable[Vm]) -> bool:
    outcomes = [_ask(context, stored, AskVm(vm)) for vm in vms]  # all of them, as in `step`
    return any(outcomes)


def _ask(context: Context, stored: Stored, action: AskVm) -> bool:
    """Enter the VM, see whether the caps allow it, publish the attempt, ask for the VM.

    The attempt is published first: a crash before the VM is asked for has both done again.
    """
    vm, catalog = action.vm, context.deployment.catalog
    entry = VmEntry(ref=vm.ref, job_id=stored.job.job_id, attempt=vm.attempt, usd_per_hour=vm.usd_per_hour)
    context.vms.enter(entry)
    # Also where it stood there already: whoever entered it may have died before looking.
    cap = placement.over_cap(entry, catalog, context.vms.entries())
    if cap is not None:
        context.vms.remove(vm.ref)
        return _refused(context, stored, GiveUpVm(vm, AT_CAP, f"live VMs are at the cap of {cap}"), None)
    context.publisher.assign(vm.ref.cluster, vm.ref.provisioning, stored.job.job_id, vm.attempt)
    try:
        context.fleet.create(vm.ref)
    except PermanentError as error:
        return _give_up(context, stored, GiveUpVm(vm, error.code, error.message))
    if not vm.ref.provisioning.may_wait:
        context.waiting.add(stored.job.job_id)
    return False


def _give_up(context: Context, stored: Stored, action: GiveUpVm) -> bool:
    """Keep others away from there for a while, then record it."""
    ref, now = action.vm.ref, context.clock.now()
    where = capacity.place(ref.cluster, ref.region, action.code, action.message)
    before = [each for each in context.vms.blocks() if (each.cluster, each.region) == where]
    block = capacity.block(ref.cluster, ref.region, action.code, action.message, now, before[0] if before else None)
    context.vms.block(block)
    return _refused(context, stored, action, block.until)


def _refused(context: Context, stored: Stored, action: GiveUpVm, next_at: float | None) -> bool:
    log.warning("no VM in %s of %s: %s", action.vm.ref.region, action.vm.ref.cluster, action.code)
    event = events.VmRefused(
        stored.job.attempt, action.vm.ref, action.code[:100], action.message[:300], context.clock.now(), next_at
    )
    return record(context, stored, event)[1]


def _tell(context: Context, stored: Stored, action: TellWorkers) -> bool:
    told = events.WorkersTold(action.attempt, action.clusters, context.clock.now())
    stored, _ = record(context, stored, told)
    run = machines.run_of(stored.job)
    for cluster in action.clusters:
        context.publisher.assign(cluster, run.wanted.provisioning, stored.job.job_id, action.attempt)
    return False


def _view(context: Context, ref: VmRef) -> VmView:
    try:
        return context.fleet.view(ref)
    except ZeroidleError as error:
        log.warning("nothing is known of VM %s in %s: %s", ref.name, ref.region, error.message)
        return VmView(VmState.UNKNOWN)


def _use(context: Context, job: Job, ref: VmRef) -> Use:
    """What the VM's worker last said that it does, as far as that still holds."""
    entry = context.vms.entry(ref)
    report = None if entry is None else entry.report
    if report is None:
        return Use.NOTHING
    if report.job_id is None:
        return Use.WAITING if (report.idle_until or 0.0) > context.clock.now() else Use.NOTHING
    if report.job_id == job.job_id:
        return Use.OURS if report.attempt == job.attempt else Use.NOTHING
    other = context.jobs.load(report.job_id)
    live = other is not None and not other.job.state.is_terminal and other.job.attempt == report.attempt
    return Use.OTHERS if live else Use.NOTHING


def _market(context: Context) -> Market:
    return Market(context.vms.blocks(), context.vms.entries())
