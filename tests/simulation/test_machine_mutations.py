"""Would the simulation notice a broken design of machine jobs? Each test breaks one rule on purpose."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from tests.simulation import test_machine_crash_points as crashes
from tests.simulation import test_machine_schedules as schedules
from tests.simulation.sim_cloud import Faults, Killed
from tests.simulation.sim_world import Violation, World
from worker import agent as agents
from worker.ports import Assigned
from zeroidle.contracts.machines import Report
from zeroidle.contracts.records import Budget, Job, Reason, State
from zeroidle.core import job as jobs
from zeroidle.core import machines as planning
from zeroidle.core.claims import RemoveMarker
from zeroidle.core.machines import Use, VmState, VmView
from zeroidle.handlers import machine_jobs, on_tick
from zeroidle.handlers.context import Context
from zeroidle.handlers.machine_jobs import AskVm
from zeroidle.ports import Stored

HISTORIES = 120


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str, Any], None]:
    """Put a broken part in place of the real one."""
    return lambda owner, name, broken: monkeypatch.setattr(owner, name, broken)


def all_histories() -> Iterator[World]:
    """What the other modules of this folder play."""
    for scenario in crashes.SCENARIOS:
        for point in range(30):
            yield crashes.run(scenario, Faults(at=point))
    for seed in range(HISTORIES):
        yield schedules.play(seed)


def expect_violation(numbers: str) -> None:
    with pytest.raises(Violation, match=rf"^{numbers}:"):
        for _ in all_histories():
            pass


def test_asking_for_a_vm_before_entering_it(use: Callable[[Any, str, Any], None]) -> None:
    real = machine_jobs._ask

    def ask(context: Context, stored: Stored, action: AskVm) -> bool:
        context.fleet.create(action.vm.ref)
        return real(context, stored, action)

    use(machine_jobs, "_ask", ask)

    expect_violation("4")


def test_naming_each_vm_anew_as_a_resize_would(use: Callable[[Any, str, Any], None]) -> None:
    real, number = machine_jobs._ask, itertools.count()

    def ask(context: Context, stored: Stored, action: AskVm) -> bool:
        ref = replace(action.vm.ref, name=f"{action.vm.ref.name}-{next(number)}")
        return real(context, stored, AskVm(replace(action.vm, ref=ref)))

    use(machine_jobs, "_ask", ask)

    expect_violation("4")


def test_claiming_without_looking_who_has_the_claim(use: Callable[[Any, str, Any], None]) -> None:
    def claim(self: agents.Agent, job: Job) -> bool:
        return self._report(Report(worker=self.worker, job_id=job.job_id, attempt=job.attempt))

    use(agents.Agent, "_claim", claim)

    expect_violation("2")


def test_settling_an_assignment_before_it_is_claimed(use: Callable[[Any, str, Any], None]) -> None:
    """Of two warm VMs the one that dies before it claims leaves the job to the other."""
    assert _seconds_until_claimed_by_the_other() < 200

    real = agents.Agent._consider

    def consider(self: agents.Agent, assigned: Assigned) -> None:
        assigned.settle()
        real(self, assigned)

    use(agents.Agent, "_consider", consider)

    assert _seconds_until_claimed_by_the_other() > 200


def test_ignoring_a_stop_while_a_vm_is_on_its_way(use: Callable[[Any, str, Any], None]) -> None:
    real = jobs._stop_requested
    use(
        jobs,
        "_stop_requested",
        lambda job, event, now: job if job.state is State.PROVISIONING else real(job, event, now),
    )

    expect_violation("3")


def test_removing_the_marker_as_soon_as_a_job_has_ended(use: Callable[[Any, str, Any], None]) -> None:
    use(planning, "_terminal", lambda job, seen, now: (RemoveMarker(),))

    expect_violation("6")


def test_taking_no_answer_for_a_vm_that_is_gone(use: Callable[[Any, str, Any], None]) -> None:
    real = machine_jobs._view

    def view(context: Context, ref: Any) -> VmView:
        found = real(context, ref)
        return VmView(VmState.GONE) if found.state is VmState.UNKNOWN else found

    use(machine_jobs, "_view", view)

    expect_violation("(8|6)")


def test_leaving_the_caps_to_whoever_asks(use: Callable[[Any, str, Any], None]) -> None:
    use(machine_jobs.placement, "over_cap", lambda entry, catalog, entries: None)
    use(machine_jobs.machines.placement, "_as_open", lambda offer, *others: offer)

    expect_violation("7")


def test_keeping_vms_that_nobody_needs(use: Callable[[Any, str, Any], None]) -> None:
    use(machine_jobs, "_use", lambda context, job, ref: Use.WAITING)

    expect_violation("(5|6|liveness)")


def test_deleting_a_vm_that_works_for_somebody_else(use: Callable[[Any, str, Any], None]) -> None:
    real = machine_jobs._use

    def claimed_on_the_same_vm() -> bool:
        world = crashes.run(crashes.two_jobs_on_one_vm, Faults())
        return world.job("m-2").attempt == 1 and world.job("m-2").machines.worker == world.job("m-1").machines.worker

    assert claimed_on_the_same_vm()

    def no_use(context: Context, job: Job, ref: Any) -> Use:
        found = real(context, job, ref)
        return Use.NOTHING if found in (Use.OTHERS, Use.WAITING) else found

    use(machine_jobs, "_use", no_use)

    assert not claimed_on_the_same_vm()


def test_counting_a_preemption_as_the_jobs_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Reason.budget.fget
    assert real is not None
    monkeypatch.setattr(Reason, "budget", property(lambda reason: real(reason) and Budget.ERRORS))

    expect_violation("10")


def test_never_reading_the_record_again(use: Callable[[Any, str, Any], None]) -> None:
    """A worker learns of a stop at its next beat."""
    assert _seconds_until_stopped() < 90

    use(agents.Agent, "_check_record", lambda self, work: None)

    assert _seconds_until_stopped() > 300


def test_not_looking_for_vms_that_came_late(use: Callable[[Any, str, Any], None]) -> None:
    """A create that timed out, a job that was stopped meanwhile, and a VM whose agent never comes up."""

    def left_behind() -> int:
        world = World()
        world.fleet.late_by = 300.0
        world.start_machine()
        world.deliver(world.inbox[0])
        world.stop("m-1")
        world.deliver(world.inbox[-1])
        world.inbox.clear()
        world.tick()
        for _ in range(10):
            world.pass_time(60)
            for machine in world.fleet.machines:
                machine.paused = True
            world.tick()
        return len(world.fleet.machines)

    assert left_behind() == 0

    use(on_tick, "end_orphans", lambda context: 0)

    with pytest.raises(Violation, match=r"^5:"):
        left_behind()


def _seconds_until_claimed_by_the_other() -> float:
    world = World()
    for number in (1, 2):
        world.start_machine(f"m-{number}", keep_alive_s=1800)
    while len(world.jobs()) < 2 or not all(job.state.is_terminal for job in world.jobs()):
        world.pass_time(5)
        for message in list(world.inbox):
            world.deliver(message)
    world.publisher.queue.clear()
    world.start_machine("m-3")
    world.deliver(world.inbox[0])
    assert [each.job_id for each in world.publisher.queue] == ["m-3"]  # one message, two warm VMs
    started = world.time
    world.faults.at, world.faults.how, world.faults.only = world.faults.count, Killed, "before write claims/"
    while world.time < started + 900:
        world.pass_time(5)
        if world.context.jobs.claim("m-3", 1) is not None:
            break
    return world.time - started


def _seconds_until_stopped() -> float:
    world = World()
    crashes.a_stop_while_it_runs(world)
    started = world.time
    while world.time < started + 900 and not world.job("m-1").state.is_terminal:
        world.pass_time(5)
        for message in list(world.inbox):
            world.deliver(message)
        if (world.time - started) % 60 == 0:
            world.tick()
    return world.time - started
