"""In-memory VMs with the real agent on them: they boot, are refused, preempted, hang and die."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.simulation.sim_cloud import Faults, Killed
from worker.agent import Agent
from worker.ports import Output, Published, Tools
from zeroidle.contracts.machines import Provisioning, VmRef, Worker
from zeroidle.contracts.messages import Heartbeat, MachineRun, Meta
from zeroidle.contracts.records import Job
from zeroidle.contracts.services import Folder
from zeroidle.core.machines import VmState, VmView
from zeroidle.errors import PermanentError, TemporaryError, ZeroidleError

BOOT_S = 40.0
DELETION_S = 30.0
LEASE_S = 60.0
SHOWN_KEPT = 16


@dataclass(eq=False)
class Machine:
    """A VM. `refused` is the error code that keeps it from coming up."""

    ref: VmRef
    created: float
    boot_id: str
    state: VmState = VmState.CREATING
    refused: str = ""
    agent: Agent | None = None
    preempted: bool = False  # it has been told
    ends_at: float | None = None
    ticks_unentered: int = 0  # ticks that could have found that it has no entry
    paused: bool = False  # it does not do anything, and does not know
    skew: float = 0.0  # by how many seconds its clock is ahead
    boot_s: float = BOOT_S


class SimFleet:
    """`zeroidle.ports.Fleet`, and what happens to the VMs."""

    def __init__(self, now: Callable[[], float], faults: Faults, asked: Callable[[VmRef], None]) -> None:
        self.now, self.faults, self._asked = now, faults, asked
        self.machines: list[Machine] = []
        self.stockouts: dict[tuple[str, str], str] = {}  # (cluster, region) -> the error that a new VM meets
        self.refusals: dict[tuple[str, str], str] = {}  # the same, told at once
        self.unavailable = False  # the API does not answer questions
        self.late_by: float | None = None  # the next create is answered by a time-out, and its VM comes so late
        self.late: list[tuple[float, VmRef]] = []
        self.boots = 0
        self.stale_by = 0.0  # what the API shows is so old
        self.deletes_refused = False  # as without the permission
        self.deletion_s = DELETION_S
        self.skew = 0.0  # of the clocks of VMs that boot from now on
        self._shown: deque[tuple[float, dict[VmRef, VmView], list[tuple[VmRef, float]]]] = deque(maxlen=SHOWN_KEPT)

    # -- the port

    def create(self, ref: VmRef) -> None:
        self.faults.point(f"before create vm {ref.name}")
        self._asked(ref)
        if code := self.refusals.get((ref.cluster, ref.region)):
            raise PermanentError(f"{code} in {ref.region}", code=code)
        if self.late_by is not None:
            late_by, self.late_by = self.late_by, None
            self.late.append((self.now() + late_by, ref))
            raise TemporaryError("the create timed out")
        self._appear(ref)
        self.faults.point(f"after create vm {ref.name}")

    def view(self, ref: VmRef) -> VmView:
        if self.unavailable:
            raise TemporaryError("the Compute API does not answer")
        if self.stale_by:
            return self._as_shown()[0].get(ref, VmView(VmState.GONE))
        found = self.find(ref)
        return VmView(VmState.GONE) if found is None else _view(found)

    def delete(self, ref: VmRef) -> None:
        self.faults.point(f"before delete vm {ref.name}")
        if self.deletes_refused:
            raise PermanentError("Required 'compute.instanceGroupManagers.update' permission", code="FORBIDDEN")
        found = self.find(ref)
        if found is not None and found.ends_at is None:
            self._end(found, self.deletion_s)
        self.faults.point(f"after delete vm {ref.name}")

    def all(self) -> Iterator[tuple[VmRef, float]]:
        if self.unavailable:
            raise TemporaryError("the Compute API does not answer")
        yield from self._as_shown()[1] if self.stale_by else self._listed()

    # -- what happens to VMs

    def find(self, ref: VmRef) -> Machine | None:
        return next((machine for machine in self.machines if machine.ref == ref), None)

    def preempt(self, machine: Machine, *, told: bool) -> None:
        """The cloud takes it back, with 30 s of notice or none."""
        if told:
            machine.preempted = True
            self._end(machine, DELETION_S)
        else:
            self.machines.remove(machine)

    def pass_time(self, boot: Callable[[Machine], None]) -> None:
        """Let VMs come up and go."""
        for when, ref in [each for each in self.late if each[0] <= self.now()]:
            self.late.remove((when, ref))
            if self.find(ref) is None:
                self._appear(ref)
        for machine in list(self.machines):
            if machine.ends_at is not None and self.now() >= machine.ends_at:
                self.machines.remove(machine)
            elif (
                machine.state is VmState.CREATING
                and not machine.refused
                and self.now() - machine.created >= machine.boot_s
            ):
                machine.state = VmState.RUNNING
                boot(machine)
        self._shown.append((self.now(), {each.ref: _view(each) for each in self.machines}, self._listed()))

    def _listed(self) -> list[tuple[VmRef, float]]:
        return [(machine.ref, machine.created) for machine in self.machines]

    def _as_shown(self) -> tuple[dict[VmRef, VmView], list[tuple[VmRef, float]]]:
        """What the API showed a while ago."""
        then = self.now() - self.stale_by
        before = [each for each in self._shown if each[0] <= then] or [(0.0, {}, [])]
        return before[-1][1], before[-1][2]

    def _appear(self, ref: VmRef) -> None:
        found = self.find(ref)
        if found is not None:
            if found.ends_at is not None:
                raise TemporaryError(f"{ref.name} is being deleted")
            return
        self.boots += 1
        refused = self.stockouts.get((ref.cluster, ref.region), "")
        self.machines.append(Machine(ref, self.now(), f"boot-{self.boots}", refused=refused, skew=self.skew))

    def _end(self, machine: Machine, seconds: float) -> None:
        machine.state, machine.ends_at = VmState.ENDING, self.now() + seconds
        if machine.agent is not None and not machine.preempted:
            machine.agent.end()


def _view(machine: Machine) -> VmView:
    return VmView(machine.state, machine.refused if machine.state is VmState.CREATING else "")


@dataclass(eq=False)
class Assignment:
    """A message of jobs-assigned."""

    cluster: str
    provisioning: Provisioning
    job_id: str
    attempt: int
    taken_by: Machine | None = None
    taken_at: float = 0.0


class SimPublisher:
    """`zeroidle.ports.Publisher`; assignments wait in `queue`."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.queue: list[Assignment] = []
        self.shards: list[str] = []

    def assign(self, cluster: str, provisioning: Provisioning, job_id: str, attempt: int) -> None:
        self.faults.point("before publish assignment")
        self.queue.append(Assignment(cluster, provisioning, job_id, attempt))
        self.faults.point("after publish assignment")

    def tick(self, shard: str) -> None:
        self.shards.append(shard)


