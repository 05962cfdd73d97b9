"""Two handlers at once: does one that runs whole, at any point of another, leave things as they should be?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.sim_cloud import Faults
from tests.simulation.sim_world import BEHAVIOURS, Message, World


def deliver_next(topic: str) -> Callable[[World], None]:
    def act(world: World) -> None:
        waiting = [message for message in world.inbox if message.topic == topic]
        if waiting:
            world.deliver(waiting[-1], keep=False)

    return act


def tick(world: World) -> None:
    world.tick()


def late_tick(world: World) -> None:
    world.time += 3500  # a marker without a record is kept for longer; a real handler has a minute
    world.tick()


def run_on(world: World) -> None:
    for execution in world.executions.active():
        world.step(execution)


FIRST = {"start": "start", "stop": "stop", "heartbeat": "heartbeat", "tick": "tick"}
SECOND = {
    "a second start": deliver_next("start"),
    "a stop": deliver_next("stop"),
    "a heartbeat": deliver_next("heartbeat"),
    "a tick": tick,
    "a late tick": late_tick,
    "the execution": run_on,
}


def play(first: str, second: Callable[[World], None], behaviour: str, point: int) -> Faults:
    """A job whose start was told twice, that ran a little and is to be stopped; then `first` and within it `second`."""
    world = World(behaviour)
    world.start()
    twice = world.inbox[0]
    if first != "start":
        world.deliver(twice, keep=True)
        for _ in range(5):
            run_on(world)
    else:
        world.inbox.append(Message(twice.topic, twice.payload, "again"))
        world.sent += 1
    world.stop("job-1")
    world.faults.at, world.faults.meanwhile = point, lambda: second(world)
    if first == "tick":
        world.tick()
    else:
        waiting = [message for message in world.inbox if message.topic == first]
        if waiting:
            world.deliver(waiting[0])
    fired = world.faults.fired
    world.faults.at = None
    world.settle()
    world.check_end()
    assert len(world.jobs()) == 1
    world.faults.fired = fired
    return world.faults


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.parametrize("second", SECOND.values(), ids=SECOND.keys())
@pytest.mark.parametrize("first", FIRST)
def test_one_handler_within_another(first: str, second: Callable[[World], None], behaviour: str) -> None:
    for point in range(40):
        try:
            faults = play(first, second, behaviour, point)
        except AssertionError as error:
            raise AssertionError(f"point {point}: {error}") from error
        if not faults.fired:
            return
    pytest.fail("more than 40 points")
