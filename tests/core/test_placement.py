"""Where a machine is asked for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from tests.core.job_factories import NOW
from tests.core.machine_factories import CATALOG, SPOT, STANDARD, a_ref, a_worker, an_entry, wanted
from zeroidle.contracts.machines import Provisioning, Report, VmEntry
from zeroidle.contracts.records import Reason
from zeroidle.core import capacity
from zeroidle.core.capacity import Block
from zeroidle.core.placement import Caps, Market, Offer, choose, offers, over_cap, problem, why_not

EMPTY = Market()
PRICES = {"us-central1": 1.0, "us-east1": 1.01, "me-central2": 1.6}


def a_block(cluster: str, region: str, code: str = "ZONE_RESOURCE_POOL_EXHAUSTED", at: float = NOW) -> Block:
    return capacity.block(cluster, region, code, "", at, None)


def places(found: list[Offer]) -> list[tuple[str, str]]:
    return [(offer.cluster, offer.region) for offer in found]


def test_the_preferred_accelerator_comes_first_then_the_price() -> None:
    found = offers(wanted("1xa100-40gb", "1xl4"), CATALOG, EMPTY, NOW)

    assert places(found) == [
        ("1xa100-40gb", "us-central1"),
        ("1xa100-40gb", "asia-east1"),
        ("1xl4", "us-central1"),
        ("1xl4", "us-east1"),
        ("1xl4", "europe-west4"),
    ]
    assert all(offer.is_open for offer in found)


def test_only_the_regions_and_the_way_of_buying_that_were_asked_for() -> None:
    found = offers(wanted(regions=["us-east1", "asia-east1"], provisioning=SPOT), CATALOG, EMPTY, NOW)

    assert [(offer.region, offer.provisioning, offer.usd_per_hour) for offer in found] == [("us-east1", SPOT, 0.55)]


def test_a_place_that_refused_lately_comes_later_also_when_it_is_open_again() -> None:
    refused = a_block("1xl4", "us-central1", at=NOW - 121)
    found = offers(wanted(), CATALOG, Market((refused,)), NOW)

    assert places(found)[-1] == ("1xl4", "us-central1")
    assert found[-1].is_open


@pytest.mark.parametrize(
    ("market", "reason", "code"),
    [
        (Market((a_block("1xl4", "us-east1"),)), Reason.NO_CAPACITY, "ZONE_RESOURCE_POOL_EXHAUSTED"),
        (Market((a_block("1xl4", "us-east1", "QUOTA_EXCEEDED"),)), Reason.QUOTA, "QUOTA_EXCEEDED"),
        (Market(entries=(an_entry(a_ref("x", "us-east1")), an_entry(a_ref("y", "us-east1")))), Reason.AT_CAP, "AT_CAP"),
        (Market(entries=(an_entry(usd_per_hour=19.5),)), Reason.AT_CAP, "AT_CAP"),
        (Market(entries=tuple(an_entry(a_ref(f"v{n}")) for n in range(4))), Reason.AT_CAP, "AT_CAP"),
    ],
    ids=["a stockout", "a quota", "the cap of the cluster", "the cap of money", "the cap of VMs"],
)
def test_what_keeps_a_place_closed_is_said(market: Market, reason: Reason, code: str) -> None:
    (offer,) = offers(wanted(regions=["us-east1"]), CATALOG, market, NOW)

    assert (offer.closed_for, offer.code) == (reason, code)
    assert choose([offer], 1) == []
    assert why_not([offer]) is reason


def test_jobs_that_come_at_once_are_spread_over_places_that_cost_about_the_same() -> None:
    alike = replace(
        CATALOG.clusters["1xl4"], usd_per_hour={r: {STANDARD: p} for r, p in PRICES.items()}, max_per_region=9
    )
    catalog = replace(CATALOG, clusters={"1xl4": alike}, caps=Caps(99, 99.0))
    asked: list[VmEntry] = []
    for number in range(6):
        best = offers(wanted(), catalog, Market(entries=tuple(asked)), NOW)[0]
        asked.append(an_entry(a_ref(f"v{number}", best.region)))

    assert Counter(entry.ref.region for entry in asked) == {"us-central1": 3, "us-east1": 3}
    working = [replace(entry, report=Report(worker=a_worker(), job_id="job", attempt=1)) for entry in asked]
    assert offers(wanted(), catalog, Market(entries=tuple(working)), NOW)[0].region == "us-central1"


def test_a_hedge_asks_in_two_regions_and_nowhere_twice() -> None:
    ranked = offers(wanted("1xl4", "1xa100-40gb"), CATALOG, EMPTY, NOW)

    assert places(choose(ranked, 2)) == [("1xl4", "us-central1"), ("1xl4", "us-east1")]
    assert places(choose(ranked, 2, {("1xl4", "us-central1")})) == [("1xl4", "us-east1"), ("1xl4", "europe-west4")]
    assert places(choose(ranked, 9)) == [*places(ranked)[:3], ("1xa100-40gb", "asia-east1")]


def test_with_nothing_to_choose_from_there_is_no_capacity() -> None:
    assert why_not([]) is Reason.NO_CAPACITY


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"accelerators": ["1xl4", "9xfoo"]}, "run.wanted.accelerators[1]: there is no cluster '9xfoo'"),
        ({"regions": ["us-east1", "mars-north1"]}, "run.wanted.regions[1]: none of 1xl4 is in 'mars-north1'"),
        ({"provisioning": Provisioning.FLEX_START}, "none of 1xl4 is sold as 'flex-start'"),
    ],
    ids=str,
)
def test_what_can_never_fit_is_named(fields: dict[str, Any], text: str) -> None:
    assert text in (problem(replace(wanted(), **fields), CATALOG) or "")


def test_what_can_fit_is_no_problem() -> None:
    assert problem(wanted("1xa100-40gb", "1xl4", regions=["europe-west4"]), CATALOG) is None


@pytest.mark.parametrize(
    ("caps", "others", "cap"),
    [
        (CATALOG.caps, 1, None),
        (CATALOG.caps, 2, "2 of 1xl4 in us-central1"),
        (Caps(1, 20.0), 1, "1 VMs"),
        (Caps(4, 1.5), 1, "1.5 USD an hour"),
    ],
)
def test_an_entry_counts_itself_and_all_others(caps: Caps, others: int, cap: str | None) -> None:
    mine = an_entry(a_ref("mine"))
    entries = [mine, *(an_entry(a_ref(f"other-{n}")) for n in range(others))]

    assert over_cap(mine, replace(CATALOG, caps=caps), entries) == cap
