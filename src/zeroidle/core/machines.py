"""What is to be done so that the VMs match the record of a job that runs on machines of its own?

The VMs of a cluster are fungible: whoever of them pulls the assignment first and takes the attempt's claim runs it, so
a job may run on a VM that another job asked for. Each VM belongs to the job that asked for it, which looks after it
until it is gone, and leaves it alone while its entry in the ledger says that it works for another live job or waits,
for a while, for the next one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias, assert_never

from msgspec import Struct

from zeroidle.contracts import names
from zeroidle.contracts.machines import Provisioning, Vm, VmRef
from zeroidle.contracts.messages import Heartbeat, MachineRun
from zeroidle.contracts.records import Job, Reason, State
from zeroidle.core import capacity, events, machine_job, placement
from zeroidle.core.claims import Claim, CloseAttempt, Record, RemoveMarker, is_late
from zeroidle.core.placement import Catalog, Market

# Three beats of a worker: what is older than that is silence.
BEAT_MISSED_S = 45.0
# Silent for so long, a worker is lost even if its VM still stands there.
LOST_AFTER_S = 600.0
# A VM that shows neither an error nor a worker for so long will not come; a flex-start request may stand in its queue.
COMES_UP_WITHIN_S = 600.0
# A call that timed out may still create its VM; absence counts only after this.
LATE_CREATE_S = 120.0
# Whoever records a VM asks for it. Another handler does so only when that one has surely ended, and only so long that
# nobody can have forgotten the VM, and its entry, while it is still about to ask. There is a tick in between.
ASK_AGAIN_AFTER_S, ASK_AGAIN_WITHIN_S = 30.0, 95.0
# A refusal comes within seconds, rarely later than this.
REFUSED_WITHIN_S = 120.0
TICK_S = 60.0
# After so many refusals a job asks in one more place at once, up to so many.
REFUSED_OFTEN, MOST_AT_ONCE = 3, 4
# How long an assignment is left to warm VMs before a new one is asked for.
WARM_GRACE_S = 20.0
# A worker that has said its last word gets this long to end by itself.
END_GRACE_S = 120.0


class VmState(StrEnum):
    """What the cloud says of a VM."""

    CREATING = "CREATING"
    RUNNING = "RUNNING"
    ENDING = "ENDING"  # it stops, is being deleted, or was preempted
    GONE = "GONE"
    UNKNOWN = "UNKNOWN"  # the API did not answer: that is no news


class VmView(Struct, frozen=True):
    """A VM as the API shows it. `code` and `message` tell why it could not be created."""

    state: VmState
    code: str = ""
    message: str = ""


class Use(StrEnum):
    """What a VM's worker says that it does."""

    NOTHING = "NOTHING"  # or it has not said anything yet
    OURS = "OURS"  # it works on the current attempt of the job we look at
    OTHERS = "OTHERS"  # it works on a live attempt of another job
    WAITING = "WAITING"  # it waits for the next job, as long as it may


class SeenVm(Struct, frozen=True):
    """One VM that the job asked for."""

    vm: Vm
    view: VmView
    use: Use = Use.NOTHING


class Observed(Struct, frozen=True):
    """What was seen. `worker` is the VM of whoever claimed the attempt, `last_word` the last beat that it left in the
    ledger, if any; `market` is there only when a VM may be needed."""

    claim: Claim | None = None
    vms: tuple[SeenVm, ...] = ()
    worker: VmView | None = None
    last_word: Heartbeat | None = None
    worker_use: Use = Use.NOTHING
    market: Market = Market()


class AskVm(Struct, frozen=True):
    """Enter the VM in the ledger, see whether the caps allow it, publish the attempt to its cluster, ask for the VM."""

    vm: Vm


class GiveUpVm(Struct, frozen=True):
    """Record that the VM was refused, and keep others from asking there for a while."""

    vm: Vm
    code: str
    message: str


class DeleteVm(Struct, frozen=True):
    """Ask the cloud to delete the VM."""

    ref: VmRef


class ForgetVm(Struct, frozen=True):
    """It is gone: take it out of the ledger, so that it counts no more."""

    ref: VmRef


class TellWorkers(Struct, frozen=True):
    """Record that the warm workers of these clusters are told of the attempt, then publish it to them."""

    attempt: int
    clusters: tuple[str, ...]


Action: TypeAlias = AskVm | GiveUpVm | DeleteVm | ForgetVm | TellWorkers | Record | CloseAttempt | RemoveMarker


def plan(job: Job, seen: Observed, catalog: Catalog, now: float) -> tuple[Action, ...]:
    """What to do now, in this order. Every action may be done twice."""
    match job.state:
        case State.QUEUED | State.PROVISIONING:
            return _unclaimed(job, seen, catalog, now)
        case State.RUNNING:
            return _running(job, seen, now)
        case State.STOPPING:
            return _stopping(job, seen, now)
        case State.SUCCEEDED | State.FAILED | State.STOPPED:
            return _terminal(job, seen, now)
        case _:
            assert_never(job.state)


def needs_market(job: Job) -> bool:
    """May a VM have to be asked for?"""
    return job.state in (State.QUEUED, State.PROVISIONING)


