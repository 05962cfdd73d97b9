"""A VM in memory: the real agent and the real ledger over storage in memory; time is moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from tests.simulation.sim_cloud import Faults, MemoryObjects
from worker.agent import POLL_S, Agent
from worker.ports import Output, Published, Tools
from zeroidle.contracts.machines import Provisioning, Report, VmEntry, VmRef, Wanted, Worker
from zeroidle.contracts.messages import Heartbeat, Limits, MachineRun, Meta
from zeroidle.contracts.records import Job
from zeroidle.contracts.services import Folder
from zeroidle.core import events, job
from zeroidle.errors import PermanentError, TemporaryError
from zeroidle.gcp.jobstore import BucketJobStore
from zeroidle.gcp.vmstore import BucketVmStore

START = 1_800_000_000.0
LIMITS = Limits(max_runtime_s=86400, provision_timeout_s=3600, max_errors=0, max_interruptions=1)
REF = VmRef(name="vm-1", cluster="1xl4", region="us-central1")
WORKER = Worker(vm=REF, zone="us-central1-a", usd_per_hour=1.0, boot_id="boot-1")


class Assigned:
    """`worker.ports.Assigned`."""

    def __init__(self, job_id: str, attempt: int = 1) -> None:
        self.job_id, self.attempt = job_id, attempt
        self.became: str | None = None

    def settle(self) -> None:
        self.became = "settled"

    def give_back(self) -> None:
        self.became = "given back"


class Container:
    """`worker.ports.Container`: it ends when the test says so, or at the signals that it heeds."""

    def __init__(self, heeds: bool = True) -> None:
        self.heeds = heeds
        self.code: int | None = None
        self.signals: list[str] = []
        self.says: list[Output] = []
        self.published = 0
        self.publishes: list[Published | None] = []  # what publishing comes to, call by call; then two files
        self.discarded = False

    def exit_code(self) -> int | None:
        return self.code

    def output(self) -> Output:
        return self.says.pop(0) if self.says else Output()

    def terminate(self) -> None:
        self.signals.append("TERM")
        if self.heeds and self.code is None:
            self.code = 143

    def kill(self) -> None:
        self.signals.append("KILL")
        self.code = 137 if self.code is None else self.code

    def publish(self, folder: Folder) -> Published | None:
        self.published += 1
        return self.publishes.pop(0) if self.publishes else Published(2)

    def discard(self) -> None:
        self.discarded = True


class Vm:
    """The agent's ports, all in one, and what it did with them. `fails` is asked before and after each call."""

    def __init__(self) -> None:
        self.time = START
        self.objects = MemoryObjects(self.now, Faults())
        self.jobs = BucketJobStore(self.objects, "jobs")
        self.vms = BucketVmStore(self.objects, "jobs")
        self.inbox: list[Assigned] = []
        self.containers: list[Container] = []
        self.heeds = True
        self.refuses: Exception | None = None  # what starting a container raises
        self.beats: list[Heartbeat] = []
        self.metas: list[Meta] = []
        self.preempted = False
        self.closed = self.deleted = False
        self.calls: list[str] = []
        self.fails: Callable[[str], BaseException | None] = lambda _: None
        self.vms.enter(VmEntry(ref=REF, job_id="job-0", attempt=1, usd_per_hour=1.0))  # which is gone
        self.agent = self.boot()

    def boot(self, worker: Worker = WORKER) -> Agent:
        """An agent on this VM."""
        port: Any = _Port(self, self)
        jobs: Any = _Port(self, self.jobs)
        vms: Any = _Port(self, self.vms)
        tools = Tools(port, jobs, vms, port, port, port, self)
        return Agent(worker, tools, lambda job: Folder(bucket="output", prefix=f"jobs/{job.job_id}/a{job.attempt}"))

    # -- the ports

    def now(self) -> float:
        return self.time

    def take(self) -> Assigned | None:
        return self.inbox.pop(0) if self.inbox else None

    def close(self) -> None:
        self.closed = True

    def start(self, job_id: str, attempt: int, run: MachineRun) -> Any:
        if self.refuses is not None:
            raise self.refuses
        self.containers.append(Container(self.heeds))
        return _Port(self, self.containers[-1])

    def beat(self, beat: Heartbeat) -> None:
        self.beats.append(beat)

    def meta(self, meta: Meta) -> None:
        self.metas.append(meta)

    def is_preempted(self) -> bool:
        return self.preempted

    def delete(self) -> None:
        self.deleted = True

    # -- what tests do

    def a_job(self, job_id: str = "job-1", *, keep_alive_s: int = 0, spot: bool = False) -> Assigned:
        """A job whose attempt waits, and its assignment, on its way to this VM."""
        how = Provisioning.SPOT if spot else Provisioning.STANDARD
        run = MachineRun(
            wanted=Wanted(accelerators=["1xl4"], provisioning=how), command=["train"], keep_alive_s=keep_alive_s
        )
        record = job.begin(events.Submitted(job_id, "me", run, LIMITS, {}, {}, self.time))
        self.jobs.create(job.advance(record, events.VmsAsked(1, (), self.time), self.time))
        assigned = Assigned(job_id)
        self.inbox.append(assigned)
        return assigned

    def change(self, **fields: Any) -> None:
        """Somebody writes the record of job-1."""
        stored = self.jobs.load("job-1")
        assert stored is not None
        self.jobs.replace(stored, replace(stored.job, **fields))

    def running(self) -> Container:
        """Job-1 runs, and has said so."""
        self.a_job()
        self.run(2)
        (container,) = self.containers
        return container

    def run(self, seconds: float) -> None:
        """Let the agent work for so long."""
        end = self.time + seconds
        while self.time < end and not self.agent.is_over:
            if self.agent.step() > 0:
                self.time += POLL_S

    def report(self) -> Report | None:
        """What the VM's entry says."""
        entry = self.vms.entry(REF)
        return None if entry is None else entry.report

    def claimed_by(self, job_id: str = "job-1") -> Worker | None:
        claim = self.jobs.claim(job_id, 1)
        return None if claim is None else claim.worker

    def record(self) -> Job:
        stored = self.jobs.load("job-1")
        assert stored is not None
        return stored.job

    def statuses(self) -> list[str]:
        """Of the beats that were sent."""
        return [beat.status for beat in self.beats]


