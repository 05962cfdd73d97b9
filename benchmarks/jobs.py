"""What do starts, heartbeats and ticks cost when there are many jobs on machines? `python -m benchmarks.jobs [--json]`

The real handlers on in-memory ports that count calls. Of the active jobs 50 run on VMs and 10 more are started; the
others wait for the bundle's caps (64 VMs in all). The history are finished jobs, which have a record and no marker. A
call is a request to Cloud Storage (a list: one for each 1,000 objects), Compute Engine or Pub/Sub. CPU time is that of
the handlers and of their share of the in-memory ports, without any client library.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from benchmarks.tables import Figures
from tests.simulation.sim_cloud import Faults, MemoryObjects, SimExecutions
from tests.simulation.sim_fleet import SimFleet, SimPublisher
from zeroidle import bundle
from zeroidle.contracts.events import PubSubMessage
from zeroidle.contracts.machines import Worker
from zeroidle.contracts.records import Job, State
from zeroidle.core.machines import VmState
from zeroidle.core.placement import Caps
from zeroidle.gcp.jobstore import BucketJobStore
from zeroidle.gcp.vmstore import BucketVmStore
from zeroidle.handlers.context import Context
from zeroidle.handlers.on_job_heartbeat import on_job_heartbeat
from zeroidle.handlers.on_job_start import on_job_start
from zeroidle.handlers.on_tick import SHARD, on_tick
from zeroidle.settings import Settings
from zeroidle.wiring import deployment
from zeroidle_cli import project

SIZES = (10, 100, 1_000, 10_000)
HISTORY = 100_000
LIVE = 50
STARTS, BEATS = 10, 200
PAGE = 1_000
NOW = 1_800_000_000.0


class Counted:
    """A port that counts the calls made through it."""

    def __init__(self, port: Any, calls: Counter[str]) -> None:
        self._port, self._calls = port, calls

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._calls[name] += 1
            found = getattr(self._port, name)(*arguments, **named)
            if name == "list":
                found = list(found)
                self._calls[name] += max(0, len(found) - 1) // PAGE
            return found

        return call


class Project:
    """A project with so many active jobs, as the handlers see it."""

    def __init__(self, deployed: bundle.Bundle, active: int, history: int) -> None:
        self.calls: Counter[str] = Counter()
        faults = Faults()
        self.publisher = SimPublisher(faults)
        self.fleet = SimFleet(self.now, faults, lambda _: None)
        objects: Any = Counted(MemoryObjects(self.now, faults), self.calls)
        self.bundle = deployed
        self.context = Context(
            BucketJobStore(objects, "jobs"),
            SimExecutions(self.now, faults, lambda _: None),
            BucketVmStore(objects, "jobs"),
            Counted(self.fleet, self.calls),  # type: ignore[arg-type]  # every method, by name
            Counted(self.publisher, self.calls),  # type: ignore[arg-type]  # likewise
            objects,
            self,
            deployment(deployed, Settings.from_env({"GOOGLE_CLOUD_PROJECT": "p", "ZEROIDLE_REGION": "us-central1"})),
        )
        self._fill(active, history)

    def now(self) -> float:
        return NOW

    def sleep(self, seconds: float) -> None:
        """Time stands still here."""

    def start(self, name: str) -> None:
        run = {"kind": "machine", "command": ["train"], "wanted": {"accelerators": ["1xl4"]}}
        on_job_start(self.context, _message({"schema": 1, "job_id": name, "user_id": "me", "run": run}))

    def beat(self, name: str, seq: int) -> None:
        said = {"attempt": 1, "seq": seq, "sent_at": NOW, "status": "RUNNING"}
        on_job_heartbeat(self.context, _message({"schema": 1, "job_id": name, "user_id": "me", **said}))

    def tick(self) -> None:
        """As Cloud Scheduler's message, and each shard's that follows from it."""
        self.publisher.shards.clear()
        on_tick(self.context, _message({}))
        for shard in self.publisher.shards:
            on_tick(self.context, PubSubMessage(b"{}", {SHARD: shard}, "1", NOW))

    def _fill(self, active: int, history: int) -> None:
        live = min(active, LIVE)
        catalog = self.context.deployment.catalog
        caps = Caps(live, catalog.caps.max_usd_per_hour)
        full = replace(self.context, deployment=replace(self.context.deployment, catalog=replace(catalog, caps=caps)))
        real, self.context = self.context, full
        for number in range(active):
            self.start(f"job-{number}")
        for machine in self.fleet.machines:
            machine.state = VmState.RUNNING
            worker = Worker(vm=machine.ref, zone=f"{machine.ref.region}-a", boot_id=machine.boot_id)
            job_id = machine.ref.name.removesuffix("-a1")
            self.context.jobs.take(job_id, 1, worker)
            self.beat(job_id, 1)
        self.tick()  # takes the claims into the records
        self.context = real
        template = Job(
            job_id="done",
            user_id="me",
            run=None,
            limits=None,
            state=State.STOPPED,
            created_at=NOW,
            deadline_at=None,
            attempt=0,
        )
        for number in range(history):
            self.context.jobs.create(replace(template, job_id=f"done-{number}"))


def measure(deployed: bundle.Bundle, active: int, history: int = 0) -> dict[str, Any]:
    """Calls and CPU milliseconds of each handler."""
    world = Project(deployed, active, history)
    row: dict[str, Any] = {"active jobs": f"{active:,}" + (f" and {history:,} finished" if history else "")}
    beats = [f"job-{number % min(active, LIVE)}" for number in range(BEATS)]
    row |= _figures(
        "beat", world, [lambda name=name, seq=seq: world.beat(name, seq + 2) for seq, name in enumerate(beats)]
    )
    row |= _figures("start", world, [lambda n=number: world.start(f"new-{n}") for number in range(STARTS)])
    world.tick()  # the last free places go to jobs that waited
    row |= _figures("tick", world, [world.tick])
    row["tick calls/job"] = round(row["tick calls"] / (active + STARTS), 2)
    return row


def _figures(name: str, world: Project, acts: list[Callable[[], None]]) -> dict[str, float]:
    world.calls.clear()
    began = time.process_time()
    for act in acts:
        act()
    spent = (time.process_time() - began) * 1000
    return {f"{name} calls": round(world.calls.total() / len(acts), 2), f"{name} CPU ms": round(spent / len(acts), 3)}


def _message(payload: dict[str, Any]) -> PubSubMessage:
    return PubSubMessage(json.dumps(payload).encode(), {}, "1", NOW)


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--history", type=int, default=HISTORY)
    arguments = parser.parse_args()
    logging.disable()
    deployed = project.find().bundle
    figures = Figures("Jobs on machines: calls to the cloud and CPU of each handler")
    figures.rows = [measure(deployed, size) for size in arguments.sizes]
    figures.rows.append(measure(deployed, arguments.sizes[-1], arguments.history))
    figures.notes = [
        f"A start reads all entries of VMs, in one list: at most max_vms ({deployed.machines.limits.max_vms}) of them.",
    ]
    figures.print(as_json=arguments.json)


if __name__ == "__main__":
    main()
