"""Ordering faults from the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localcloud.faults import Fault
from tests.cli.conftest import Call
from zeroidle_cli.connection import Connection


@pytest.fixture(autouse=True)
def _withdrawn(cloud: Connection) -> Iterator[None]:
    yield
    assert cloud.cloud is not None
    cloud.cloud.faults.clear()


def standing(cloud: Connection) -> list[Fault]:
    assert cloud.cloud is not None
    return cloud.cloud.faults.standing()


def test_a_fault_is_ordered_listed_and_withdrawn(cloud: Connection, call: Call) -> None:
    where = ("--state", cloud.state)
    options = ("--action", "delay", "--delay", 1, "--delay-max", 3, "--times", 0, "--probability", 0.5, "--seed", 4)

    call("faults", "add", "storage.objects.insert", "--resource", "b/*", "--code", "ABORTED", *where)
    added = call("faults", "add", "storage.*", *options, *where)
    ordered = standing(cloud)
    listed = call("faults", "list", "--json", *where)
    cleared = call("faults", "clear", "--json", *where)

    assert ordered == [
        Fault("storage.objects.insert", "b/*", code="ABORTED"),
        Fault("storage.*", "*", "delay", delay_s=1, delay_max_s=3, times=None, probability=0.5, seed=4),
    ]
    assert "fail ABORTED" in added.out
    assert "delay 1-3 s, 50% of them" in added.out
    assert [fault["call"] for fault in listed.json["faults"]] == ["storage.objects.insert", "storage.*"]
    assert cleared.json == {"faults": []}


def test_an_order_that_makes_no_sense_says_why(cloud: Connection, call: Call) -> None:
    called = call("faults", "add", "a.b.c", "--action", "explode", "--state", cloud.state, "--json")

    assert (called.code, called.error["code"]) == (1, "INVALID_REQUEST")
    assert "action" in called.error["message"]
    assert standing(cloud) == []