class _Port:
    """A port whose calls may fail before and after their effect. What only looks at this machine never does."""

    _NEVER = frozenset(
        ["exit_code", "terminate", "kill", "discard", "is_preempted", "close", "settle", "give_back", "start"]
    )

    def __init__(self, vm: Vm, inner: Any) -> None:
        self._vm, self._inner = vm, inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name in self._NEVER or not callable(found):
            return found

        claims = name == "take" and self._inner is self._vm.jobs
        # A pull that fails hands nothing out: there is no "after".
        whens = ("before",) if name == "take" and not claims else ("before", "after")

        def call(*args: Any) -> Any:
            answer = None
            for when in whens:
                point = f"{when} {'claim' if claims else name}"
                self._vm.calls.append(point)
                if when == "after":
                    answer = found(*args)
                if (error := self._vm.fails(point)) is not None:
                    raise error
            return answer if len(whens) == 2 else found(*args)

        return call


def once(point: int) -> Callable[[str], BaseException | None]:
    """A temporary failure at the call point with this number."""
    count = iter(range(10**9))
    return lambda name: TemporaryError(f"{name} fails") if next(count) == point else None


def always(*names_: str, error: type[TemporaryError] | type[PermanentError] = TemporaryError) -> Callable[[str], Any]:
    """Each call of these names fails before its effect."""
    return lambda point: error(f"{point} fails") if point in {f"before {name}" for name in names_} else None
