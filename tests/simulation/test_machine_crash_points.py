"""Whichever handler or agent dies at whatever point, and then another one: is every machine job as it should be in the
end, and is no VM left?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.sim_cloud import Faults, Killed
from tests.simulation.sim_world import World
from zeroidle.contracts.records import State
from zeroidle.errors import Conflict, TemporaryError

MAX_POINTS = 600
# Every how many points of the first death the second one is tried.
STRIDE = 3


def a_job(world: World) -> None:
    world.start_machine()


def a_job_in_the_second_region(world: World) -> None:
    world.fleet.stockouts["1xl4", "us-central1"] = "ZONE_RESOURCE_POOL_EXHAUSTED"
    world.start_machine()
    world.deliver(world.inbox[0])
    world.pass_time(30)
    world.tick()


def a_job_whose_handler_looks_again(world: World) -> None:
    world.fleet.stockouts["1xl4", "us-central1"] = "ZONE_RESOURCE_POOL_EXHAUSTED"
    world.start_machine()
    world.deliver(world.inbox[0])
    world.pass_time(10)


def a_hedged_job(world: World) -> None:
    world.start_machine(hedge=2)


def a_stop_before_the_start(world: World) -> None:
    world.stop("m-1")
    world.deliver(world.inbox[0], keep=True)
    world.start_machine()


def a_stop_while_it_gets_its_vm(world: World) -> None:
    world.start_machine()
    world.deliver(world.inbox[0])
    world.stop("m-1")


def a_stop_while_it_runs(world: World) -> None:
    world.machine_behaviour = "forever"
    world.start_machine()
    world.deliver(world.inbox[0])
    world.pass_time(80)
    while world.inbox:
        world.deliver(world.inbox[0])
    world.stop("m-1")


def a_preemption(world: World) -> None:
    world.start_machine(provisioning="spot")
    world.deliver(world.inbox[0])
    world.pass_time(80)
    if world.fleet.machines:
        world.fleet.preempt(world.fleet.machines[0], told=True)


def two_jobs_on_one_vm(world: World) -> None:
    world.start_machine("m-1", keep_alive_s=900)
    world.deliver(world.inbox[0])
    world.pass_time(160)
    world.start_machine("m-2")


SCENARIOS = [
    a_job,
    a_job_in_the_second_region,
    a_job_whose_handler_looks_again,
    a_hedged_job,
    a_stop_before_the_start,
    a_stop_while_it_gets_its_vm,
    a_stop_while_it_runs,
    a_preemption,
    two_jobs_on_one_vm,
]
HOW: dict[str, Callable[[], Faults]] = {
    "killed": lambda: Faults(how=Killed),
    "unavailable": lambda: Faults(how=lambda: TemporaryError("injected")),
    "conflict after its own commit": lambda: Faults(how=lambda: Conflict("injected"), only="after write"),
}


def run(scenario: Callable[[World], None], faults: Faults) -> World:
    world = World(faults=faults)
    scenario(world)
    world.settle()
    world.time += 86400
    world.tick()
    world.check_end()
    return world


@pytest.mark.parametrize("how", HOW.values(), ids=HOW.keys())
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_every_crash_point_of_a_machine_job_is_recovered_from(
    scenario: Callable[[World], None], how: Callable[[], Faults]
) -> None:
    for point in range(MAX_POINTS):
        faults = how()
        faults.at = point
        try:
            run(scenario, faults)
        except AssertionError as error:
            raise AssertionError(f"point {point} ({faults.fired}): {error}\n{faults.log}") from error
        if not faults.fired:
            assert point > 0
            return
    pytest.fail(f"more than {MAX_POINTS} points")


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_two_deaths_are_recovered_from(scenario: Callable[[World], None]) -> None:
    for first in range(0, MAX_POINTS, STRIDE):
        for distance in (1, 2, 3, 5, 8, 13):
            faults = Faults(at=first)
            faults.then = distance
            try:
                run(scenario, faults)
            except AssertionError as error:
                raise AssertionError(f"points {first} and {distance} later: {error}\n{faults.log}") from error
        if not faults.fired:
            return
    pytest.fail(f"more than {MAX_POINTS} points")


@pytest.mark.parametrize(
    ("scenario", "state", "attempts"),
    [
        (a_job, State.SUCCEEDED, 1),
        (a_job_in_the_second_region, State.SUCCEEDED, 1),
        (a_hedged_job, State.SUCCEEDED, 1),
        (a_stop_before_the_start, State.STOPPED, 0),
        (a_stop_while_it_gets_its_vm, State.STOPPED, 1),
        (a_stop_while_it_runs, State.STOPPED, 1),
        (a_preemption, State.SUCCEEDED, 2),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_without_a_crash_it_ends_as_one_expects(scenario: Callable[[World], None], state: State, attempts: int) -> None:
    world = run(scenario, Faults())

    job = world.job("m-1")
    assert (job.state, job.attempt) == (state, attempts)


def test_the_second_of_two_jobs_takes_the_warm_vm() -> None:
    world = run(two_jobs_on_one_vm, Faults())

    assert set(world.states().values()) == {"SUCCEEDED"}
    first, second = world.job("m-1").machines.worker, world.job("m-2").machines.worker
    assert first is not None
    assert first == second
