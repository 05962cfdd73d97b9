"""The real handlers in a deterministic world: one thread, virtual time, in-memory ports, invariants checked as it goes.

Numbers in the messages of violations are those of the invariants in docs/architecture.md.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from tests.simulation import sim_fleet
from tests.simulation.sim_cloud import Execution, Faults, Killed, MemoryObjects, SimExecutions
from tests.simulation.sim_fleet import SimContainer, SimFleet, SimPublisher
from zeroidle.contracts import codec, names
from zeroidle.contracts.events import PubSubMessage, Upload
from zeroidle.contracts.machines import Provisioning, VmRef
from zeroidle.contracts.messages import Limits, MachineRun, WorkflowRun
from zeroidle.contracts.records import Job, Reason, State
from zeroidle.contracts.services import Folder, ModelRef, ObjectRef
from zeroidle.core import machines
from zeroidle.core.converge import ExecutionState
from zeroidle.core.pipeline import Deployment
from zeroidle.core.placement import Caps, Catalog, Cluster
from zeroidle.errors import Conflict, PermanentError, ZeroidleError
from zeroidle.gcp.jobstore import BucketJobStore
from zeroidle.gcp.vmstore import BucketVmStore
from zeroidle.handlers import on_job_heartbeat, on_job_meta, on_job_start, on_job_stop, on_tick, on_upload
from zeroidle.handlers.context import Context
from zeroidle.handlers.follow import looks
from zeroidle.handlers.sweep import EVERY_MINUTES

START = 1_800_000_000.0
TICK_S = 60.0
AGENT_STEP_S = 5.0
WORKFLOW = "projects/p/locations/r/workflows/zeroidle-pipeline"
LIMITS = Limits(max_runtime_s=3600, provision_timeout_s=300, max_errors=1, max_interruptions=2)
MACHINE_LIMITS = Limits(max_runtime_s=1500, provision_timeout_s=1800, max_errors=1, max_interruptions=2)


def _prices(**factors: float) -> dict[str, dict[Provisioning, float]]:
    return {
        region.replace("_", "-"): {Provisioning.STANDARD: 1.0 * factor, Provisioning.SPOT: 0.3 * factor}
        for region, factor in factors.items()
    }


CATALOG = Catalog(
    clusters={
        "1xl4": Cluster(
            "1xl4", "g2-standard-12", "nvidia-l4", 1, 2, _prices(us_central1=1.0, europe_west4=1.1, asia_east1=1.2)
        ),
        "1xa100-40gb": Cluster("1xa100-40gb", "a2-highgpu-1g", "nvidia-tesla-a100", 1, 1, _prices(us_central1=1.0)),
    },
    caps=Caps(max_vms=4, max_usd_per_hour=3.5),
)
DEPLOYMENT = Deployment(
    input_bucket="input",
    work_bucket="work",
    output_bucket="output",
    jobs_bucket="jobs",
    heartbeats_topic="projects/p/topics/jobs-heartbeats",
    meta_topic="projects/p/topics/jobs-meta",
    workflows={"pipeline": WORKFLOW},
    upload_workflow="pipeline",
    default_model=ModelRef(name="sentiment"),
    limits=LIMITS,
    parallel_shards=4,
    usd_per_second={"preprocess": 0.001, "inference": 0.01},
    machine_limits=MACHINE_LIMITS,
    catalog=CATALOG,
)


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True)
class Message:
    """Something on its way to a handler."""

    topic: str  # of the handler: upload, start, stop, heartbeat, meta, tick
    payload: Any
    id: str


@dataclass(eq=False)
class Call:
    """A handler that has done its work and sleeps until it looks what became of the VMs that it asked for."""

    message: Message
    looks: Iterator[float]
    due: float


class World:
    """A project: what is stored, what runs, what is on its way. `behaviour` is what executions do, see `BEHAVIOURS`."""

    def __init__(self, behaviour: str = "good", faults: Faults | None = None) -> None:
        self.time = START
        self.behaviour = behaviour  # of executions created from now on
        self.faults = faults or Faults()
        self.objects = MemoryObjects(self.now, self.faults, self._check_step)
        self.executions = SimExecutions(self.now, self.faults, self._check_intent)
        self.fleet = SimFleet(self.now, self.faults, self._check_vm_intent)
        self.publisher = SimPublisher(self.faults)
        store = BucketJobStore(self.objects, DEPLOYMENT.jobs_bucket)
        vms = BucketVmStore(self.objects, DEPLOYMENT.jobs_bucket)
        self.context = Context(store, self.executions, vms, self.fleet, self.publisher, self.objects, self, DEPLOYMENT)
        self.inbox: list[Message] = []
        self.outcomes: Counter[str] = Counter()
        self.calls: list[Call] = []
        self.sent = 0
        self.overlaps = 0  # handlers that ran within others
        self.published: list[tuple[str, int]] = []
        self._seen: dict[str, Job] = {}
        self._records: dict[str, tuple[int, Job]] = {}  # decoded, by generation
        self._working: dict[tuple[str, int], str] = {}
        self._stopped_first: set[str] = set()
        self._behaviours: dict[str, str] = {}
        self._containers: dict[tuple[str, int], SimContainer] = {}
        self.machine_behaviour = "good"  # of containers started from now on, see `sim_fleet.SimContainer`

    # -- what people and the cloud do

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        """As a function does; here nobody sleeps within a handler, see `Call`."""
        self.pass_time(seconds)

    def upload(self, name: str = "reviews.txt", metadata: dict[str, str] | None = None, *, told: bool = True) -> str:
        """A file lands; `told`: the event is not lost. The job's id."""
        ref = ObjectRef(bucket="input", name=name)
        self.objects.write(ref, b"x", metadata=metadata)
        info = self.objects.stat(ref)
        assert info is not None
        if told:
            self.send("upload", Upload(info.ref, info.size, info.content_type, info.metadata, info.created))
        return names.job_id_for_upload("input", name, info.ref.generation or "")

    def start(self, job_id: str = "job-1", **fields: Any) -> str:
        """Somebody sends a start message for an object that is there."""
        ref = ObjectRef(bucket="input", name="given.txt")
        if self.objects.stat(ref) is None:
            self.time -= 2 * 86400  # older than what the sweep looks at: its own job was long ago
            self.objects.write(ref, b"x")
            self.time += 2 * 86400
        run = {"kind": "workflow", "workflow": "pipeline", "input": {"bucket": "input", "name": "given.txt"}}
        self.send("start", {"schema": 1, "job_id": job_id, "user_id": "me", "run": run, **fields})
        return job_id

    def start_machine(self, job_id: str = "m-1", **wanted: Any) -> str:
        """Somebody wants a container on a machine of its own."""
        keep_alive_s = wanted.pop("keep_alive_s", 0)
        user_id, limits = wanted.pop("user_id", "me"), wanted.pop("limits", {})
        run = {
            "kind": "machine",
            "command": ["train"],
            "wanted": {"accelerators": ["1xl4"], **wanted},
            "keep_alive_s": keep_alive_s,
        }
        self.send("start", {"schema": 1, "job_id": job_id, "user_id": user_id, "run": run, "limits": limits})
        return job_id

    def stop(self, job_id: str) -> None:
        self.send("stop", {"schema": 1, "job_id": job_id, "user_id": self._owner(job_id), "reason": "enough"})

    def send(self, topic: str, payload: Any) -> Message:
        """Put something on its way."""
        self.sent += 1
        message_id = f"m{self.sent}"
        if topic not in ("upload",):
            payload = PubSubMessage(json.dumps(payload).encode(), {}, message_id, self.time)
        message = Message(topic, payload, message_id)
        self.inbox.append(message)
        return message

    # -- what the platform does

    def deliver(self, message: Message, *, keep: bool = False) -> None:
        """Call the handler. A message that is not acknowledged, or that `keep` duplicates, is delivered again."""
        if message not in self.inbox:
            return  # a handler that ran in between has taken it
        self.inbox.remove(message)
        never_seen, overlaps = self._unknown_job(message) if message.topic == "stop" else None, self.overlaps
        try:
            self._handle(message)
            if never_seen is not None and self.overlaps == overlaps:
                self._stopped_first.add(never_seen)
            if message.topic == "stop":
                self._check_stop_was_taken(message)
        except PermanentError as error:
            self.outcomes[f"REJECTED {error.code}"] += 1
        except (ZeroidleError, Killed):
            self.outcomes["REDELIVERED"] += 1
            keep = True
        if keep:
            self.inbox.append(message)

    def tick(self) -> None:
        """Cloud Scheduler's message, delivered; a tick that dies is followed by the next one."""
        message = self.send("tick", {})
        before, overlaps = self.jobs(), self.overlaps
        self.deliver(message)
        if (self.executions.unavailable or self.fleet.unavailable) and self.overlaps == overlaps:
            self._check_unknown_is_no_news(before)
        if message in self.inbox:
            self.inbox.remove(message)
            self.outcomes["MISSED TICK"] += 1
        elif not (self.fleet.unavailable or self.fleet.stale_by or self.fleet.deletes_refused):
            for machine in self.fleet.machines:
                old = self.time - machine.created > machines.LATE_CREATE_S
                unentered = old and self.context.vms.entry(machine.ref) is None
                machine.ticks_unentered += unentered
                stands = machine.state in (machines.VmState.CREATING, machines.VmState.RUNNING)
                if unentered and stands and machine.ticks_unentered > 2:
                    raise Violation(f"5: {machine.ref} came late, from a call that had timed out, and nobody ends it")

    def step(self, execution: Execution) -> None:
        """Let an execution do its next thing."""
        _BEHAVIOURS[self._behaviours[execution.name]](self, execution)

    def pass_time(self, seconds: float) -> None:
        """Let VMs come and go and their agents work, a few seconds at a time."""
        end = self.time + seconds
        while self.time < end:
            self.time = min(end, self.time + AGENT_STEP_S)
            self.fleet.pass_time(lambda machine: sim_fleet.boot(self, machine))
            for machine in list(self.fleet.machines):
                sim_fleet.step(self, machine)
            due = [each for each in self.calls if each.due <= self.time]
            self.calls = [each for each in self.calls if each.due > self.time]
            for call in due:
                self._go_on(call)

    def settle(self, rounds: int = 200) -> None:
        """No more faults: deliver, run and tick until nothing is left to do. Raises Violation when that never comes."""
        self.executions.unavailable = self.fleet.unavailable = self.fleet.deletes_refused = False
        self.fleet.stale_by, self.fleet.deletion_s = 0.0, sim_fleet.DELETION_S
        self.fleet.stockouts.clear()
        self.fleet.refusals.clear()
        for machine in self.fleet.machines:
            machine.paused = False
        for done in range(rounds):
            while self.inbox:
                self.deliver(self.inbox[0])
            for execution in self.executions.active():
                self.step(execution)
            for _ in range(4):
                self.pass_time(TICK_S / 4)
                for message in list(self.inbox):
                    self.deliver(message)
            self.tick()
            swept = done > 2 * EVERY_MINUTES
            busy = self.inbox or self.executions.active() or self.markers() or self.fleet.machines or self.fleet.late
            if swept and not busy:
                return
        raise Violation(
            f"liveness: after {rounds} ticks: {self.markers()}, {self.states()}, {self.executions.active()},"
            f" {self.fleet.machines}"
        )

    # -- what is to be seen

    def job(self, job_id: str) -> Job:
        stored = self.context.jobs.load(job_id)
        assert stored is not None, f"there is no job {job_id}"
        return stored.job

    def jobs(self) -> list[Job]:
        return [self._decoded(name) for name in self.objects.names("jobs", "jobs/")]

    def states(self) -> dict[str, str]:
        return {job.job_id: job.state.value for job in self.jobs()}

    def markers(self) -> set[str]:
        return {marker.job_id for marker in self.context.jobs.marked()}

    def output(self, job_id: str, name: str) -> bool:
        """Is there such a file where the job's result goes?"""
        return any(found.endswith(f"/{name}") for found in self.objects.names("output") if self._is_of(found, job_id))

    # -- invariants

    def check_end(self) -> None:
        """What has to hold when nothing is left to do."""
        for job in self.jobs():
            if not job.state.is_terminal:
                raise Violation(f"liveness: {job.job_id} is {job.state}")
            on_machine = isinstance(job.run, MachineRun)
            if job.state is State.FAILED and not on_machine and not self.output(job.job_id, names.ERROR_FILE):
                raise Violation(f"no error.json of {job.job_id}")
            if job.state is State.SUCCEEDED and not on_machine and not self.output(job.job_id, "summary.json"):
                raise Violation(f"no result of {job.job_id}")
            if job.state is State.SUCCEEDED and on_machine and (job.job_id, job.attempt) not in self.published:
                raise Violation(f"no result of {job.job_id}")
        if self.executions.active() or self.fleet.machines:
            raise Violation(f"5: running with nothing to do: {self.executions.active()} {self.fleet.machines}")
        if self.context.vms.entries():
            raise Violation(f"5: entries of VMs that are gone: {self.context.vms.entries()}")
        told = self.outcomes.total() - self.outcomes["REDELIVERED"]
        if told < self.sent - len(self.inbox):
            raise Violation(f"12: {self.sent} events, but {told} ends: {self.outcomes}")

    def _check_step(self, effect: str) -> None:
        """After every single change in storage: look at what it changed."""
        verb, _, name = effect.partition(" ")
        job_id = name.removeprefix("jobs/").removesuffix(".json")
        if names.job_record(job_id) == name and "/" not in job_id:
            self._check_record(self._decoded(name), effect)
        elif verb == "delete" and name.startswith(names.ACTIVE_PREFIX):
            self._check_nothing_left(name.rpartition("/")[2])

    def _check_record(self, job: Job, effect: str) -> None:
        before, self._seen[job.job_id] = self._seen.get(job.job_id), job
        if before is not None and before != job:
            _check_change(before, job, effect)
        if not job.state.is_terminal and job.job_id not in self.markers():
            raise Violation(f"6: {job.job_id} is {job.state} and has no marker after {effect}")
        runner = self.executions.all.get(job.execution or "")
        if runner is not None and runner.attempt != job.attempt:
            raise Violation(f"2: {job.job_id} is in attempt {job.attempt} and shows {runner.name} of another")
        lost = [past for past in job.history if past.reason in _LOSSES]
        if job.errors_used != len(job.history) - len(lost):
            raise Violation(f"10: {job.job_id} used {job.errors_used} errors for {job.history}")

    def _check_unknown_is_no_news(self, before: list[Job]) -> None:
        for job in before:
            if isinstance(job.run, MachineRun) != self.fleet.unavailable:
                continue
            if self.context.jobs.last_word(job.job_id, job.attempt) is not None:
                continue  # it has said itself how it ended
            running = job.state is State.RUNNING and job.deadline_at is not None and self.time < job.deadline_at
            if running and self.job(job.job_id) != job:
                raise Violation(f"8: {job.job_id} changed while nothing was known: {self.job(job.job_id)}")

    def _check_stop_was_taken(self, message: Message) -> None:
        job_id = str(json.loads(message.payload.data)["job_id"])
        stored = self.context.jobs.load(job_id)
        if stored is None:
            raise Violation(f"3: {job_id} was told to stop before its start, and nobody remembers")
        job = stored.job
        if not job.state.is_terminal and job.state is not State.STOPPING:
            raise Violation(f"3: {job.job_id} was told to stop and is {job.state}")

    def _check_nothing_left(self, job_id: str) -> None:
        if any(job.job_id == job_id and not job.state.is_terminal for job in self.jobs()):
            raise Violation(f"6: {job_id} is not terminal and lost its marker")
        for entry in self.context.vms.entries():
            if entry.job_id == job_id:
                raise Violation(f"6: {entry.ref} of {job_id} is not gone, and the marker is")
        for execution in self.executions.active():
            if execution.job_id == job_id and self._owner_of_claim(execution) in (execution.name, ""):
                raise Violation(f"6: {execution.name} of {job_id} may still work, and the marker is gone")

    def _check_vm_intent(self, ref: VmRef) -> None:
        if ref.name in self._stopped_first:
            raise Violation(f"3: {ref} was stopped before its start and gets a VM")
        entry = self.context.vms.entry(ref)
        if entry is None:
            raise Violation(f"4: {ref} was asked for without an entry")
        stored = self.context.jobs.load(entry.job_id)
        if stored is None or not any(vm.ref == ref for vm in stored.job.machines.vms):
            raise Violation(f"4: {ref} was asked for, the record says {stored}")
        entries = self.context.vms.entries()
        here = [each for each in entries if (each.ref.cluster, each.ref.region) == (ref.cluster, ref.region)]
        cluster, caps = CATALOG.clusters[ref.cluster], CATALOG.caps
        spent = sum(each.usd_per_hour for each in entries)
        if len(here) > cluster.max_per_region or len(entries) > caps.max_vms or spent > caps.max_usd_per_hour:
            raise Violation(f"7: {ref} was asked for beside {entries}")

    def behaviour_of(self, job_id: str, attempt: int) -> str:
        """What a container does."""
        return self.machine_behaviour

    def note_container(self, container: SimContainer) -> None:
        """An agent starts a container."""
        key = container.job_id, container.attempt
        other = self._containers.get(key)
        if other is not None and other.machine is not container.machine:
            raise Violation(f"2: {key} runs on {container.machine.ref} and on {other.machine.ref}")
        self._containers[key] = container
        if self.job(container.job_id).attempt > container.attempt:
            raise Violation(f"2: attempt {container.attempt} of {container.job_id} is started, a later one is current")
        if container.job_id in self._stopped_first:
            raise Violation(f"3: {container.job_id} was stopped before its start and runs")

    def note_files(self, job_id: str, attempt: int, folder: Folder) -> None:
        """An agent uploaded what a container left."""
        if (job_id, attempt) not in self.published:
            self.published.append((job_id, attempt))
        if not folder.prefix.endswith(f"{job_id}/a{attempt}"):
            raise Violation(f"9: {job_id} a{attempt} published to {folder}")

    def _check_intent(self, execution: Execution) -> None:
        stored = self.context.jobs.load(execution.job_id)
        if stored is None:
            raise Violation(f"4: {execution.name} was asked for without a record of {execution.job_id}")
        job = stored.job
        if not job.state.is_terminal and (job.state is State.QUEUED or job.attempt < execution.attempt):
            raise Violation(f"4: attempt {execution.attempt} was asked for, the record says {job.state} {job.attempt}")
        if execution.job_id in self._stopped_first:
            raise Violation(f"3: {execution.job_id} was stopped before its start and runs")
        self._behaviours[execution.name] = self.behaviour

    def note_working(self, execution: Execution) -> None:
        """An execution goes beyond its first step."""
        owner = self._working.setdefault((execution.job_id, execution.attempt), execution.name)
        current = self.job(execution.job_id)
        if owner != execution.name or current.attempt != execution.attempt:
            raise Violation(f"2: {execution.name} works on attempt {execution.attempt} beside {owner}: {current}")

    def note_published(self, execution: Execution) -> None:
        """An execution published a result."""
        self.published.append((execution.job_id, execution.attempt))
        if [job for job, _ in self.published].count(execution.job_id) > 1:
            raise Violation(f"9: published more than once: {self.published}")
        current = self.job(execution.job_id)
        if current.attempt != execution.attempt:
            raise Violation(f"9: attempt {execution.attempt} published, the current one is {current.attempt}")

    # -- inside

    def _decoded(self, name: str) -> Job:
        data, generation = self.objects.read(ObjectRef(bucket="jobs", name=name))
        known = self._records.get(name)
        if known is None or known[0] != generation:
            known = self._records[name] = generation, codec.decode(data, Job)
        return known[1]

    def _go_on(self, call: Call) -> None:
        """A handler looks again; its message is acknowledged only after the last look."""
        self.faults.armed = True
        try:
            pause_s = next(call.looks, None)
        except Killed:
            self.outcomes["REDELIVERED"] += 1
            self.inbox.append(call.message)
            return
        finally:
            self.faults.armed = False
        if pause_s is not None:
            call.due = self.time + pause_s
            self.calls.append(call)

    def _handle(self, message: Message) -> None:
        context, payload = replace(self.context, waiting=set()), message.payload
        self.faults.armed = True
        try:
            match message.topic:
                case "upload":
                    outcome = on_upload.on_upload(context, payload)
                case "start":
                    outcome = on_job_start.on_job_start(context, payload)
                case "stop":
                    outcome = on_job_stop.on_job_stop(context, payload)
                case "heartbeat":
                    outcome = on_job_heartbeat.on_job_heartbeat(context, payload)
                case "meta":
                    outcome = on_job_meta.on_job_meta(context.jobs, payload)
                case _:
                    outcome = on_tick.on_tick(context, payload)
        finally:
            self.faults.armed = False
        self.outcomes[outcome.value] += 1
        self._go_on(Call(message, looks(context), self.time))

    def _unknown_job(self, message: Message) -> str | None:
        job_id = str(json.loads(message.payload.data)["job_id"])
        return job_id if self.context.jobs.load(job_id) is None else None

    def _owner(self, job_id: str) -> str:
        stored = self.context.jobs.load(job_id)
        return "me" if stored is None else stored.job.user_id

    def _owner_of_claim(self, execution: Execution) -> str:
        """Name of the execution that holds the claim, "" if nobody does, "closed" if it was closed."""
        claim = self.context.jobs.claim(execution.job_id, execution.attempt)
        return "" if claim is None else claim.execution or "closed"

    def _is_of(self, output: str, job_id: str) -> bool:
        run = self.job(job_id).run
        if not isinstance(run, WorkflowRun):
            return output.startswith(f"jobs/{job_id}/")
        prefix = names.result_prefix(run.input.name, run.input.generation or "0")
        return output.startswith(prefix if job_id.startswith("u-") else f"{prefix}/{job_id}")


