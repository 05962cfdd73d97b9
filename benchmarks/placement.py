"""How soon does a job run, at what waste, by how a region is chosen? `python -m benchmarks.placement [--json]`

Every policy meets the same seeded capacity (`benchmarks.capacity`: the 18 regions of an L4 in bundle.yaml, with its
quota in each) and the same jobs, of 100 s each, at random moments of 38 hours: half of them come alone, the others as
sweeps of 2 to 16, a second apart. There are several such days, each from a seed of its own. Policies:

    broadcast   asks every region at once, keeps the first VM that comes up and deletes the others; asks those that
                refused again every 30 s, as an instance group does
    sequential  asks the cheapest, goes on to the next one when it is told of a refusal, and does not come back to a
                region before it has been everywhere; then it begins anew after 30 s. So SkyPilot fails over: its
                blocklist lives as long as a request, and 30 s is its pause with --retry-until-up
    ours        the real handlers and agents, with a tick a minute and the bundle's caps on all VMs, asking for one VM
                at a time or two (`hedge`)

Waste is VM time besides the jobs' own: boot, deletion, VMs that got no job.
"""

from __future__ import annotations

import argparse
import heapq
import logging
import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from benchmarks.capacity import DELETION_S, MINUTES, Regions, Shape, bursty, diurnal, model, stationary
from benchmarks.tables import Figures, percentile
from tests.simulation.sim_cloud import Faults
from tests.simulation.sim_fleet import Machine, SimFleet
from tests.simulation.sim_world import START, World
from zeroidle.contracts.machines import Provisioning, VmRef
from zeroidle.core.machines import VmState, VmView
from zeroidle.core.placement import Catalog
from zeroidle.wiring import catalog
from zeroidle_cli import project

CLUSTER, HOW = "1xl4", Provisioning.STANDARD
JOBS, WORK_S = 400, 100.0
SEEDS = 3
LARGEST_SWEEP = 16
RETRY_S = 30.0
STEP_S, TICK_S = 1.0, 60.0
STOCKOUT = "ZONE_RESOURCE_POOL_EXHAUSTED"

Prices = Mapping[str, float]  # USD an hour by region
Process = Generator[float, None, None]  # what a job does; yields how long it waits


@dataclass
class Outcome:
    """What a policy came to."""

    waits: list[float] = field(default_factory=list)
    vm_seconds: float = 0.0
    usd: float = 0.0

    def add_vm(self, seconds: float, usd_per_hour: float) -> None:
        """A VM was there for so long."""
        self.vm_seconds += seconds
        self.usd += seconds / 3600 * usd_per_hour

    def add(self, other: Outcome) -> None:
        """What came of other jobs."""
        self.waits += other.waits
        self.vm_seconds += other.vm_seconds
        self.usd += other.usd

    def row(self, capacity: str, policy: str) -> dict[str, Any]:
        done = len(self.waits)
        return {
            "capacity": capacity,
            "policy": policy,
            "jobs run": done,
            "to RUNNING p50 s": percentile(self.waits, 0.5),
            "p99 s": percentile(self.waits, 0.99),
            "wasted VM-s per job": self.vm_seconds / done - WORK_S,
            "USD per 1,000 jobs": self.usd / done * 1000,
        }


def arrivals(jobs: int, seed: int) -> list[float]:
    """When jobs come, in seconds from the beginning."""
    chance, moments = random.Random(f"arrivals {seed}"), list[float]()
    while len(moments) < jobs:
        begins = chance.uniform(0, (MINUTES - 600) * 60)
        sweep = 1 if len(moments) < jobs / 2 else chance.randint(2, LARGEST_SWEEP)
        moments += [begins + number for number in range(min(sweep, jobs - len(moments)))]
    return sorted(moments)


def broadcast(moments: Sequence[float], regions: Regions, prices: Prices) -> Outcome:
    """Every region at once."""
    return _played(moments, lambda job, clock, outcome: _broadcast(job, regions, prices, clock, outcome))


def sequential(moments: Sequence[float], regions: Regions, prices: Prices) -> Outcome:
    """One region after another, the cheapest first."""
    return _played(moments, lambda job, clock, outcome: _sequential(job, regions, prices, clock, outcome))


class _Clock:
    at = 0.0


def _played(moments: Sequence[float], process: Callable[[int, _Clock, Outcome], Process]) -> Outcome:
    """Let each job do what it does when it is due."""
    clock, outcome = _Clock(), Outcome()
    due = [(at, job, process(job, clock, outcome)) for job, at in enumerate(moments)]
    heapq.heapify(due)
    while due:
        clock.at, job, running = heapq.heappop(due)
        pause_s = next(running, None)
        if pause_s is not None:
            heapq.heappush(due, (clock.at + pause_s, job, running))
    return outcome


