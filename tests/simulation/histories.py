"""What can happen to jobs on machines, and in which order?

A history is a row of steps. Each step is the seed of its own chance, and what it does depends on nothing else but the
world it meets: so any part of a failing history is a history too, and one can look for the shortest that still fails.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.simulation import sim_fleet
from tests.simulation.sim_cloud import Faults, Killed
from tests.simulation.sim_world import CATALOG, World
from zeroidle.errors import Conflict, TemporaryError

STEPS = 60
PLACES = [(name, region) for name, cluster in CATALOG.clusters.items() for region in cluster.regions]
CODES = [
    "ZONE_RESOURCE_POOL_EXHAUSTED",
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
    "QUOTA_EXCEEDED",
    "UNSUPPORTED_OPERATION",
    "VM_MIN_COUNT_NOT_REACHED",
    "RESOURCE_NOT_READY",
    "RATE_LIMIT_EXCEEDED",
    "INVALID_FIELD_VALUE",
    "FORBIDDEN",
    "SOMETHING_NEW",
]
HOSTILE = [[], "start", 7, {}, {"schema": 1}, {"schema": 1, "job_id": "../m-1", "user_id": "me", "run": None}]


@dataclass(frozen=True)
class Played:
    """A world after its history, and what happened in it, step by step."""

    world: World
    told: tuple[str, ...]


def history(seed: int) -> tuple[int, ...]:
    """The steps of a seed."""
    chance = random.Random(seed)
    return tuple(chance.getrandbits(48) for _ in range(STEPS))


def replay(steps: Sequence[int]) -> Played:
    """Play the steps, then let everything settle. Raises Violation."""
    world = World(faults=Faults())
    told = [_happens(world, random.Random(step)) for step in steps]
    world.settle()
    world.check_end()
    return Played(world, tuple(told))


def play(seed: int) -> World:
    """One history; the same seed gives the same one."""
    return replay(history(seed)).world


def describe(steps: Sequence[int]) -> list[str]:
    """What each step did, as far as the history came before it failed."""
    world, told = World(faults=Faults()), []
    try:
        for step in steps:
            told.append(f"{step}: {_happens(world, random.Random(step))}")
    except Exception as error:  # noqa: BLE001  # whatever the history is about
        told.append(f"{type(error).__name__}: {error}")
    return told


def shrink(steps: Sequence[int], fails: Callable[[Sequence[int]], bool]) -> tuple[int, ...]:
    """The shortest part of `steps` found that still fails: ever smaller pieces are left out while it does.

    A. Zeller, R. Hildebrandt: Simplifying and Isolating Failure-Inducing Input, https://doi.org/10.1109/32.988498
    """
    left, size = tuple(steps), max(1, len(steps) // 2)
    while True:
        shorter = next((cut for cut in _cuts(left, size) if fails(cut)), None)
        if shorter is not None:
            left = shorter
        elif size == 1:
            return left
        else:
            size = size // 2
        size = max(1, min(size, len(left)))


def _cuts(steps: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    return [steps[:at] + steps[at + size :] for at in range(0, len(steps), size)] if steps else []


# What can happen. Each says what it did, or "" where there was nothing to do it to.


def _start(world: World, chance: random.Random) -> str:
    job_id = world.start_machine(
        f"m-{chance.randrange(5)}",
        accelerators=chance.choice([["1xl4"], ["1xa100-40gb", "1xl4"], ["1xl4", "1xa100-40gb"]]),
        provisioning=chance.choice(["standard", "standard", "spot"]),
        hedge=chance.choice([1, 1, 2]),
        keep_alive_s=chance.choice([0, 0, 300]),
        limits=chance.choice([{}, {}, {}, {"max_cost_usd": 0.005}, {"max_runtime_s": 90}]),
    )
    return f"start {job_id}"


def _start_wrongly(world: World, chance: random.Random) -> str:
    """Somebody else's job id, a cluster that there is not, or no start message at all."""
    job_id = f"m-{chance.randrange(5)}"
    match chance.randrange(3):
        case 0:
            world.start_machine(job_id, user_id="another")
            return f"another user starts {job_id}"
        case 1:
            world.start_machine(f"wrong-{chance.randrange(3)}", accelerators=["9xnothing"])
            return "start on a cluster that there is not"
        case _:
            payload = chance.choice(HOSTILE)
            world.send(chance.choice(["start", "heartbeat"]), payload)
            return f"hostile message {payload}"


def _forge_beat(world: World, chance: random.Random) -> str:
    """A beat of an attempt that there is not, or of another user."""
    beat = {"schema": 1, "job_id": f"m-{chance.randrange(5)}", "user_id": chance.choice(["me", "stranger"])}
    attempt = 99 if beat["user_id"] == "me" else 1
    ended = {"exit_code": 0, "result": {"bucket": "output", "prefix": "forged", "files": 1}}
    world.send(
        "heartbeat", {**beat, "attempt": attempt, "seq": 1, "sent_at": world.time, "status": "SUCCEEDED", **ended}
    )
    return f"forged beat of {beat['job_id']} by {beat['user_id']}"


def _stop(world: World, chance: random.Random) -> str:
    job_id = f"m-{chance.randrange(6)}"
    world.stop(job_id)
    return f"stop {job_id}"


