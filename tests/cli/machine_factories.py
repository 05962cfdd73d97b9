"""Jobs on machines as they come about, for tests of what the command line says of them."""

from __future__ import annotations

from typing import Any

from tests.core.job_factories import LIMITS, NOW, submitted
from zeroidle.contracts.machines import Provisioning, Vm, VmRef, Wanted, Worker
from zeroidle.contracts.messages import Heartbeat, MachineRun, Progress, Result
from zeroidle.contracts.records import Job
from zeroidle.contracts.services import ErrorBody
from zeroidle.core import events
from zeroidle.core import job as jobs
from zeroidle.core.placement import Caps, Catalog, Cluster

SPOT = Provisioning.SPOT
STOCKOUT = "ZONE_RESOURCE_POOL_EXHAUSTED"
RUN = MachineRun(wanted=Wanted(accelerators=["1xl4"], provisioning=SPOT), command=["python", "train.py"])
CATALOG = Catalog(
    {
        "1xl4": Cluster(
            "1xl4", "g2-standard-12", "nvidia-l4", 1, 16, {r: {SPOT: 0.4} for r in ("us-central1", "us-west1")}
        )
    },
    Caps(64, 200.0),
)


def a_vm(region: str = "us-west1", attempt: int = 1, at: float = NOW) -> Vm:
    ref = VmRef(name=f"train-a{attempt}", cluster="1xl4", region=region, provisioning=SPOT)
    return Vm(ref=ref, attempt=attempt, usd_per_hour=0.4, asked_at=at)


def a_worker(vm: Vm) -> Worker:
    return Worker(vm=vm.ref, zone=f"{vm.ref.region}-b", usd_per_hour=vm.usd_per_hour, boot_id="boot")


def queued(**fields: Any) -> Job:
    """A job that was accepted."""
    return jobs.begin(submitted(**{"job_id": "train", "run": RUN, "limits": LIMITS, "usd_per_second": {}, **fields}))


def asked(job: Job, vm: Vm) -> Job:
    return jobs.advance(job, events.VmsAsked(job.attempt, (vm,), vm.asked_at), vm.asked_at)


def refused(job: Job, vm: Vm, at: float, code: str = STOCKOUT) -> Job:
    return jobs.advance(job, events.VmRefused(job.attempt, vm.ref, code, "no capacity", at, at + 120), at)


def claimed(job: Job, vm: Vm, at: float) -> Job:
    return jobs.advance(job, events.WorkerClaimed(job.attempt, a_worker(vm), at), at)


def preempted(job: Job, at: float) -> Job:
    return jobs.advance(job, events.Beat(beat(job, at, "PREEMPTED")), at)


def beat(job: Job, at: float, status: str = "RUNNING", **fields: Any) -> Heartbeat:
    values: dict[str, Any] = {"schema": 1, "job_id": job.job_id, "user_id": job.user_id, "attempt": job.attempt}
    values |= {"seq": int(at - NOW), "sent_at": at, "status": status, "worker": job.machines.worker}
    return Heartbeat(**{**values, **fields})


def progressing(job: Job, done: int, at: float) -> Job:
    progress = Progress(done=done, total=10, unit="epochs")
    return jobs.advance(job, events.Beat(beat(job, at, progress=progress)), at)


def succeeded(job: Job, at: float) -> Job:
    result = Result(bucket="output", prefix=f"jobs/{job.job_id}/a{job.attempt}", files=2)
    return jobs.advance(job, events.Beat(beat(job, at, "SUCCEEDED", exit_code=0, result=result)), at)


def failed(job: Job, at: float, code: int = 3) -> Job:
    failure = ErrorBody(code="EXIT_CODE", message=f"the container exited with {code}", hint="Its logs tell why.")
    return jobs.advance(job, events.Beat(beat(job, at, "FAILED", exit_code=code, failure=failure)), at)


def running(**fields: Any) -> Job:
    """Asked for at once, claimed after 10 s."""
    vm = a_vm()
    return claimed(asked(queued(**fields), vm), vm, NOW + 10)


def second_attempt() -> Job:
    """Refused in one region, preempted after 90 s in another, running again."""
    first, other, again = a_vm("us-central1"), a_vm(at=NOW + 5), a_vm(attempt=2, at=NOW + 110)
    job = refused(asked(queued(), first), first, NOW + 5)
    job = preempted(claimed(asked(job, other), other, NOW + 10), NOW + 100)
    return claimed(asked(job, again), again, NOW + 120)