def _sequential(job: int, regions: Regions, prices: Prices, clock: _Clock, outcome: Outcome) -> Process:
    came, by_price, asked = clock.at, sorted(prices, key=lambda region: (prices[region], region)), 0
    while not regions.take(region := by_price[asked % len(by_price)], clock.at):
        yield regions.refused_after_s(job, region, asked // len(by_price))
        asked += 1
        if asked % len(by_price) == 0:
            yield RETRY_S
    began = clock.at
    yield regions.boot_s(job, region, asked // len(by_price))
    outcome.waits.append(clock.at - came)
    yield WORK_S + DELETION_S
    regions.give_back(region)
    outcome.add_vm(clock.at - began, prices[region])


def _broadcast(job: int, regions: Regions, prices: Prices, clock: _Clock, outcome: Outcome) -> Process:
    came, rounds, has = clock.at, 0, dict[str, tuple[float, float]]()  # region -> when it was granted, when it is up
    while not has or min(up for _, up in has.values()) > clock.at:
        for region in prices:
            if region not in has and regions.take(region, clock.at):
                has[region] = clock.at, clock.at + regions.boot_s(job, region, rounds)
        rounds += 1
        up_in = min((up for _, up in has.values()), default=float("inf")) - clock.at
        yield min(up_in, RETRY_S)
    outcome.waits.append(clock.at - came)
    winner = min(has, key=lambda region: has[region][1])
    yield DELETION_S
    for region, (granted, _) in has.items():
        if region != winner:
            regions.give_back(region)
            outcome.add_vm(clock.at - granted, prices[region])
    yield WORK_S
    regions.give_back(winner)
    outcome.add_vm(clock.at - has[winner][0], prices[winner])


def ours(hedge: int) -> Callable[[Sequence[float], Regions, Prices], Outcome]:
    """The real decisions, asking for so many VMs at once."""

    def play(moments: Sequence[float], regions: Regions, prices: Prices) -> Outcome:
        world = _World(regions, prices)
        for number, at in enumerate(moments):
            world.until(START + at)
            world.start_machine(f"j-{number}", hedge=hedge)
            world.hand_over()
        world.until(START + moments[-1] + 6 * 3600)
        for job in world.jobs():
            claimed = [line.at for line in job.machines.story if line.code == "CLAIMED"]
            world.outcome.waits += [claimed[0] - job.created_at] if claimed else []
        return world.outcome

    return play


class _Fleet(SimFleet):
    """VMs that come only where there is capacity, when the model says so, and whose time is counted."""

    regions: Regions
    prices: Prices
    outcome: Outcome

    def create(self, ref: VmRef) -> None:
        if self.find(ref) is None:
            granted = self.regions.take(ref.region, self.now() - START)
            self.stockouts = {} if granted else {(ref.cluster, ref.region): STOCKOUT}
        super().create(ref)
        made = self.find(ref)
        assert made is not None
        made.boot_s = self.regions.boot_s(_number(ref), ref.region)

    def view(self, ref: VmRef) -> VmView:
        found, shown = self.find(ref), super().view(ref)
        if found is None or not shown.code:
            return shown
        told = self.now() - found.created >= self.regions.refused_after_s(_number(ref), ref.region)
        return shown if told else VmView(VmState.CREATING)

    def pass_time(self, boot: Callable[[Machine], None]) -> None:
        before = list(self.machines)
        super().pass_time(boot)
        for machine in before:
            if machine not in self.machines and not machine.refused:
                self.regions.give_back(machine.ref.region)
                self.outcome.add_vm(self.now() - machine.created, self.prices[machine.ref.region])


class _World(World):
    """The handlers and agents on the bundle's regions; without the simulation's checks, which know other clusters."""

    def __init__(self, regions: Regions, prices: Prices) -> None:
        super().__init__()
        offered = catalog(project.find().bundle)
        only = Catalog({CLUSTER: offered.clusters[CLUSTER]}, offered.caps)
        self.outcome = Outcome()
        fleet = self.fleet = _Fleet(self.now, Faults(), lambda _: None)
        fleet.regions, fleet.prices, fleet.outcome = regions, prices, self.outcome
        self.objects.after = lambda _: None
        # Nobody gives up, as in the other policies.
        patient = replace(self.context.deployment.machine_limits, provision_timeout_s=86400)
        deployed = replace(self.context.deployment, catalog=only, machine_limits=patient)
        self.context = replace(self.context, fleet=fleet, deployment=deployed)

    def until(self, moment: float) -> None:
        """Let time pass, with a tick each minute; quickly while nothing is on its way."""
        while self.time < moment:
            if not (self.fleet.machines or self.inbox or self.markers()):
                self.time = moment
                return
            before = self.time
            self.pass_time(min(STEP_S, moment - self.time))
            self.hand_over()
            if self.time // TICK_S != before // TICK_S:
                self.tick()

    def hand_over(self) -> None:
        for message in list(self.inbox):
            self.deliver(message)


def _number(ref: VmRef) -> int:
    return int(ref.name.split("-")[1])


def _prices(offered: Catalog) -> dict[str, float]:
    return {region: usd[HOW] for region, usd in offered.clusters[CLUSTER].usd_per_hour.items() if HOW in usd}


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="days, each from a seed of its own")
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable()
    offered = catalog(project.find().bundle)
    prices, quota = _prices(offered), offered.clusters[CLUSTER].max_per_region
    figures = Figures("Time to RUNNING on the same capacity, by the way of choosing a region")
    policies = {"broadcast": broadcast, "sequential": sequential, "ours": ours(1), "ours, hedge 2": ours(2)}
    shapes: list[Shape] = [stationary, bursty, diurnal]
    for shape in shapes:
        for name, policy in policies.items():
            total = Outcome()
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
                regions = model(list(prices), shape, quota, seed)
                total.add(policy(arrivals(arguments.jobs, seed), regions, prices))
            figures.rows.append(total.row(shape.__name__, name))
    figures.print(as_json=arguments.json)


if __name__ == "__main__":
    main()