class SimContainer:
    """What a job does: it runs for a while and exits."""

    def __init__(self, world: Any, machine: Machine, job_id: str, attempt: int, behaviour: str) -> None:
        self.world, self.machine, self.job_id, self.attempt = world, machine, job_id, attempt
        self.behaviour, self.started = behaviour, world.time
        self.code: int | None = None

    def exit_code(self) -> int | None:
        if self.code is None and self.machine in self.world.fleet.machines:
            worked = self.world.time - self.started
            if self.behaviour == "exits 3" and worked >= 50:
                self.code = 3
            elif self.behaviour == "good" and worked >= 100:
                self.code = 0
        return self.code

    def output(self) -> Output:
        return Output()

    def terminate(self) -> None:
        if self.code is None and self.behaviour != "deaf":
            self.code = 143

    def kill(self) -> None:
        self.code = 137 if self.code is None else self.code

    def publish(self, folder: Folder) -> Published:
        self.world.note_files(self.job_id, self.attempt, folder)
        return Published(1)

    def discard(self) -> None: ...


@dataclass(eq=False)
class SimVmTools:
    """What the agent on one VM works with."""

    world: Any
    machine: Machine
    taken: Assignment | None = field(default=None)

    # Assignments
    def take(self) -> SimVmTools | None:
        ref, now = self.machine.ref, self.world.time
        for each in self.world.publisher.queue:
            free = each.taken_by is None or now - each.taken_at > LEASE_S
            if free and (each.cluster, each.provisioning) == (ref.cluster, ref.provisioning):
                each.taken_by, each.taken_at = self.machine, now
                self.taken = each
                return self
        return None

    def close(self) -> None: ...

    @property
    def job_id(self) -> str:
        assert self.taken is not None
        return self.taken.job_id

    @property
    def attempt(self) -> int:
        assert self.taken is not None
        return self.taken.attempt

    def settle(self) -> None:
        if self.taken in self.world.publisher.queue:
            self.world.publisher.queue.remove(self.taken)

    def give_back(self) -> None:
        assert self.taken is not None
        self.taken.taken_by = None

    # Containers
    def start(self, job_id: str, attempt: int, run: MachineRun) -> SimContainer:
        container = SimContainer(self.world, self.machine, job_id, attempt, self.world.behaviour_of(job_id, attempt))
        self.world.note_container(container)
        return container

    # Reporter
    def beat(self, beat: Heartbeat) -> None:
        self.world.faults.point("before beat")
        self.world.send("heartbeat", json.loads(msgspec.json.encode(beat)))
        self.world.faults.point("after beat")

    def meta(self, meta: Meta) -> None:
        self.world.send("meta", json.loads(msgspec.json.encode(meta)))

    # Clock
    def now(self) -> float:
        return float(self.world.time) + self.machine.skew

    # Host
    def is_preempted(self) -> bool:
        return self.machine.preempted

    def delete(self) -> None:
        self.world.fleet.delete(self.machine.ref)


def boot(world: Any, machine: Machine) -> None:
    """Start the agent of a VM."""
    entry = world.context.vms.entry(machine.ref)
    price = 0.0 if entry is None else entry.usd_per_hour
    worker = Worker(vm=machine.ref, zone=f"{machine.ref.region}-a", usd_per_hour=price, boot_id=machine.boot_id)
    vm: Any = SimVmTools(world, machine)
    tools = Tools(vm, world.context.jobs, world.context.vms, vm, vm, vm, vm)

    def folder_of(job: Job) -> Folder:
        return Folder(bucket="output", prefix=f"jobs/{job.job_id}/a{job.attempt}")

    machine.agent = Agent(worker, tools, folder_of)


def step(world: Any, machine: Machine) -> None:
    """Let the agent of a VM do what is due; killed, it leaves its VM behind."""
    if machine.agent is None or machine.paused or machine.agent.is_over:
        return
    world.faults.armed = True
    try:
        machine.agent.step()
    except Killed:
        machine.agent = None
    except ZeroidleError:
        pass  # its loop logs it and goes on
    finally:
        world.faults.armed = False