def _break(world: World, chance: random.Random) -> str:
    """The handler or agent that comes to it dies, meets an outage, or a conflict with its own write."""
    what, how = chance.choice(
        [
            ("killed", Killed),
            ("killed", Killed),
            ("unavailable", lambda: TemporaryError("injected")),
            ("conflict", lambda: Conflict("injected")),
        ]
    )
    points = chance.randrange(16)
    world.faults.only = "after write" if what == "conflict" else ""
    world.faults.at, world.faults.how, world.faults.meanwhile = world.faults.count + points, how, None
    return f"{what} in {points} points"


def _overlap(world: World, chance: random.Random) -> str:
    """While one handler is at work, another one runs whole: a second tick, or any message that waits."""
    points, ticks, pick = chance.randrange(16), chance.random() < 0.5, chance.random()

    def meanwhile() -> None:
        world.faults.meanwhile = None
        world.overlaps += 1
        if ticks:
            world.tick()
        elif world.inbox:
            world.deliver(world.inbox[int(pick * len(world.inbox))])

    world.faults.only = ""
    world.faults.at, world.faults.meanwhile = world.faults.count + points, meanwhile
    return f"{'a tick' if ticks else 'another handler'} within one in {points} points"


def _api(world: World, chance: random.Random) -> str:
    """The Compute API does not answer, shows what was, or refuses to delete; or all is well again."""
    fleet, what = (
        world.fleet,
        chance.choice(["well", "well", "unavailable", "stale", "deletes refused", "deletes slow"]),
    )
    fleet.unavailable, fleet.deletes_refused = what == "unavailable", what == "deletes refused"
    fleet.stale_by = chance.choice([20.0, 60.0]) if what == "stale" else 0.0
    fleet.deletion_s = 400.0 if what == "deletes slow" else sim_fleet.DELETION_S
    return f"API: {what}"


def _capacity(world: World, chance: random.Random) -> str:
    world.fleet.stockouts = {place: chance.choice(CODES) for place in PLACES if chance.random() < 0.4}
    world.fleet.refusals = {place: chance.choice(CODES) for place in PLACES if chance.random() < 0.15}
    return f"no capacity in {sorted({*world.fleet.stockouts, *world.fleet.refusals})}"


def _late(world: World, chance: random.Random) -> str:
    world.fleet.late_by = chance.choice([30.0, 300.0])
    return f"the next VM comes {world.fleet.late_by:g} s late"


def _skew(world: World, chance: random.Random) -> str:
    world.fleet.skew = chance.choice([-300.0, 0.0, 300.0])
    return f"clocks of VMs that boot now are {world.fleet.skew:+g} s off"


def _preempt(world: World, chance: random.Random) -> str:
    if not world.fleet.machines:
        return ""
    machine, told = chance.choice(world.fleet.machines), chance.random() < 0.5
    world.fleet.preempt(machine, told=told)
    return f"{machine.ref.name} is preempted {'with' if told else 'without'} notice"


def _host_error(world: World, chance: random.Random) -> str:
    """Several VMs are gone at once."""
    if len(world.fleet.machines) < 2 or chance.random() < 0.5:
        return ""
    lost = chance.sample(world.fleet.machines, chance.randrange(2, len(world.fleet.machines) + 1))
    for machine in lost:
        world.fleet.preempt(machine, told=False)
    return f"{', '.join(machine.ref.name for machine in lost)} are gone"


def _pause(world: World, chance: random.Random) -> str:
    if not world.fleet.machines:
        return ""
    machine = chance.choice(world.fleet.machines)
    machine.paused = not machine.paused
    return f"{machine.ref.name} {'hangs' if machine.paused else 'goes on'}"


def _agent_dies(world: World, chance: random.Random) -> str:
    if not world.fleet.machines or chance.random() < 0.7:
        return ""
    machine = chance.choice(world.fleet.machines)
    machine.agent = None
    return f"the agent of {machine.ref.name} dies"


def _assign_twice(world: World, chance: random.Random) -> str:
    if not world.publisher.queue or chance.random() < 0.5:
        return ""
    each = chance.choice(world.publisher.queue)
    world.publisher.assign(each.cluster, each.provisioning, each.job_id, each.attempt)
    return f"{each.job_id} is assigned twice"


def _time(world: World, chance: random.Random) -> str:
    seconds = chance.choice([5.0, 20.0, 60.0, 200.0])
    world.pass_time(seconds)
    return f"{seconds:g} s pass"


def _tick(world: World, chance: random.Random) -> str:
    world.pass_time(5.0)
    world.tick()
    return "tick"


def _deliver(world: World, chance: random.Random) -> str:
    if not world.inbox:
        return ""
    message, keep = chance.choice(world.inbox), chance.random() < 0.2
    world.deliver(message, keep=keep)
    return f"{message.topic} {message.id} arrives{', and will again' if keep else ''}"


_EVENTS: dict[Callable[[World, random.Random], str], int] = {
    _start: 8,
    _start_wrongly: 1,
    _forge_beat: 1,
    _stop: 4,
    _break: 4,
    _overlap: 4,
    _api: 4,
    _capacity: 4,
    _late: 3,
    _skew: 2,
    _preempt: 3,
    _host_error: 2,
    _pause: 4,
    _agent_dies: 3,
    _assign_twice: 3,
    _time: 12,
    _tick: 8,
    _deliver: 16,
}


def _happens(world: World, chance: random.Random) -> str:
    # "forever" and "deaf" hang while their agent beats.
    world.machine_behaviour = chance.choice(["good", "good", "exits 3", "forever", "deaf"])
    [event] = chance.choices(list(_EVENTS), weights=list(_EVENTS.values()))
    return event(world, chance)
