"""How many machines are free in each region? A seeded model in which whoever takes one leaves one less to others.

`free` is what other customers leave in a region, minute by minute. It comes and goes one machine at a time: each free
one is taken after 30 minutes on average, and so many become free that the mean stays what the region and the hour give.
The regions' own means are drawn, evenly by their logarithm, from 0.25 to 8 machines, so that a region is without any
for about a third of the time.

    stationary  the region's own mean, always
    bursty      by turns nothing and the region's mean, in spells with means of 60 and 120 minutes (nothing: 180 in
                every third region)
    diurnal     a tenth of the region's mean from 9 to 17 o'clock there, with edges of up to two hours

A request is granted while fewer of ours are held than are free, and than the region's quota allows. A machine is held
from the request on until its VM is deleted. What is drawn for a request, how long its VM boots or when its refusal is
told, depends on job, region and number of the request only, so it is the same for every policy that makes it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log

MINUTES = 48 * 60
MEAN_LOW, MEAN_HIGH = 0.25, 8.0
TURNOVER_MINUTES = 30.0
# Of a VM from the request to its agent's first word: lognormal. Its deletion, with the machine still held.
BOOT_MEDIAN_S, BOOT_SIGMA = 40.0, 0.25
DELETION_S = 30.0
# When a refusal is told, at the earliest and at the latest.
REFUSED_S = (5.0, 25.0)
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

Shape = Callable[[str, int, random.Random], Sequence[float]]  # region and its number -> factor of its mean, by minute


def stationary(region: str, number: int, chance: random.Random) -> list[float]:
    """Always the same."""
    return [1.0] * MINUTES


def bursty(region: str, number: int, chance: random.Random) -> list[float]:
    """Spells."""
    factors: list[float] = []
    has_some = chance.random() < 0.6
    while len(factors) < MINUTES:
        mean = 120 if has_some else 180 if number % 3 == 0 else 60
        factors += [float(has_some)] * (1 + int(chance.expovariate(1 / mean)))
        has_some = not has_some
    return factors[:MINUTES]


def diurnal(region: str, number: int, chance: random.Random) -> list[float]:
    """Little in the working hours of the region."""
    ahead = next(hours for name, hours in _ZONES.items() if region.startswith(name))
    begins, ends = 9 + chance.uniform(-2, 2), 17 + chance.uniform(-2, 2)
    local = [(minute / 60 + ahead) % 24 for minute in range(MINUTES)]
    return [0.1 if begins <= hour < ends else 1.0 for hour in local]


@dataclass
class Regions:
    """Who may have a machine where. `quota` is ours in each region."""

    free: Mapping[str, Sequence[int]]
    quota: int
    seed: int
    held: Counter[str] = field(default_factory=Counter)

    def take(self, region: str, at: float) -> bool:
        """Ask for a machine at `at`, in seconds from the beginning; whether there is one."""
        free = self.free[region][int(at // 60) % MINUTES]
        if self.held[region] >= min(free, self.quota):
            return False
        self.held[region] += 1
        return True

    def give_back(self, region: str) -> None:
        """Its VM is deleted."""
        self.held[region] -= 1

    def boot_s(self, job: int, region: str, request: int = 0) -> float:
        """How long the VM of this request takes to work."""
        return self._chance("boot", job, region, request).lognormvariate(log(BOOT_MEDIAN_S), BOOT_SIGMA)

    def refused_after_s(self, job: int, region: str, request: int = 0) -> float:
        """When the refusal of this request is told."""
        return self._chance("refusal", job, region, request).uniform(*REFUSED_S)

    def _chance(self, *of: object) -> random.Random:
        return random.Random(repr((self.seed, *of)))


def model(regions: Sequence[str], shape: Shape, quota: int, seed: int) -> Regions:
    """The same for the same arguments, with nothing held."""
    chance = random.Random(seed)
    free = {}
    for number, region in enumerate(sorted(regions)):
        mean = exp(chance.uniform(log(MEAN_LOW), log(MEAN_HIGH)))
        free[region] = _come_and_go([mean * factor for factor in shape(region, number, chance)], chance)
    return Regions(free, quota, seed)


def _come_and_go(means: Sequence[float], chance: random.Random) -> list[int]:
    """So many machines by minute, one added or taken at a time; none where the mean is zero."""
    taken = 1 / TURNOVER_MINUTES
    count, counts = _poisson(means[0], chance), []
    for mean in means:
        count -= sum(chance.random() < taken for _ in range(count))
        count += _poisson(mean * taken, chance)
        if mean == 0.0:
            count = 0
        counts.append(count)
    return counts


def _poisson(mean: float, chance: random.Random) -> int:
    """By counting arrivals in a unit of time."""
    count, at = 0, chance.expovariate(1.0)
    while at < mean:
        count, at = count + 1, at + chance.expovariate(1.0)
    return count
