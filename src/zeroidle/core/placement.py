"""Where is a machine asked for? Of what is wanted and not blocked, the cheapest that refused least lately.

Pure: what stands in the ledger about refusals and live VMs is passed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from zeroidle.contracts.machines import Provisioning, VmEntry, Wanted
from zeroidle.contracts.records import Reason
from zeroidle.core import capacity
from zeroidle.core.capacity import Block

# By how much of its price a place is put back for each VM that was asked for there and is not up, so that jobs that
# come at once are spread over places that cost about the same.
PENDING_WEIGHT = 0.05


class Cluster(Struct, frozen=True):
    """One kind of machine. `usd_per_hour` are its list prices by region and way of buying; what has none there is not
    sold that way. Those of the ways in `derived` are no list prices, but what they are taken for."""

    name: str
    machine_type: str
    gpu: str
    gpus: int
    max_per_region: int
    usd_per_hour: Mapping[str, Mapping[Provisioning, float]]
    derived: Mapping[str, Collection[Provisioning]] = field(default_factory=dict)

    @property
    def regions(self) -> tuple[str, ...]:
        """Where there are such machines."""
        return tuple(self.usd_per_hour)


class Caps(Struct, frozen=True):
    """What all jobs together may have at once."""

    max_vms: int
    max_usd_per_hour: float


class Catalog(Struct, frozen=True):
    """All that can be asked for."""

    clusters: Mapping[str, Cluster]
    caps: Caps


class Market(Struct, frozen=True):
    """What is known of capacity now: refusals, and every VM that is live or asked for."""

    blocks: tuple[Block, ...] = ()
    entries: tuple[VmEntry, ...] = ()


class Offer(Struct, frozen=True):
    """A place to ask at, and what keeps it closed now, if anything does."""

    cluster: str
    region: str
    provisioning: Provisioning
    usd_per_hour: float
    failures: int = 0  # refusals that still count
    closed_for: Reason | None = None
    code: str = ""
    opens_at: float | None = None  # seconds since the epoch; None while only other jobs' VMs are in the way

    @property
    def is_open(self) -> bool:
        """It may be asked for now."""
        return self.closed_for is None


def problem(wanted: Wanted, catalog: Catalog) -> str | None:
    """Why no offer can ever fit what is wanted, as a sentence that names the field; None if one can."""
    for index, name in enumerate(wanted.accelerators):
        if name not in catalog.clusters:
            known = ", ".join(sorted(catalog.clusters))
            return f"field run.wanted.accelerators[{index}]: there is no cluster {name!r}; there are {known}"
    regions = {region for name in wanted.accelerators for region in catalog.clusters[name].regions}
    for index, region in enumerate(wanted.regions):
        if region not in regions:
            return (
                f"field run.wanted.regions[{index}]: none of {', '.join(wanted.accelerators)} is in {region!r};"
                f" they are in {', '.join(sorted(regions))}"
            )
    if not any(True for _ in _places(wanted, catalog)):
        return (
            f"field run.wanted: none of {', '.join(wanted.accelerators)} is sold as {wanted.provisioning.value!r}"
            " in these regions"
        )
    return None


def offers(wanted: Wanted, catalog: Catalog, market: Market, now: float) -> list[Offer]:
    """Every place that fits, best first: by preference of accelerator, then by price, weighed with recent refusals and
    with VMs that were asked for there and are not up, as they may take what there is."""
    found, live = [], _Live.of(market.entries)
    for preference, (cluster, region, price) in _places(wanted, catalog):
        offer = _as_open(Offer(cluster.name, region, wanted.provisioning, price), cluster, catalog, market, live, now)
        weight = capacity.weight(market.blocks, cluster.name, region, now)
        weight += PENDING_WEIGHT * live.pending.get((cluster.name, region), 0)
        found.append((preference, price * (1 + weight), region, offer))
    return [offer for *_, offer in sorted(found, key=lambda each: each[:3])]


def choose(ranked: Sequence[Offer], count: int, taken: Collection[tuple[str, str]] = ()) -> list[Offer]:
    """The best open offers, at most `count`, in different regions and at no place of `taken` (cluster, region)."""
    chosen: list[Offer] = []
    for offer in ranked:
        if len(chosen) == count:
            break
        if offer.is_open and (offer.cluster, offer.region) not in taken and not _in_region(chosen, offer.region):
            chosen.append(offer)
    return chosen


def over_cap(entry: VmEntry, catalog: Catalog, entries: Iterable[VmEntry]) -> str | None:
    """Which cap does `entry`, already among `entries`, break? None if it may stay.

    Whoever takes an entry looks at all of them after it wrote its own, so of two that came at once at least the later
    one sees both; that is what keeps the caps without a counter.
    """
    live = list(entries)
    cluster = catalog.clusters[entry.ref.cluster]
    here = sum(each.ref.cluster == cluster.name and each.ref.region == entry.ref.region for each in live)
    if here > cluster.max_per_region:
        return f"{cluster.max_per_region} of {cluster.name} in {entry.ref.region}"
    if len(live) > catalog.caps.max_vms:
        return f"{catalog.caps.max_vms} VMs"
    spent = sum(each.usd_per_hour for each in live)
    if spent > catalog.caps.max_usd_per_hour:
        return f"{catalog.caps.max_usd_per_hour:g} USD an hour"
    return None


def why_not(ranked: Sequence[Offer]) -> Reason:
    """Why nothing was chosen: what keeps the most preferred places closed."""
    reasons = Counter(offer.closed_for for offer in ranked if offer.closed_for is not None)
    return reasons.most_common(1)[0][0] if reasons else Reason.NO_CAPACITY


class _Live(Struct, frozen=True):
    """What is live or asked for, counted once for all places."""

    vms: int
    usd_per_hour: float
    here: Mapping[tuple[str, str], int]  # by cluster and region
    pending: Mapping[tuple[str, str], int]  # of these, those whose worker has not said anything yet

    @classmethod
    def of(cls, entries: Sequence[VmEntry]) -> _Live:
        here = Counter((each.ref.cluster, each.ref.region) for each in entries)
        pending = Counter((each.ref.cluster, each.ref.region) for each in entries if each.report is None)
        return cls(len(entries), sum(each.usd_per_hour for each in entries), here, pending)


def _as_open(offer: Offer, cluster: Cluster, catalog: Catalog, market: Market, live: _Live, now: float) -> Offer:
    """The offer with what keeps it closed."""
    offer = replace(offer, failures=capacity.recent_failures(market.blocks, offer.cluster, offer.region, now))
    block = capacity.standing(market.blocks, offer.cluster, offer.region, now)
    if block is not None:
        return replace(offer, closed_for=block.reason, code=block.code, opens_at=block.until)
    full = live.here.get((offer.cluster, offer.region), 0) >= cluster.max_per_region
    if (
        full
        or live.vms >= catalog.caps.max_vms
        or live.usd_per_hour + offer.usd_per_hour > catalog.caps.max_usd_per_hour
    ):
        return replace(offer, closed_for=Reason.AT_CAP, code="AT_CAP")
    return offer


def _places(wanted: Wanted, catalog: Catalog) -> Iterable[tuple[int, tuple[Cluster, str, float]]]:
    for preference, name in enumerate(dict.fromkeys(wanted.accelerators)):
        cluster = catalog.clusters[name]
        for region, prices in cluster.usd_per_hour.items():
            price = prices.get(wanted.provisioning)
            if price is not None and (not wanted.regions or region in wanted.regions):
                yield preference, (cluster, region, price)


def _in_region(offers: Iterable[Offer], region: str) -> bool:
    return any(offer.region == region for offer in offers)