_LOSSES = (Reason.NOT_STARTED, Reason.EXECUTION_LOST, Reason.PREEMPTED, Reason.WORKER_LOST)
_NEXT = {
    # One that waits for capacity after workers were told of it may be claimed, and has to be asked to stop.
    State.QUEUED: set(State) - {State.QUEUED},
    State.PROVISIONING: set(State) - {State.PROVISIONING},
    State.RUNNING: set(State) - {State.PROVISIONING},
    State.STOPPING: {State.STOPPING, State.SUCCEEDED, State.FAILED, State.STOPPED},
}


def _check_change(before: Job, job: Job, effect: str) -> None:
    if before.state.is_terminal:
        raise Violation(f"3: {job.job_id} was {before.state} and changed to {job} by {effect}")
    if job.attempt < before.attempt:
        raise Violation(f"2: attempt of {job.job_id} went back to {job.attempt}")
    same = job.state is before.state
    if not same and job.state not in _NEXT[before.state]:
        raise Violation(f"3: {job.job_id} went from {before.state} to {job.state}")


def _beat(world: World, execution: Execution, seq: int, status: str, **fields: Any) -> None:
    argument = execution.argument
    world.send(
        "heartbeat",
        {
            "schema": 1,
            "job_id": argument["job_id"],
            "user_id": argument["user_id"],
            "attempt": argument["attempt"],
            "seq": seq,
            "sent_at": world.time,
            "status": status,
            "execution": execution.name,
            "stages": [{"name": "preprocess", "started_at": START, "busy_s": 1.0 * seq}],
            **fields,
        },
    )