def may_be_refused(job: Job, seen: Observed, now: float) -> bool:
    """Is a VM on its way whose refusal another look would see soon? One that runs, or stands in a queue, is not."""
    if not needs_market(job) or seen.claim is not None:
        return False
    return any(
        each.vm.attempt == job.attempt
        and not each.vm.given_up
        and not each.vm.ref.provisioning.may_wait
        and each.view.state in (VmState.CREATING, VmState.GONE, VmState.UNKNOWN)
        and now - each.vm.asked_at <= REFUSED_WITHIN_S
        for each in seen.vms
    )


def opens_soon(job: Job, market: Market, catalog: Catalog, now: float) -> bool:
    """Has every place refused it, and may one be asked again before the next tick?"""
    if job.state is not State.QUEUED or job.reason is not Reason.NO_CAPACITY:
        return False
    ranked = placement.offers(run_of(job).wanted, catalog, market, now)
    return any(each.opens_at is not None and each.opens_at - now <= TICK_S for each in ranked)


def first_event(job: Job, catalog: Catalog, market: Market, now: float) -> events.Event | None:
    """What to write into the first record, so that it is written once: the VMs to ask for, or why there are none.

    None where a warm VM may take the job.
    """
    if _warm_clusters(job, market, now):
        return None
    return _asked(job, (), catalog, market, now)


def is_silent(job: Job, now: float) -> bool:
    """Has its worker missed beats? A claim counts as one."""
    heard = job.last_beat.received_at if job.last_beat is not None else job.machines.claimed_at
    return heard is not None and now - heard > BEAT_MISSED_S


def _unclaimed(job: Job, seen: Observed, catalog: Catalog, now: float) -> tuple[Action, ...]:
    if seen.claim is not None:
        return (_settle_claim(job, seen.claim, now),)
    if is_late(job, now):
        return (CloseAttempt(job.attempt),) if job.machines.told else (Record(events.DeadlinePassed()),)
    actions: list[Action] = []
    hoped: list[SeenVm] = []
    for each in seen.vms:
        if each.vm.attempt != job.attempt or each.vm.given_up:
            actions += _clear(each, now)
        elif (refused := _refusal(each, now)) is not None:
            actions.append(refused)
        else:
            hoped.append(each)
    actions += [AskVm(each.vm) for each in hoped if _is_unasked(each, now)]
    warm = _warm_clusters(job, seen.market, now)
    if untold := tuple(sorted(warm - set(job.machines.told))):
        actions.append(TellWorkers(job.attempt, untold))
    waits = warm and (untold or now - (job.machines.told_at or 0.0) < WARM_GRACE_S)
    if not hoped and not waits:
        actions.append(Record(_asked(job, seen.vms, catalog, seen.market, now)))
    return tuple(actions)


def _asked(
    job: Job, vms: tuple[SeenVm, ...], catalog: Catalog, market: Market, now: float
) -> events.VmsAsked | events.NothingOffered:
    run = run_of(job)
    ranked = placement.offers(run.wanted, catalog, market, now)
    # Where this attempt was refused its block says how long; where an earlier one lost its VM it is as well elsewhere.
    past = [each.vm.ref for each in vms if each.vm.attempt != job.attempt or not each.vm.given_up]
    taken = {(ref.cluster, ref.region) for ref in past}
    chosen = placement.choose(ranked, max(run.wanted.hedge, _at_once(job)), taken)
    if not chosen:
        return events.NothingOffered(job.attempt, placement.why_not(ranked))
    return events.VmsAsked(
        job.attempt,
        tuple(
            Vm(
                ref=VmRef(
                    name=names.vm_name(job.job_id, job.attempt, job.machines.asked + number),
                    cluster=offer.cluster,
                    region=offer.region,
                    provisioning=offer.provisioning,
                ),
                attempt=job.attempt,
                usd_per_hour=offer.usd_per_hour,
                asked_at=now,
            )
            for number, offer in enumerate(chosen)
        ),
        now,
    )


