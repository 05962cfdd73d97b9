"""Two handlers at once on jobs with machines: is all as it should be if one runs whole at any point of another?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.sim_cloud import Faults
from tests.simulation.sim_world import CATALOG, World
from zeroidle.contracts.records import Reason, State

MAX_POINTS = 60


def a_start(world: World) -> None:
    world.start_machine(hedge=2)
    world.deliver(world.inbox[0])


def a_start_at_the_caps(world: World) -> None:
    for number in range(3):  # the last one takes what is left
        world.faults.only = "" if number == 2 else "nothing"
        world.start_machine(f"m-{number}")
        world.deliver(world.inbox[0])


def a_tick_after_refusals(world: World) -> None:
    world.fleet.stockouts["1xl4", "us-central1"] = "RATE_LIMIT_EXCEEDED"
    world.start_machine(hedge=2)
    world.deliver(world.inbox[0])
    world.fleet.machines.clear()  # both came, and are gone
    world.calls.clear()  # nor does their handler look again
    world.pass_time(200)
    world.tick()


def a_start_whose_handler_looks_again(world: World) -> None:
    world.fleet.stockouts["1xl4", "us-central1"] = "ZONE_RESOURCE_POOL_EXHAUSTED"
    world.start_machine()
    world.deliver(world.inbox[0])
    world.pass_time(5)


def tick(world: World) -> None:
    world.tick()


def the_same_message(world: World) -> None:
    for message in world.inbox:
        world.deliver(message)


@pytest.mark.parametrize("second", [tick, the_same_message], ids=lambda second: second.__name__)
@pytest.mark.parametrize(
    "first",
    [a_start, a_start_at_the_caps, a_tick_after_refusals, a_start_whose_handler_looks_again],
    ids=lambda act: act.__name__,
)
def test_one_handler_within_another(first: Callable[[World], None], second: Callable[[World], None]) -> None:
    for point in range(MAX_POINTS):
        faults = Faults()
        world = World(faults=faults)
        faults.at, faults.meanwhile = point, lambda world=world: _meanwhile(world, second)
        try:
            first(world)
            fired = faults.fired
            world.settle()
            world.check_end()
        except AssertionError as error:
            raise AssertionError(f"point {point} ({faults.fired}): {error}\n{faults.log}") from error
        if not fired:
            assert point >= 10
            return
    pytest.fail(f"more than {MAX_POINTS} points")


def test_a_vm_is_asked_for_once_although_a_tick_comes_in_between() -> None:
    faults = Faults(at=8)
    world = World(faults=faults)
    faults.meanwhile = lambda: _meanwhile(world, tick)

    a_start(world)

    asked = [point for point in faults.log if point.startswith("before create vm")]
    assert asked == ["before create vm m-1-a1", "before create vm m-1-a1b"]


def test_a_vm_whose_handler_died_is_asked_for_by_the_next_tick() -> None:
    world = World(faults=Faults(at=8))  # before the create
    a_start(world)
    world.inbox.clear()
    assert not world.fleet.machines

    world.time += 45
    world.tick()

    assert {machine.ref.name for machine in world.fleet.machines} == {"m-1-a1", "m-1-a1b"}


def test_a_vm_that_did_not_come_is_given_up_before_anybody_may_forget_it() -> None:
    world = World()
    world.start_machine()
    world.deliver(world.inbox[0])
    world.fleet.machines.clear()

    world.time += 100
    world.tick()

    [given_up, hoped_for] = world.job("m-1").machines.vms
    assert (given_up.ref.name, given_up.given_up) == ("m-1-a1", True)
    assert (hoped_for.ref.name, hoped_for.ref.region) == ("m-1-a1b", "europe-west4")
    assert {entry.ref.name for entry in world.context.vms.entries()} == {"m-1-a1", "m-1-a1b"}


def test_a_vm_that_may_not_be_deleted_holds_up_nothing_else() -> None:
    world = World()
    world.machine_behaviour = "forever"
    world.start_machine(hedge=2)
    world.deliver(world.inbox[0])
    world.fleet.deletes_refused = True
    world.pass_time(60)
    world.tick()
    worker = world.context.jobs.claim("m-1", 1)
    assert worker is not None
    assert worker.worker is not None
    world.fleet.machines = [machine for machine in world.fleet.machines if machine.ref != worker.worker.vm]
    world.pass_time(60)

    world.tick()

    job = world.job("m-1")
    assert job.attempt == 2
    assert job.history[0].reason is Reason.WORKER_LOST
    world.settle()
    world.check_end()
    assert world.job("m-1").state is State.FAILED  # by its time limit


def test_of_two_handlers_that_choose_a_vm_the_slower_one_is_ignored() -> None:
    for point in range(6):
        world = World(faults=Faults())
        world.fleet.stockouts.update(
            {("1xl4", region): "QUOTA_EXCEEDED" for region in CATALOG.clusters["1xl4"].regions}
        )
        world.start_machine()
        world.deliver(world.inbox[0])
        for _ in range(4):
            world.pass_time(60)
            world.tick()
        assert world.job("m-1").state is State.QUEUED
        world.fleet.stockouts.clear()
        world.pass_time(600)
        world.faults.at, world.faults.meanwhile = (
            world.faults.count + point,
            lambda world=world: _meanwhile(world, tick),
        )

        world.tick()

        # After three refusals each of the two would ask in two places.
        assert len([vm for vm in world.job("m-1").machines.vms if not vm.given_up]) == 2
        assert world.job("m-1").machines.asked == 3 + 2


def _meanwhile(world: World, act: Callable[[World], None]) -> None:
    world.faults.meanwhile = None
    world.overlaps += 1
    act(world)