def _claims(world: World, execution: Execution) -> bool:
    """The first step of every execution; whether it may go on."""
    ref = ObjectRef(bucket="jobs", name=names.claim_name(execution.job_id, execution.attempt))
    try:
        world.objects.write(ref, json.dumps({"execution": execution.name}).encode(), if_generation=0)
    except Conflict:
        if json.loads(world.objects.read(ref)[0])["execution"] != execution.name:
            _end(world, execution, ExecutionState.SUCCEEDED, result='{"duplicate_of": "another"}')
            return False
    world.note_working(execution)
    return True


def _publish(world: World, execution: Execution) -> bool:
    """As postprocess does it: only for the current attempt, only once."""
    job = world.job(execution.job_id)
    if job.attempt != execution.attempt or job.state in (State.FAILED, State.STOPPED):
        return False
    output: Any = execution.argument["output"]
    try:
        ref = ObjectRef(bucket=output["bucket"], name=f"{output['prefix']}/summary.json")
        world.objects.write(ref, b"{}", if_generation=0)
    except Conflict:
        return True
    world.note_published(execution)
    return True


def _end(world: World, execution: Execution, state: ExecutionState, result: str = "", error: str = "") -> None:
    execution.state, execution.ended_at = state, world.time
    execution.result, execution.error = result, error


