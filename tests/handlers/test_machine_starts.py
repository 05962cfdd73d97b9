"""What a start of a job on a machine asks of the cloud, and what it doesn't."""

from __future__ import annotations

from tests.simulation.sim_cloud import Faults
from tests.simulation.sim_world import CATALOG, World
from zeroidle.contracts.records import Reason, State
from zeroidle.core.capacity import Block


def test_a_start_at_the_caps_waits_without_asking_for_a_vm() -> None:
    world = World()
    for number in range(CATALOG.caps.max_vms):
        world.start_machine(f"m-{number}")
        world.deliver(world.inbox[0])
    asked = world.fleet.boots

    world.faults = world.objects.faults = world.fleet.faults = Faults()
    world.start_machine("late")
    world.deliver(world.inbox[0])

    job = world.job("late")
    assert (job.state, job.reason) == (State.QUEUED, Reason.AT_CAP)
    assert job.machines.vms == ()
    assert world.fleet.boots == asked
    assert [point for point in world.faults.log if point.startswith("after")] == [
        point for point in world.faults.log if point.startswith("after write ") and "late" in point
    ]


def test_a_start_while_every_place_is_closed_waits_without_asking_for_a_vm() -> None:
    world = World()
    for region in CATALOG.clusters["1xl4"].regions:
        world.context.vms.block(Block("1xl4", region, "QUOTA_EXCEEDED", world.time, world.time + 600))
    world.start_machine()
    world.deliver(world.inbox[0])

    job = world.job("m-1")
    assert (job.state, job.reason) == (State.QUEUED, Reason.QUOTA)
    assert world.fleet.boots == 0
