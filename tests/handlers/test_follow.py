"""What a call still does after it asked for VMs: it looks what becomes of them, for a while."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.simulation.sim_cloud import Killed
from tests.simulation.sim_world import CATALOG, START, World
from zeroidle.contracts.records import State
from zeroidle.errors import TemporaryError
from zeroidle.handlers import follow as following
from zeroidle.handlers.context import Context
from zeroidle.handlers.follow import follow
from zeroidle.ports import Stored

STOCKOUT = "ZONE_RESOURCE_POOL_EXHAUSTED"


@pytest.fixture
def world() -> World:
    return World()


def close(world: World, *regions: str) -> None:
    world.fleet.stockouts.update({("1xl4", region): STOCKOUT for region in regions})


def started(world: World, **wanted: Any) -> None:
    world.start_machine(**wanted)
    world.deliver(world.inbox[0])


def call_of(world: World) -> Context:
    """A call of its own that follows the job."""
    return replace(world.context, waiting={"m-1"})


def test_refusals_are_seen_by_the_call_that_asked_without_any_tick(world: World) -> None:
    close(world, "us-central1", "europe-west4")
    started(world)
    world.pass_time(30)

    job = world.job("m-1")
    assert (job.state, [line.code for line in job.machines.story]) == (State.PROVISIONING, [STOCKOUT, STOCKOUT])
    assert max(line.at for line in job.machines.story) <= START + 10
    assert job.machines.vms[-1].ref.region == "asia-east1"


def test_a_place_that_refused_is_asked_again_once_it_may_be_without_any_tick(world: World) -> None:
    close(world, "us-central1", "europe-west4")
    started(world, regions=["us-central1", "europe-west4"])
    world.pass_time(20)
    assert world.job("m-1").state is State.QUEUED

    world.fleet.stockouts.clear()
    world.pass_time(30)
    job = world.job("m-1")
    assert (job.state, job.machines.vms[-1].given_up) == (State.PROVISIONING, False)


@pytest.mark.parametrize("code", ["QUOTA_EXCEEDED", "INVALID_FIELD_VALUE"])
def test_a_job_for_which_nothing_opens_soon_is_left_to_the_tick(world: World, code: str) -> None:
    world.fleet.refusals.update({("1xl4", region): code for region in CATALOG.clusters["1xl4"].regions})
    started(world)

    assert world.job("m-1").state is State.QUEUED
    assert world.calls == []


def test_a_call_ends_once_its_vm_runs_and_at_once_where_it_asked_for_none(world: World) -> None:
    started(world)
    assert world.calls
    world.pass_time(50)
    assert world.calls == []

    started(world, job_id="m-2", provisioning="spot")
    world.stop("m-2")
    world.deliver(world.inbox[-1])
    world.pass_time(15)
    assert world.calls == []


def test_a_call_that_dies_leaves_all_to_the_next_delivery(world: World) -> None:
    close(world, "us-central1")
    world.start_machine()
    world.deliver(world.inbox[0])
    world.faults.at, world.faults.how = world.faults.count, Killed

    world.pass_time(10)
    assert [message.topic for message in world.inbox] == ["start"]
    assert world.job("m-1").machines.story == ()
    world.deliver(world.inbox[0])

    assert [line.code for line in world.job("m-1").machines.story] == [STOCKOUT]


def test_a_record_that_cannot_be_read_is_looked_at_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    close(world, "us-central1")
    started(world)
    load, fails = world.context.jobs.load, iter([True])

    def unreadable_once(job_id: str) -> Stored | None:
        if next(fails, False):
            raise TemporaryError("storage does not answer")
        return load(job_id)

    monkeypatch.setattr(world.context.jobs, "load", unreadable_once)
    world.pass_time(15)

    assert [line.code for line in world.job("m-1").machines.story] == [STOCKOUT]


def test_a_call_looks_no_longer_than_its_budget_however_slow_the_cloud_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(world)
    seen: list[float] = []

    def slow(context: Context, job_id: str) -> None:
        seen.append(world.time)
        world.time += 31
        context.waiting.add(job_id)

    monkeypatch.setattr(following, "_look", slow)
    follow(call_of(world))

    assert len(seen) == 2