def _good(world: World, execution: Execution) -> None:
    output: Any = execution.argument["output"]
    result = {"bucket": output["bucket"], "prefix": output["prefix"], "records": 3, "labels": {"positive": 3}}
    match execution.step:
        case 0:
            if not _claims(world, execution):
                return None
        case 1 | 2:
            _beat(world, execution, execution.step, "RUNNING", progress={"done": execution.step, "unit": "records"})
        case 3:
            if not _publish(world, execution):
                return _end(world, execution, ExecutionState.FAILED, error='{"code": "SUPERSEDED", "message": "old"}')
        case 4:
            _beat(world, execution, 1_000_000, "SUCCEEDED", result=result)
        case _:
            return _end(world, execution, ExecutionState.SUCCEEDED, result=json.dumps(result))
    execution.step += 1
    return None


def _fails_with(code: str, *, told: bool = True) -> Any:
    failure = {"code": code, "message": "it is wrong", "hint": "", "details": {}}

    def behave(world: World, execution: Execution) -> None:
        match execution.step:
            case 0:
                if not _claims(world, execution):
                    return None
            case 1:
                _beat(world, execution, 1, "RUNNING")
            case 2 if told:
                _beat(world, execution, 1_000_000, "FAILED", failure=failure)
            case _:
                return _end(world, execution, ExecutionState.FAILED, error=json.dumps(failure))
        execution.step += 1
        return None

    return behave


def _silent(world: World, execution: Execution) -> None:
    """It works, but none of its messages arrive."""
    before = list(world.inbox)
    sent = world.sent
    _good(world, execution)
    world.inbox, world.sent = before, sent


def _hangs(world: World, execution: Execution) -> None:
    if execution.step == 0 and _claims(world, execution):
        execution.step = 1


def _begins_late(world: World, execution: Execution) -> None:
    """It is accepted, and waits for a free slot for longer than the job does."""
    if world.time - execution.created_at > 4 * LIMITS.provision_timeout_s:
        _good(world, execution)


def _dies_first(world: World, execution: Execution) -> None:
    """It may not write its claim."""
    _end(world, execution, ExecutionState.FAILED, error='{"message": "403 Forbidden", "tags": ["HttpError"]}')


_BEHAVIOURS = {
    "good": _good,
    "user error": _fails_with("INVALID_INPUT"),
    "service error": _fails_with("UNAVAILABLE"),
    "dies untold": _fails_with("INVALID_INPUT", told=False),
    "silent": _silent,
    "hangs": _hangs,
    "begins late": _begins_late,
    "dies first": _dies_first,
}
BEHAVIOURS = tuple(_BEHAVIOURS)
