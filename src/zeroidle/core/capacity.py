"""What does a refusal of the cloud say about where to ask next, and for how long?

Every error code blocks something: the region's machines of one cluster, the cluster everywhere, a region, or all. A
block ends by itself; codes that come again soon block longer, and what was long ago counts less. Unknown codes block
the place where they came and nothing else, so that a new code of Google's never stops a job.

https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-resource-availability
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from zeroidle.contracts.records import Reason

ANY = "*"
LONGEST_S = 3600.0
# After this long without a refusal the next one counts as the first.
FORGOTTEN_AFTER_S = 3 * 3600.0
MAX_FAILURES = 16
# A refusal counts half as much in the choice of a place after each such time since the place may be asked again.
HALF_LIFE_S = 600.0

CLAIMED = "CLAIMED"  # what the story says of a VM that came up
NO_SIGN_OF_LIFE = "NO_SIGN_OF_LIFE"  # asked for, no error, and no worker either
UNKNOWN = "UNKNOWN"


class Scope(StrEnum):
    """What a code blocks."""

    PLACE = "PLACE"  # this cluster in this region: its group chooses the zone itself
    CLUSTER = "CLUSTER"  # this cluster everywhere
    REGION = "REGION"  # every cluster in this region
    EVERYTHING = "EVERYTHING"


class Refusal(Struct, frozen=True):
    """What a code means. `seconds` is how long its first block lasts, and `longest_s` one after many."""

    scope: Scope
    seconds: float
    reason: Reason
    longest_s: float = LONGEST_S


# Machines come back one by one, and to ask costs nothing: who asks seldom leaves them to others.
_STOCKOUT = Refusal(Scope.PLACE, 30, Reason.NO_CAPACITY, 60)
_WRONG = Refusal(Scope.CLUSTER, 1800, Reason.START_REFUSED)
_UNKNOWN = Refusal(Scope.PLACE, 120, Reason.NO_CAPACITY)
_QUOTA_EVERYWHERE = Refusal(Scope.EVERYTHING, 600, Reason.QUOTA)

_REFUSALS = {
    "ZONE_RESOURCE_POOL_EXHAUSTED": _STOCKOUT,
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": _STOCKOUT,
    "RESOURCE_POOL_EXHAUSTED": _STOCKOUT,
    "STOCKOUT": _STOCKOUT,
    "VM_MIN_COUNT_NOT_REACHED": _STOCKOUT,
    "RESOURCE_AVAILABILITY": _STOCKOUT,
    NO_SIGN_OF_LIFE: Refusal(Scope.PLACE, 300, Reason.NO_CAPACITY),
    # A VM that is preempted while it is created.
    "UNSUPPORTED_OPERATION": Refusal(Scope.PLACE, 60, Reason.NO_CAPACITY),
    "RESOURCE_NOT_READY": Refusal(Scope.PLACE, 30, Reason.NO_CAPACITY),
    "INTERNAL_ERROR": Refusal(Scope.PLACE, 60, Reason.NO_CAPACITY),
    "QUOTA_EXCEEDED": Refusal(Scope.PLACE, 600, Reason.QUOTA),
    "RATE_LIMIT_EXCEEDED": Refusal(Scope.REGION, 30, Reason.NO_CAPACITY),
    "RESOURCE_NOT_FOUND": _WRONG,  # of the template: its image, network or service account
    "INVALID_FIELD_VALUE": _WRONG,
    "CONDITION_NOT_MET": _WRONG,
    "PERMISSIONS_ERROR": Refusal(Scope.EVERYTHING, 300, Reason.START_REFUSED),
    "FORBIDDEN": Refusal(Scope.EVERYTHING, 300, Reason.START_REFUSED),
    "BILLING_NOT_ACTIVE": Refusal(Scope.EVERYTHING, 600, Reason.START_REFUSED),
}
# Quotas that hold for the project, not for a region: https://cloud.google.com/compute/resource-usage#gpu_quota
_GLOBAL_QUOTAS = ("GPUS_ALL_REGIONS", "GPUS-ALL-REGIONS")


class Block(Struct, frozen=True):
    """Nobody asks for `cluster` in `region` (either may be ANY) before `until`; times are seconds since the epoch."""

    cluster: str
    region: str
    code: str
    at: float
    until: float
    failures: int = 1

    @property
    def reason(self) -> Reason:
        """Why a job waits for it."""
        return refusal(self.code).reason

    def holds(self, cluster: str, region: str, now: float) -> bool:
        """Does it forbid to ask there now?"""
        return self.covers(cluster, region) and now < self.until

    def covers(self, cluster: str, region: str) -> bool:
        """Is it about that place?"""
        return self.cluster in (ANY, cluster) and self.region in (ANY, region)

    def failures_at(self, now: float) -> int:
        """How many refusals still count."""
        return self.failures if now - self.until < FORGOTTEN_AFTER_S else 0

    def weight_at(self, now: float) -> float:
        """How much the refusals count in the choice of a place."""
        return float(self.failures_at(now) * 0.5 ** (max(0.0, now - self.until) / HALF_LIFE_S))


def refusal(code: str, message: str = "") -> Refusal:
    """What the cloud's error code means."""
    if code == "QUOTA_EXCEEDED" and any(name in message for name in _GLOBAL_QUOTAS):
        return _QUOTA_EVERYWHERE
    return _REFUSALS.get(code, _UNKNOWN)


def block(cluster: str, region: str, code: str, message: str, now: float, before: Block | None) -> Block:
    """The block that follows from a refusal of `cluster` in `region`, given the one that stood at its place before.

    A refusal of a place that is closed already was asked for before: it says the same again, and closes it no longer.
    """
    found = refusal(code, message)
    name, where = place(cluster, region, code, message)
    if before is not None and now < before.until and before.code == code:
        return before
    failures = min(MAX_FAILURES, 1 + (before.failures_at(now) if before is not None else 0))
    seconds = min(found.longest_s, found.seconds * 2.0 ** (failures - 1))
    return Block(name, where, code, now, now + seconds, failures)


def place(cluster: str, region: str, code: str, message: str = "") -> tuple[str, str]:
    """The cluster and region, either of them perhaps ANY, that a refusal blocks."""
    match refusal(code, message).scope:
        case Scope.PLACE:
            return cluster, region
        case Scope.CLUSTER:
            return cluster, ANY
        case Scope.REGION:
            return ANY, region
        case Scope.EVERYTHING:
            return ANY, ANY


def standing(blocks: Iterable[Block], cluster: str, region: str, now: float) -> Block | None:
    """The block that keeps a place closed longest, if one does."""
    held = [each for each in blocks if each.holds(cluster, region, now)]
    return max(held, key=lambda each: each.until, default=None)


def recent_failures(blocks: Iterable[Block], cluster: str, region: str, now: float) -> int:
    """How often a place refused lately, whether or not it is closed now."""
    return sum(each.failures_at(now) for each in blocks if each.covers(cluster, region))


def weight(blocks: Iterable[Block], cluster: str, region: str, now: float) -> float:
    """How much a place's refusals count in its choice: their number at first, then ever less."""
    return sum(each.weight_at(now) for each in blocks if each.covers(cluster, region))
