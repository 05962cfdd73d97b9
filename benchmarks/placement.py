"""How soon does a job run, at what waste, by how a region is chosen? `python -m benchmarks.placement [--json]`

Every policy meets the same capacity, made from the seed before: the 18 regions of an L4 in bundle.yaml, each open or
closed in every minute of two days.

    stationary  each minute is open with the region's own chance, drawn from 5 % to 95 %
    bursty      open and closed spells by turns, exponential with means of 120 and 60 minutes (closed 180 in every
                third region)
    diurnal     closed while it is 9 to 17 o'clock there, with edges of up to two hours, otherwise open to 85 %

A VM that is asked for in an open minute runs its agent 40 s later; in a closed one it never comes. 200 jobs of 100 s
each come at random moments. Policies:

    broadcast   asks every region at once; those that come too late are deleted
    sequential  asks the cheapest, learns of a refusal after 15 s, blocks that region for itself and asks the next one;
                when all are blocked it begins anew after a minute: SkyPilot's failover, whose blocklist lives as long
                as a request
    ours        the real handlers and agents with a tick a minute, with one VM at a time or two (`hedge`)

Waste is VM time besides the job's own: boot, the end, VMs that got no job.
"""

from __future__ import annotations

import argparse
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from benchmarks.tables import Figures, percentile
from tests.simulation.sim_cloud import Faults
from tests.simulation.sim_fleet import BOOT_S, DELETION_S, Machine, SimFleet
from tests.simulation.sim_world import START, World
from zeroidle.contracts.machines import Provisioning, VmRef
from zeroidle.core.placement import Caps, Catalog
from zeroidle.wiring import catalog
from zeroidle_cli import project

CLUSTER, HOW = "1xl4", Provisioning.STANDARD
MINUTES = 48 * 60
JOBS, WORK_S = 200, 100.0
REFUSED_AFTER_S, RETRY_S = 15.0, 60.0
STOCKOUT = "ZONE_RESOURCE_POOL_EXHAUSTED"
# Hours ahead of UTC, by the first words of a region's name.
_ZONES = {
    "asia-south1": 5,
    "asia": 8,
    "europe": 1,
    "me": 3,
    "northamerica": -5,
    "us-east": -5,
    "us-central": -6,
    "us": -8,
}

Capacity = Mapping[str, list[bool]]  # region -> whether it is open, by minute


def stationary(regions: list[str], chance: random.Random) -> Capacity:
    """Open at random, each region with its own probability."""
    share = {region: chance.uniform(0.05, 0.95) for region in regions}
    return {region: [chance.random() < share[region] for _ in range(MINUTES)] for region in regions}


def bursty(regions: list[str], chance: random.Random) -> Capacity:
    """Spells."""
    capacity = {}
    for number, region in enumerate(regions):
        minutes: list[bool] = []
        is_open = chance.random() < 0.6
        while len(minutes) < MINUTES:
            mean = 120 if is_open else 180 if number % 3 == 0 else 60
            minutes += [is_open] * (1 + int(chance.expovariate(1 / mean)))
            is_open = not is_open
        capacity[region] = minutes[:MINUTES]
    return capacity


def diurnal(regions: list[str], chance: random.Random) -> Capacity:
    """Closed in the working hours of the region."""
    capacity = {}
    for region in regions:
        ahead = next(hours for name, hours in _ZONES.items() if region.startswith(name))
        begins, ends = 9 + chance.uniform(-2, 2), 17 + chance.uniform(-2, 2)
        local = [(minute / 60 + ahead) % 24 for minute in range(MINUTES)]
        capacity[region] = [not begins <= hour < ends and chance.random() < 0.85 for hour in local]
    return capacity


@dataclass
class Outcome:
    """What a policy came to."""

    waits: list[float]
    vm_seconds: float = 0.0
    usd: float = 0.0

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


def broadcast(arrivals: list[float], capacity: Capacity, prices: Mapping[str, float]) -> Outcome:
    """Every region at once."""
    outcome = Outcome([])
    for arrival in arrivals:
        at, came = arrival, _open_at(capacity, arrival)
        while not came:
            at += RETRY_S
            came = _open_at(capacity, at)
        outcome.waits.append(at + BOOT_S - arrival)
        winner = min(came, key=lambda region: prices[region])
        for region in came:
            lived = BOOT_S + DELETION_S + (WORK_S if region == winner else 0.0)
            outcome.vm_seconds += lived
            outcome.usd += lived / 3600 * prices[region]
    return outcome


