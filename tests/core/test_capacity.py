"""What a refusal blocks, and for how long."""

from __future__ import annotations

import pytest

from zeroidle.contracts.records import Reason
from zeroidle.core import capacity
from zeroidle.core.capacity import ANY, FORGOTTEN_AFTER_S, HALF_LIFE_S, LONGEST_S, MAX_FAILURES, Block, block

NOW = 1_800_000_000.0
STOCKOUT = "ZONE_RESOURCE_POOL_EXHAUSTED"
PLACES = {
    STOCKOUT: ("1xl4", "us-east1", 30, Reason.NO_CAPACITY),
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": ("1xl4", "us-east1", 30, Reason.NO_CAPACITY),
    "QUOTA_EXCEEDED": ("1xl4", "us-east1", 600, Reason.QUOTA),
    "RATE_LIMIT_EXCEEDED": (ANY, "us-east1", 30, Reason.NO_CAPACITY),
    "INVALID_FIELD_VALUE": ("1xl4", ANY, 1800, Reason.START_REFUSED),
    "PERMISSIONS_ERROR": (ANY, ANY, 300, Reason.START_REFUSED),
    "BILLING_NOT_ACTIVE": (ANY, ANY, 600, Reason.START_REFUSED),
    capacity.NO_SIGN_OF_LIFE: ("1xl4", "us-east1", 300, Reason.NO_CAPACITY),
    "A_CODE_OF_NEXT_YEAR": ("1xl4", "us-east1", 120, Reason.NO_CAPACITY),
}


def a_block(code: str = STOCKOUT, now: float = NOW, before: Block | None = None, message: str = "") -> Block:
    return block("1xl4", "us-east1", code, message, now, before)


@pytest.mark.parametrize("code", PLACES)
def test_each_code_blocks_its_place_for_its_time(code: str) -> None:
    cluster, region, seconds, reason = PLACES[code]
    found = a_block(code)

    assert (found.cluster, found.region, found.until - NOW, found.reason) == (cluster, region, seconds, reason)
    assert (found.cluster, found.region) == capacity.place("1xl4", "us-east1", code)


def test_a_quota_of_the_whole_project_blocks_everything() -> None:
    found = a_block("QUOTA_EXCEEDED", message="Quota 'GPUS_ALL_REGIONS' exceeded. Limit: 8.0 globally.")

    assert (found.cluster, found.region, found.reason) == (ANY, ANY, Reason.QUOTA)


@pytest.mark.parametrize(("code", "first", "longest"), [(STOCKOUT, 30, 60), ("QUOTA_EXCEEDED", 600, LONGEST_S)])
def test_refusals_that_come_again_block_longer_up_to_a_limit(code: str, first: float, longest: float) -> None:
    standing, now, lengths = None, NOW, []
    for _ in range(MAX_FAILURES + 4):
        standing = a_block(code, now, standing)
        lengths.append(standing.until - now)
        now = standing.until

    assert lengths[:3] == [first, 2 * first, min(4 * first, longest)]
    assert set(lengths[6:]) == {longest}
    assert standing is not None
    assert standing.failures == MAX_FAILURES


def test_refusals_of_vms_that_were_asked_for_at_once_are_one() -> None:
    first = a_block()

    assert a_block(now=NOW + 10, before=first) == first
    assert a_block("SOMETHING_ELSE", NOW + 10, first).failures == 2


def test_refusals_weigh_less_as_time_goes_by() -> None:
    first = a_block()
    weights = [
        capacity.weight([first], "1xl4", "us-east1", at)
        for at in (NOW, first.until, first.until + HALF_LIFE_S, first.until + FORGOTTEN_AFTER_S)
    ]

    assert weights == [1.0, 1.0, 0.5, 0.0]
    assert capacity.weight([first], "1xl4", "us-west1", NOW) == 0


def test_what_was_long_ago_counts_no_more() -> None:
    first = a_block()
    much_later = first.until + FORGOTTEN_AFTER_S

    assert first.failures_at(much_later - 1) == 1
    assert first.failures_at(much_later) == 0
    assert a_block(now=much_later, before=first).failures == 1


def test_a_block_holds_until_its_end_at_what_it_covers() -> None:
    found = a_block()

    assert found.holds("1xl4", "us-east1", found.until - 1)
    assert not found.holds("1xl4", "us-east1", found.until)
    assert not found.holds("8xl4", "us-east1", NOW)
    assert not found.holds("1xl4", "us-west1", NOW)


def test_the_block_that_ends_last_stands_and_all_refusals_count() -> None:
    region, place = a_block("RATE_LIMIT_EXCEEDED"), a_block("QUOTA_EXCEEDED")

    assert capacity.standing([region, place], "1xl4", "us-east1", NOW) == place
    assert capacity.standing([region, place], "8xl4", "us-east1", NOW) == region
    assert capacity.standing([region, place], "8xl4", "us-west1", NOW) is None
    assert capacity.recent_failures([region, place], "1xl4", "us-east1", place.until + 1) == 2
