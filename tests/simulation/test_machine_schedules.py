"""Jobs on machines under everything that goes wrong with VMs, messages, workers and handlers: do the invariants hold?

`make simulate N=10000 SEED=0` plays as many histories as wanted.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.simulation.sim_cloud import Faults, Killed
from tests.simulation.sim_world import CATALOG, World
from zeroidle.contracts.records import State
from zeroidle.core.machines import VmState
from zeroidle.errors import Conflict, TemporaryError

HISTORIES = int(os.environ.get("ZEROIDLE_MACHINE_HISTORIES", "1000"))
FIRST_SEED = int(os.environ.get("ZEROIDLE_SEED", "0"))
BATCH = 50
STEPS = 60
PLACES = [(name, region) for name, cluster in CATALOG.clusters.items() for region in cluster.regions]
CODES = [
    "ZONE_RESOURCE_POOL_EXHAUSTED",
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
    "QUOTA_EXCEEDED",
    "UNSUPPORTED_OPERATION",
    "VM_MIN_COUNT_NOT_REACHED",
    "INVALID_FIELD_VALUE",
    "SOMETHING_NEW",
]


def play(seed: int) -> World:
    """One history; the same seed gives the same one."""
    chance = random.Random(seed)
    world = World(faults=Faults())
    for _ in range(STEPS):
        _happens(world, chance)
    world.settle()
    world.check_end()
    return world


def _happens(world: World, chance: random.Random) -> None:
    machines = world.fleet.machines
    world.machine_behaviour = chance.choice(["good", "good", "exits 3", "forever", "deaf"])
    match chance.randrange(20):
        case 0 | 1:
            world.start_machine(
                f"m-{chance.randrange(5)}",
                accelerators=chance.choice([["1xl4"], ["1xa100-40gb", "1xl4"], ["1xl4", "1xa100-40gb"]]),
                provisioning=chance.choice(["standard", "standard", "spot"]),
                hedge=chance.choice([1, 1, 2]),
                keep_alive_s=chance.choice([0, 0, 300]),
            )
        case 2:
            world.stop(f"m-{chance.randrange(6)}")
        case 3:
            how = chance.choice([Killed, Killed, lambda: TemporaryError("injected"), lambda: Conflict("injected")])
            world.faults.only = "after write" if isinstance(how(), Conflict) else ""
            world.faults.at, world.faults.how = world.faults.count + chance.randrange(16), how
        case 4:
            world.fleet.unavailable = chance.random() < 0.4
        case 5:
            world.fleet.stockouts = {place: chance.choice(CODES) for place in PLACES if chance.random() < 0.4}
            world.fleet.refusals = {place: chance.choice(CODES) for place in PLACES if chance.random() < 0.15}
        case 6:
            world.fleet.late_by = chance.choice([30.0, 300.0])
        case 7 if machines:
            world.fleet.preempt(chance.choice(machines), told=chance.random() < 0.5)
        case 8 if machines:
            machine = chance.choice(machines)
            machine.paused = not machine.paused
        case 9 if machines and chance.random() < 0.3:
            chance.choice(machines).agent = None  # the process died
        case 10 if world.publisher.queue and chance.random() < 0.5:
            each = chance.choice(world.publisher.queue)
            world.publisher.assign(each.cluster, each.provisioning, each.job_id, each.attempt)
        case 11 | 12 | 13:
            world.pass_time(chance.choice([5.0, 20.0, 60.0, 200.0]))
        case 14 | 15:
            world.pass_time(5.0)
            world.tick()
        case _ if world.inbox:
            world.deliver(chance.choice(world.inbox), keep=chance.random() < 0.2)


@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + HISTORIES, BATCH))
def test_the_invariants_hold_whatever_happens_to_machines(first: int) -> None:
    for seed in range(first, first + BATCH):
        try:
            play(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_a_history_of_machines_is_determined_by_its_seed() -> None:
    one, two = play(11), play(11)

    assert one.jobs() == two.jobs()
    assert one.outcomes == two.outcomes


def test_the_histories_of_machines_reach_every_end() -> None:
    reasons, states, codes = set(), set(), set()
    for seed in range(150):
        for job in play(seed).jobs():
            states.add(job.state)
            reasons.update(reason.value for reason in [job.reason, *(past.reason for past in job.history)] if reason)
            codes.update(line.code for line in job.machines.story)

    assert states == {State.SUCCEEDED, State.FAILED, State.STOPPED}
    assert reasons >= {"JOB_ERROR", "PREEMPTED", "WORKER_LOST", "TIMEOUT", "STOP_REQUESTED"}
    assert codes >= {"CLAIMED", "ZONE_RESOURCE_POOL_EXHAUSTED", "QUOTA_EXCEEDED", "SOMETHING_NEW", "AT_CAP"}
    assert VmState.GONE == "GONE"
