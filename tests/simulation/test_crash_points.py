"""Whatever handler dies at whatever point: is everything as it should be in the end?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.sim_cloud import Faults, Killed
from tests.simulation.sim_world import BEHAVIOURS, World
from zeroidle.contracts.records import State
from zeroidle.errors import Conflict, TemporaryError

MAX_POINTS = 400


def an_upload(world: World) -> None:
    world.upload()


def a_bad_wish(world: World) -> None:
    world.upload(metadata={"zeroidle-text-mode": "poem"})


def a_start(world: World) -> None:
    world.start()


def a_start_that_is_stopped_at_once(world: World) -> None:
    world.start()
    world.stop("job-1")


def a_stop_while_it_runs(world: World) -> None:
    world.start()
    world.deliver(world.inbox[0])
    for _ in range(2):
        for execution in world.executions.active():
            world.step(execution)
    world.stop("job-1")


def a_stop_before_the_start(world: World) -> None:
    world.stop("job-1")
    world.deliver(world.inbox[0], keep=True)
    world.start()


def an_upload_nobody_is_told_of(world: World) -> None:
    world.upload(told=False)


SCENARIOS = [
    an_upload,
    a_bad_wish,
    a_start,
    a_start_that_is_stopped_at_once,
    a_stop_while_it_runs,
    a_stop_before_the_start,
    an_upload_nobody_is_told_of,
]


def run(scenario: Callable[[World], None], behaviour: str, faults: Faults) -> World:
    world = World(behaviour, faults)
    scenario(world)
    world.settle()
    world.time += 86400
    world.tick()
    world.check_end()
    return world


HOW: dict[str, Callable[[], Faults]] = {
    "killed": lambda: Faults(how=Killed),
    "unavailable": lambda: Faults(how=lambda: TemporaryError("injected")),
    # The client retries a write whose answer was lost, and is told that somebody wrote: itself.
    "conflict after its own commit": lambda: Faults(how=lambda: Conflict("injected"), only="after write"),
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW.keys())
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_every_crash_point_is_recovered_from(
    scenario: Callable[[World], None], behaviour: str, how: Callable[[], Faults]
) -> None:
    whole = run(scenario, behaviour, Faults())
    for point in range(MAX_POINTS):
        faults = how()
        faults.at = point
        try:
            world = run(scenario, behaviour, faults)
        except AssertionError as error:
            raise AssertionError(f"point {point} ({faults.fired}): {error}\n{faults.log}") from error
        if not faults.fired:
            assert point > 0
            return
        assert len(world.jobs()) == len(whole.jobs()) == 1, f"point {point} ({faults.fired})"
    pytest.fail(f"more than {MAX_POINTS} points")


@pytest.mark.parametrize(
    ("behaviour", "state"),
    [
        ("good", State.SUCCEEDED),
        ("silent", State.SUCCEEDED),
        ("user error", State.FAILED),
        ("service error", State.FAILED),
        ("dies untold", State.FAILED),
        ("hangs", State.FAILED),
        ("begins late", State.FAILED),
        ("dies first", State.FAILED),
    ],
)
def test_an_upload_ends_as_its_execution_does(behaviour: str, state: State) -> None:
    world = run(an_upload, behaviour, Faults())

    assert list(world.states().values()) == [state]