def sequential(arrivals: list[float], capacity: Capacity, prices: Mapping[str, float]) -> Outcome:
    """One region after another, the cheapest first."""
    outcome, by_price = Outcome([]), sorted(prices, key=lambda region: (prices[region], region))
    for arrival in arrivals:
        at, asked = arrival, 0
        while not _is_open(capacity, region := by_price[asked % len(by_price)], at):
            asked += 1
            at += REFUSED_AFTER_S + (RETRY_S if asked % len(by_price) == 0 else 0.0)
        lived = BOOT_S + WORK_S + DELETION_S
        outcome.waits.append(at + BOOT_S - arrival)
        outcome.vm_seconds += lived
        outcome.usd += lived / 3600 * prices[region]
    return outcome


def ours(hedge: int) -> Callable[[list[float], Capacity, Mapping[str, float]], Outcome]:
    """The real decisions, asking for so many VMs at once."""

    def play(arrivals: list[float], capacity: Capacity, prices: Mapping[str, float]) -> Outcome:
        world = _Played(capacity)
        for number, arrival in enumerate(arrivals):
            world.until(START + arrival)
            world.start_machine(f"j-{number}", hedge=hedge)
            world.hand_over()
        world.until(START + arrivals[-1] + 6 * 3600)
        waits = []
        for job in world.jobs():
            story = [line.at for line in job.machines.story if line.code == "CLAIMED"]
            waits += [story[0] - job.created_at] if story else []
        return Outcome(waits, world.metered.seconds, world.metered.usd)

    return play


class _Metered(SimFleet):
    """VMs that come only where there is capacity, and whose time is counted."""

    capacity: Capacity
    prices: Mapping[str, float]
    seconds = 0.0
    usd = 0.0

    def pass_time(self, boot: Callable[[Machine], None]) -> None:
        before = list(self.machines)
        super().pass_time(boot)
        for machine in before:
            if machine not in self.machines and not machine.refused:
                self.seconds += self.now() - machine.created
                self.usd += (self.now() - machine.created) / 3600 * self.prices[machine.ref.region]

    def create(self, ref: VmRef) -> None:
        closed = not _is_open(self.capacity, ref.region, self.now() - START)
        self.stockouts = {(ref.cluster, ref.region): STOCKOUT} if closed else {}
        super().create(ref)


class _Played(World):
    """The handlers and agents on the bundle's regions; without the simulation's checks, which know other clusters."""

    def __init__(self, capacity: Capacity) -> None:
        super().__init__()
        offered = catalog(project.find().bundle)
        wide = Catalog({CLUSTER: replace(offered.clusters[CLUSTER], max_per_region=100)}, Caps(1000, 10000.0))
        self.metered = _Metered(self.now, Faults(), lambda _: None)
        self.metered.capacity, self.metered.prices = capacity, _prices(wide)
        self.fleet = self.metered
        self.objects.after = lambda _: None
        deployed = replace(self.context.deployment, catalog=wide)
        self.context = replace(self.context, fleet=self.metered, deployment=deployed)
        self._ticked = self.time

    def until(self, moment: float) -> None:
        """Let time pass, with a tick each minute; quickly while nothing is on its way."""
        while self.time < moment:
            if not (self.fleet.machines or self.inbox or self.markers()):
                self.time = self._ticked = moment
                return
            self.pass_time(min(5.0, moment - self.time))
            self.hand_over()
            if self.time - self._ticked >= 60.0:
                self._ticked = self.time
                self.tick()

    def hand_over(self) -> None:
        for message in list(self.inbox):
            self.deliver(message)


def _prices(offered: Catalog) -> dict[str, float]:
    return {region: usd[HOW] for region, usd in offered.clusters[CLUSTER].usd_per_hour.items() if HOW in usd}


def _is_open(capacity: Capacity, region: str, at: float) -> bool:
    return capacity[region][int(at // 60) % MINUTES]


def _open_at(capacity: Capacity, at: float) -> list[str]:
    return [region for region in capacity if _is_open(capacity, region, at)]


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable()
    prices = _prices(catalog(project.find().bundle))
    figures = Figures("Time to RUNNING on the same capacity, by the way of choosing a region")
    policies = {"broadcast": broadcast, "sequential": sequential, "ours": ours(1), "ours, hedge 2": ours(2)}
    for make in (stationary, bursty, diurnal):
        chance = random.Random(arguments.seed)
        capacity = make(sorted(prices), chance)
        arrivals = sorted(chance.uniform(0, (MINUTES - 600) * 60) for _ in range(arguments.jobs))
        for name, policy in policies.items():
            figures.rows.append(policy(arrivals, capacity, prices).row(make.__name__, name))
    figures.print(as_json=arguments.json)


if __name__ == "__main__":
    main()
