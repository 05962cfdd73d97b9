"""What becomes of a job that runs on machines of its own, when something happens to its VMs or its worker?

A VM stays in the record, whatever becomes of the attempt, until the cloud says that it is gone. While a job waits for
capacity it is QUEUED with the reason beside it; once workers were told of it, one may claim it at any moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias, assert_never

from msgspec.structs import replace

from zeroidle.contracts.machines import Provisioning, Tried, Vm, Worker
from zeroidle.contracts.messages import Heartbeat, MachineRun
from zeroidle.contracts.records import Job, Machines, Reason, State
from zeroidle.core import capacity
from zeroidle.core.events import NothingOffered, VmGone, VmRefused, VmsAsked, WorkerClaimed, WorkerLost, WorkersTold
from zeroidle.core.transitions import limits, lost

STORY_LINES = 40
_WAITING = (Reason.NO_CAPACITY, Reason.QUOTA, Reason.AT_CAP, Reason.START_REFUSED)
_NOT_CLAIMED = (State.QUEUED, State.PROVISIONING)

MachineEvent: TypeAlias = VmsAsked | NothingOffered | VmRefused | WorkersTold | WorkerClaimed | WorkerLost


def advance(job: Job, event: MachineEvent, now: float) -> Job:
    """The job after an event of its current attempt; it is not terminal."""
    match event:
        case VmsAsked():
            return _vms_asked(job, event)
        case NothingOffered():
            return _nothing_offered(job, event)
        case VmRefused():
            return _vm_refused(job, event)
        case WorkersTold():
            return _workers_told(job, event)
        case WorkerClaimed():
            return _worker_claimed(job, event)
        case WorkerLost():
            has_begun = job.state in (State.RUNNING, State.STOPPING)
            return lost(job, event.reason, event.at, now) if has_begun else job
        case _:
            assert_never(event)


def vm_gone(job: Job, event: VmGone) -> Job:
    """Forget the VM."""
    vms = tuple(vm for vm in job.machines.vms if vm.ref != event.ref)
    return job if len(vms) == len(job.machines.vms) else replace(job, machines=replace(job.machines, vms=vms))


def as_told_by(job: Job, beat: Heartbeat, now: float) -> Job:
    """What only the beats of workers tell. `now`, not the worker's clock, says how long its VM has cost."""
    machines = job.machines
    if beat.worker is not None and machines.claimed_at is None:
        machines = _claimed(machines, beat.worker, now)
    worker, since = machines.worker, machines.claimed_at
    if worker is None or since is None:
        return job
    spent = max(0.0, now - since) / 3600 * worker.usd_per_hour
    machines = replace(machines, exit_code=beat.exit_code)
    return replace(job, machines=machines, cost_usd=round(spent, 6), started_at=since)


def why_not_started(job: Job) -> Reason:
    """Why an attempt that nobody claimed ends."""
    return job.reason if job.reason in _WAITING else Reason.NOT_STARTED


def loss_of(job: Job) -> Reason:
    """Why an attempt is lost whose runner ended without an error."""
    if not isinstance(job.run, MachineRun):
        return Reason.EXECUTION_LOST
    return loss_of_worker(job.machines.worker)


def loss_of_worker(worker: Worker | None) -> Reason:
    """A VM that can be taken back at any time was."""
    spot = worker is not None and worker.vm.provisioning is Provisioning.SPOT
    return Reason.PREEMPTED if spot else Reason.WORKER_LOST


def _vms_asked(job: Job, event: VmsAsked) -> Job:
    if job.state not in _NOT_CLAIMED or any(_is_hoped_for(job, vm) for vm in job.machines.vms):
        return job  # somebody else was faster
    machines = _told(job.machines, {vm.ref.cluster for vm in event.vms}, event.at)
    asked = machines.asked + len(event.vms)
    machines = replace(machines, vms=(*machines.vms, *event.vms), asked=asked)
    return replace(job, state=State.PROVISIONING, machines=machines)


def _is_hoped_for(job: Job, vm: Vm) -> bool:
    return vm.attempt == job.attempt and not vm.given_up


def _nothing_offered(job: Job, event: NothingOffered) -> Job:
    if job.state not in _NOT_CLAIMED:
        return job
    return replace(job, state=State.QUEUED, reason=event.reason)


def _vm_refused(job: Job, event: VmRefused) -> Job:
    if job.state not in _NOT_CLAIMED or not any(vm.ref == event.ref and not vm.given_up for vm in job.machines.vms):
        return job
    tried = Tried(
        cluster=event.ref.cluster,
        region=event.ref.region,
        provisioning=event.ref.provisioning,
        code=event.code,
        message=event.message,
        at=event.at,
        next_at=event.next_at,
    )
    vms = tuple(replace(vm, given_up=True) if vm.ref == event.ref else vm for vm in job.machines.vms)
    return replace(job, machines=_with_line(replace(job.machines, vms=vms), tried))


def _workers_told(job: Job, event: WorkersTold) -> Job:
    if job.state not in _NOT_CLAIMED:
        return job
    return replace(job, machines=_told(job.machines, event.clusters, event.at))


def _worker_claimed(job: Job, event: WorkerClaimed) -> Job:
    if job.state not in (*_NOT_CLAIMED, State.STOPPING) or job.machines.claimed_at is not None:
        return job
    machines = _claimed(job.machines, event.worker, event.at)
    if job.state is State.STOPPING:
        return replace(job, machines=machines)
    return replace(
        job,
        state=State.RUNNING,
        reason=None,
        started_at=event.at,
        deadline_at=event.at + limits(job).max_runtime_s,
        machines=machines,
    )


def _claimed(machines: Machines, worker: Worker, at: float) -> Machines:
    vm = worker.vm
    line = Tried(cluster=vm.cluster, region=vm.region, provisioning=vm.provisioning, code=capacity.CLAIMED, at=at)
    return _with_line(replace(machines, worker=worker, claimed_at=at), line)


def _told(machines: Machines, clusters: Iterable[str], at: float) -> Machines:
    told = tuple(sorted({*machines.told, *clusters}))
    return machines if told == machines.told else replace(machines, told=told, told_at=at)


def _with_line(machines: Machines, tried: Tried) -> Machines:
    return replace(machines, story=(*machines.story, tried)[-STORY_LINES:])