def _at_once(job: Job) -> int:
    """In how many places to ask at once: in more, the more have refused. Where most are full hardly two have a machine,
    and whoever asks one at a time comes to the one that has when it is taken."""
    return min(MOST_AT_ONCE, 1 + job.machines.asked // REFUSED_OFTEN)


def _running(job: Job, seen: Observed, now: float) -> tuple[Action, ...]:
    spare = _clear_others(job, seen, now)
    if (loss := _loss(job, seen, now)) is not None:
        return (*spare, loss)
    return (*spare, Record(events.DeadlinePassed())) if is_late(job, now) else spare


def _stopping(job: Job, seen: Observed, now: float) -> tuple[Action, ...]:
    if seen.claim is None:
        return (CloseAttempt(job.attempt),)
    if seen.claim.worker is None or job.machines.claimed_at is None:
        return (_settle_claim(job, seen.claim, now),)
    spare = _clear_others(job, seen, now)
    if (loss := _loss(job, seen, now)) is not None:
        return (*spare, loss)
    return (*spare, Record(events.DeadlinePassed())) if is_late(job, now) else spare


def _terminal(job: Job, seen: Observed, now: float) -> tuple[Action, ...]:
    if job.attempt == 0:
        return (RemoveMarker(),)
    closing: tuple[Action, ...] = () if seen.claim is not None else (CloseAttempt(job.attempt),)
    left = [each for each in seen.vms if not _is_gone(each, now)]
    clearing = tuple(action for each in seen.vms for action in _clear(each, now, grace=_in_grace(job, now)))
    works = seen.claim is not None and seen.claim.worker is not None and seen.worker_use is Use.OURS
    if works and seen.worker is not None and seen.worker.state is not VmState.GONE:
        stands = seen.worker.state in (VmState.CREATING, VmState.RUNNING)
        overdue: tuple[Action, ...] = ()
        if stands and not _in_grace(job, now) and seen.claim is not None and seen.claim.worker is not None:
            overdue = (DeleteVm(seen.claim.worker.vm),)  # it works on although its attempt is over
        return (*closing, *clearing, *overdue)
    if closing or left:
        return (*closing, *clearing)
    return (*clearing, RemoveMarker())


def _settle_claim(job: Job, claim: Claim, now: float) -> Record:
    if claim.worker is None:
        return Record(events.AttemptClosed(job.attempt, now))
    return Record(events.WorkerClaimed(job.attempt, claim.worker, now))


def _refusal(each: SeenVm, now: float) -> GiveUpVm | None:
    view, age = each.view, now - each.vm.asked_at
    if view.state is VmState.GONE and age > ASK_AGAIN_WITHIN_S:
        return GiveUpVm(each.vm, capacity.NO_SIGN_OF_LIFE, f"there is none {age:.0f} s after it was asked for")
    if view.state is VmState.CREATING and view.code:
        return GiveUpVm(each.vm, view.code, view.message)
    patient = each.vm.ref.provisioning is Provisioning.FLEX_START and view.state is VmState.CREATING
    if view.state is VmState.UNKNOWN or patient or age <= COMES_UP_WITHIN_S:
        return None
    return GiveUpVm(each.vm, capacity.NO_SIGN_OF_LIFE, f"no worker within {COMES_UP_WITHIN_S:g} s")


def _is_unasked(each: SeenVm, now: float) -> bool:
    return each.view.state is VmState.GONE and now - each.vm.asked_at >= ASK_AGAIN_AFTER_S


def _loss(job: Job, seen: Observed, now: float) -> Record | None:
    """Silence, and a second sign: the VM is gone or ending, or the silence has lasted far too long."""
    if seen.last_word is not None:
        return Record(events.Beat(seen.last_word))  # its message is late, or lost
    if seen.worker is None or seen.worker.state is VmState.UNKNOWN or not is_silent(job, now):
        return None
    heard = job.last_beat.received_at if job.last_beat is not None else job.machines.claimed_at or now
    if seen.worker.state in (VmState.GONE, VmState.ENDING) or now - heard > LOST_AFTER_S:
        return Record(events.WorkerLost(job.attempt, machine_job.loss_of_worker(job.machines.worker), now))
    return None


def _clear_others(job: Job, seen: Observed, now: float) -> tuple[Action, ...]:
    """VMs that did not get the attempt, and those of attempts before."""
    worker = job.machines.worker
    spare = [each for each in seen.vms if worker is None or each.vm.ref != worker.vm]
    return tuple(action for each in spare for action in _clear(each, now))


def _clear(each: SeenVm, now: float, *, grace: bool = False) -> tuple[Action, ...]:
    """Have a VM gone that its job needs no more. With `grace`, its worker may just be ending by itself."""
    if _is_gone(each, now):
        return (ForgetVm(each.vm.ref), Record(events.VmGone(each.vm.ref)))
    idle_or_busy = each.use in (Use.OTHERS, Use.WAITING) or (each.use is Use.OURS and grace)
    if each.view.state not in (VmState.CREATING, VmState.RUNNING) or idle_or_busy:
        return ()
    return (DeleteVm(each.vm.ref),)


def _is_gone(each: SeenVm, now: float) -> bool:
    return each.view.state is VmState.GONE and now - each.vm.asked_at >= LATE_CREATE_S


def _in_grace(job: Job, now: float) -> bool:
    return job.finished_at is not None and now - job.finished_at < END_GRACE_S


def _warm_clusters(job: Job, market: Market, now: float) -> set[str]:
    """Clusters in which a VM waits that the job could take, unless the warm ones have had their chance."""
    wanted = run_of(job).wanted
    return {
        entry.ref.cluster
        for entry in market.entries
        if entry.report is not None
        and (entry.report.idle_until or 0.0) > now
        and entry.ref.provisioning is wanted.provisioning
        and entry.ref.cluster in wanted.accelerators
        and (not wanted.regions or entry.ref.region in wanted.regions)
    }


def run_of(job: Job) -> MachineRun:
    """What the job runs. Raises TypeError for a job of another kind."""
    if not isinstance(job.run, MachineRun):
        raise TypeError(f"job {job.job_id} does not run on machines")
    return job.run
