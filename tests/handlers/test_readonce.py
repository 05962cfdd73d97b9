"""One look at VMs and refusals for many jobs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from tests.core.machine_factories import an_entry
from tests.simulation.sim_world import CATALOG, World
from zeroidle.contracts.records import Reason, State
from zeroidle.core.capacity import Block
from zeroidle.handlers.readonce import MAX_AGE_S, ReadOnce
from zeroidle.ports import VmStore


class Counted:
    """A store that counts what is called."""

    def __init__(self, vms: VmStore) -> None:
        self.vms, self.calls = vms, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self.vms, name)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def once(world: World) -> ReadOnce:
    return ReadOnce(world.context.vms, world)


def waiting(world: World, count: int) -> None:
    """So many jobs that the caps keep from a VM, beside those that have one."""
    for number in range(count + CATALOG.caps.max_vms):
        world.start_machine(f"m-{number}")
    while world.inbox:
        world.deliver(world.inbox[0])


@pytest.mark.parametrize("count", [5, 25])
def test_a_tick_reads_vms_and_refusals_as_often_whether_few_jobs_wait_or_many(world: World, count: int) -> None:
    waiting(world, count)
    counted: Any = Counted(world.context.vms)
    world.context = replace(world.context, vms=counted)

    world.tick()

    queued = [job for job in world.jobs() if job.state is State.QUEUED]
    assert len(queued) >= count
    assert {job.reason for job in queued} == {Reason.AT_CAP}
    assert counted.calls["blocks"] == 1
    assert counted.calls["entries"] == 2  # once for jobs, once for VMs that belong to nobody


def test_a_place_that_becomes_free_is_given_to_one_job_only(world: World) -> None:
    waiting(world, 5)
    [first, *_] = world.context.vms.entries()
    world.stop(first.job_id)
    world.deliver(world.inbox[-1])
    world.pass_time(130)
    world.tick()  # forgets the VM
    world.tick()

    assert len(world.context.vms.entries()) <= CATALOG.caps.max_vms
    assert not [line for job in world.jobs() for line in job.machines.story if line.code == "AT_CAP"]


def test_what_was_changed_here_is_read_again(world: World, once: ReadOnce) -> None:
    entry, block = an_entry(), Block("1xl4", "us-central1", "STOCKOUT", world.time, world.time + 60)
    assert (once.entries(), once.blocks()) == ((), ())

    once.enter(entry)
    once.block(block)
    assert (once.entries(), once.blocks()) == ((entry,), (block,))

    once.remove(entry.ref)
    assert (once.entries(), [gone.name for gone in once.gone()]) == ((), [f"gone/{entry.ref.region}/{entry.ref.name}"])


def test_what_others_changed_is_seen_a_while_later(world: World, once: ReadOnce) -> None:
    assert once.entries() == ()
    world.context.vms.enter(an_entry())

    assert once.entries() == ()
    assert once.entry(an_entry().ref) == an_entry()
    world.time += MAX_AGE_S + 1
    assert once.entries() == (an_entry(),)
