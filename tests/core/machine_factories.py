"""Jobs on machines, VMs and what is seen of them; every argument has a default."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tests.core.job_factories import NOW
from zeroidle.contracts.machines import Provisioning, Report, Vm, VmEntry, VmRef, Wanted, Worker
from zeroidle.contracts.messages import Heartbeat, Limits, MachineRun, Result
from zeroidle.contracts.records import Job, State
from zeroidle.contracts.services import ErrorBody
from zeroidle.core import events
from zeroidle.core import job as jobs
from zeroidle.core.claims import Claim
from zeroidle.core.machines import Observed, SeenVm, Use, VmState, VmView
from zeroidle.core.placement import Caps, Catalog, Cluster, Market

LIMITS = Limits(max_runtime_s=7200, provision_timeout_s=3600, max_errors=1, max_interruptions=1)
STANDARD, SPOT = Provisioning.STANDARD, Provisioning.SPOT


def a_cluster(name: str, max_per_region: int = 2, **usd: float) -> Cluster:
    """A cluster, with its price by region; half of it as spot."""
    prices = {region.replace("_", "-"): {STANDARD: price, SPOT: price / 2} for region, price in usd.items()}
    return Cluster(name, "machine", "gpu", int(name.partition("x")[0]), max_per_region, prices)


CATALOG = Catalog(
    {
        "1xl4": a_cluster("1xl4", us_central1=1.0, us_east1=1.1, europe_west4=1.2),
        "1xa100-40gb": a_cluster("1xa100-40gb", us_central1=3.0, asia_east1=4.0),
    },
    Caps(max_vms=4, max_usd_per_hour=20.0),
)


def wanted(*accelerators: str, **fields: Any) -> Wanted:
    return Wanted(accelerators=list(accelerators or ("1xl4",)), **fields)


def a_ref(name: str = "job-1-a1", region: str = "us-central1", how: Provisioning = STANDARD) -> VmRef:
    return VmRef(name=name, cluster="1xl4", region=region, provisioning=how)


def a_vm(ref: VmRef | None = None, attempt: int = 1, asked_at: float = NOW, given_up: bool = False) -> Vm:
    return Vm(ref=ref or a_ref(), attempt=attempt, usd_per_hour=1.0, asked_at=asked_at, given_up=given_up)


def a_worker(ref: VmRef | None = None) -> Worker:
    return Worker(vm=ref or a_ref(), zone="us-central1-a", usd_per_hour=1.0, boot_id="boot-1")


def an_entry(
    ref: VmRef | None = None, idle_until: float | None = None, usd_per_hour: float = 1.0, job_id: str = "job-0"
) -> VmEntry:
    ref = ref or a_ref("other")
    report = None if idle_until is None else Report(worker=a_worker(ref), idle_until=idle_until)
    return VmEntry(ref=ref, job_id=job_id, attempt=1, usd_per_hour=usd_per_hour, report=report)


def a_machine_job(state: State = State.RUNNING, *vms: Vm, how: Provisioning = STANDARD, **fields: Any) -> Job:
    """A job in `state`, as it gets there, with a VM that was asked for at NOW unless others are given."""
    asked = vms or (a_vm(),)
    run = MachineRun(wanted=wanted(provisioning=how), command=["train"])
    job = jobs.begin(events.Submitted("job-1", "me", run, LIMITS, {}, {}, NOW))
    if state is not State.QUEUED:
        job = jobs.advance(job, events.VmsAsked(1, asked, NOW), NOW)
    if state not in (State.QUEUED, State.PROVISIONING):
        job = jobs.advance(job, events.WorkerClaimed(1, a_worker(), NOW + 60), NOW + 60)
    if state in (State.STOPPING, State.STOPPED):
        job = jobs.advance(job, events.StopRequested("job-1", "me", "", NOW + 70), NOW + 70)
    last = {State.SUCCEEDED: "SUCCEEDED", State.FAILED: "FAILED", State.STOPPED: "STOPPED"}.get(state)
    if last == "FAILED":
        job = jobs.advance(job, events.DeadlinePassed(), NOW + 60 + LIMITS.max_runtime_s)
        job = jobs.advance(job, events.DeadlinePassed(), job.deadline_at or 0.0)
    elif last is not None:
        job = jobs.advance(job, events.Beat(a_machine_beat(2, last)), NOW + 80)
    assert job.state is state, job
    return replace(job, **fields)


def a_machine_beat(seq: int = 1, status: str = "RUNNING", **fields: Any) -> Heartbeat:
    """A beat of attempt 1 of job-1."""

    ends: dict[str, Any] = {
        "SUCCEEDED": {"result": Result(bucket="output", prefix="jobs/job-1/a1", files=1), "exit_code": 0},
        "FAILED": {"failure": ErrorBody(code="EXIT_CODE", message="the container exited with 3"), "exit_code": 3},
    }
    values: dict[str, Any] = {
        "schema": 1,
        "job_id": "job-1",
        "user_id": "me",
        "attempt": 1,
        "seq": seq,
        "sent_at": NOW + 60 + seq,
        "status": status,
        "worker": a_worker(),
        **ends.get(status, {}),
    }
    return Heartbeat(**{**values, **fields})


def seen(vm: Vm | None = None, state: VmState = VmState.RUNNING, use: Use = Use.NOTHING, code: str = "") -> SeenVm:
    return SeenVm(vm or a_vm(), VmView(state, code), use)


def a_sight(*vms: SeenVm, **fields: Any) -> Observed:
    """What is seen; with `worker=STATE` its VM is in that state, and it holds the claim."""
    worker = fields.pop("worker", None)
    if worker is not None:
        fields = {"claim": Claim(worker=a_worker()), "worker": VmView(worker), **fields}
    return Observed(vms=vms, market=fields.pop("market", Market()), **fields)
