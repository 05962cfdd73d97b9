"""Messages late, twice and out of order, crashes and outages at random moments: do the invariants hold?"""

from __future__ import annotations

import os
import random

import pytest

from tests.simulation.sim_cloud import Faults, Killed
from tests.simulation.sim_world import BEHAVIOURS, World
from zeroidle.errors import TemporaryError

HISTORIES = int(os.environ.get("ZEROIDLE_HISTORIES", "150"))
STEPS = 80


def play(seed: int) -> World:
    """One history; the same seed gives the same one."""
    chance = random.Random(seed)
    world = World(faults=Faults())
    jobs: list[str] = []
    for _ in range(STEPS):
        world.behaviour = chance.choice(BEHAVIOURS)
        match chance.randrange(12):
            case 0 if len(jobs) < 5:
                jobs.append(world.upload(f"file{len(jobs)}.txt", told=chance.random() < 0.8))
            case 1:
                jobs.append(world.start(f"job-{chance.randrange(3)}"))
            case 2 if jobs:
                world.stop(chance.choice([*jobs, "job-0", "job-9"]))
            case 3:
                point = chance.randrange(12)
                how = chance.choice([Killed, lambda: TemporaryError("injected")])
                world.faults.at, world.faults.how = world.faults.count + point, how
            case 4:
                world.executions.unavailable = chance.random() < 0.5
            case 5 | 6:
                world.time += chance.choice([1.0, 20.0, 60.0, 400.0])
                world.tick()
            case 7 if world.executions.active() and chance.random() < 0.2:
                world.executions.cancel(chance.choice(world.executions.active()).name)  # by hand, in the console
            case 7 | 8 if world.executions.active():
                world.step(chance.choice(world.executions.active()))
            case _ if world.inbox:
                world.deliver(chance.choice(world.inbox), keep=chance.random() < 0.25)
    world.settle()
    world.check_end()
    return world


@pytest.mark.parametrize("first", range(0, HISTORIES, 50))
def test_the_invariants_hold_in_random_histories(first: int) -> None:
    for seed in range(first, first + 50):
        try:
            play(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_a_history_is_determined_by_its_seed() -> None:
    one, two = play(7), play(7)

    assert one.jobs() == two.jobs()
    assert one.outcomes == two.outcomes


def test_the_histories_reach_every_end() -> None:
    reasons, states = set(), set()
    for seed in range(60):
        for job in play(seed).jobs():
            states.add(job.state.value)
            reasons.update(reason.value for reason in [job.reason, *(past.reason for past in job.history)] if reason)

    assert states == {"SUCCEEDED", "FAILED", "STOPPED"}
    assert reasons >= {"USER_ERROR", "SERVICE_ERROR", "NOT_STARTED", "EXECUTION_LOST", "TIMEOUT", "STOP_REQUESTED"}
