"""What becomes of a job when something happens to its VMs or its worker."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.core.job_factories import NOW
from tests.core.machine_factories import (
    LIMITS,
    SPOT,
    a_machine_beat,
    a_machine_job,
    a_ref,
    a_vm,
    a_worker,
)
from zeroidle.contracts.records import Job, Reason, State
from zeroidle.core import events
from zeroidle.core.job import advance
from zeroidle.core.machine_job import STORY_LINES

LATER = NOW + 90
ASKED = events.VmsAsked(1, (a_vm(),), NOW)
REFUSED = events.VmRefused(1, a_ref(), "STOCKOUT", "no room", LATER, LATER + 120)
CLAIMED = events.WorkerClaimed(1, a_worker(), LATER)
LOST = events.WorkerLost(1, Reason.WORKER_LOST, LATER)
EVENTS = {
    "asked": ASKED,
    "nothing offered": events.NothingOffered(1, Reason.QUOTA),
    "refused": REFUSED,
    "told": events.WorkersTold(1, ("1xl4",), LATER),
    "claimed": CLAIMED,
    "lost": LOST,
}
# The states in which an event of the current attempt changes the state, and to which.
CHANGES = {
    ("asked", State.QUEUED): State.PROVISIONING,
    ("nothing offered", State.PROVISIONING): State.QUEUED,
    ("claimed", State.QUEUED): State.RUNNING,
    ("claimed", State.PROVISIONING): State.RUNNING,
    ("lost", State.RUNNING): State.QUEUED,
    ("lost", State.STOPPING): State.STOPPED,
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", EVENTS)
def test_every_event_in_every_state(name: str, state: State) -> None:
    job = a_machine_job(state)
    after = advance(job, EVENTS[name], LATER)

    assert after.state is CHANGES.get((name, state), state)
    if state.is_terminal:
        assert after == job


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_of_another_attempt_changes_nothing(name: str) -> None:
    job = a_machine_job(State.PROVISIONING)
    of_another = replace(EVENTS[name], attempt=2)

    assert advance(job, of_another, LATER) == job


def test_a_refused_vm_stays_until_it_is_gone_and_stands_in_the_story() -> None:
    job = advance(a_machine_job(State.PROVISIONING), REFUSED, LATER)

    (vm,), (line,) = job.machines.vms, job.machines.story
    assert vm.given_up
    assert (line.region, line.code, line.message, line.next_at) == ("us-central1", "STOCKOUT", "no room", LATER + 120)
    assert advance(job, REFUSED, LATER) == job
    assert advance(job, events.VmGone(a_ref()), LATER).machines.vms == ()


def test_the_story_keeps_its_last_lines() -> None:
    job = a_machine_job(State.QUEUED)
    for n in range(STORY_LINES + 5):
        job = advance(job, events.VmsAsked(1, (a_vm(a_ref(f"vm-{n}")),), NOW), NOW)
        job = advance(job, events.VmRefused(1, a_ref(f"vm-{n}"), f"C{n}", "", NOW), NOW)

    assert [line.code for line in job.machines.story] == [f"C{n}" for n in range(5, STORY_LINES + 5)]


def test_a_vm_that_is_asked_for_twice_is_one() -> None:
    assert len(advance(a_machine_job(State.PROVISIONING), ASKED, LATER).machines.vms) == 1


def test_a_claim_starts_the_time_of_the_attempt() -> None:
    job = advance(a_machine_job(State.PROVISIONING), CLAIMED, LATER)

    assert (job.started_at, job.deadline_at) == (LATER, LATER + LIMITS.max_runtime_s)
    assert (job.machines.worker, job.machines.story[-1].code) == (a_worker(), "CLAIMED")
    assert advance(job, replace(CLAIMED, at=LATER + 5), LATER + 5) == job


def test_a_beat_that_is_faster_than_its_claim_starts_it_too() -> None:
    job = advance(a_machine_job(State.PROVISIONING), events.Beat(a_machine_beat()), LATER)

    assert (job.state, job.machines.worker, job.machines.claimed_at) == (State.RUNNING, a_worker(), LATER)


def test_a_vm_costs_from_its_claim_on_by_our_clock() -> None:
    job = a_machine_job(State.RUNNING)
    beat = a_machine_beat(sent_at=1.0)

    assert advance(job, events.Beat(beat), NOW + 60 + 1800).cost_usd == 0.5


@pytest.mark.parametrize(("how", "reason"), [(SPOT, Reason.PREEMPTED), (a_ref().provisioning, Reason.WORKER_LOST)])
def test_a_lost_worker_uses_the_budget_of_interruptions_alone(how: object, reason: Reason) -> None:
    job = advance(a_machine_job(), events.WorkerLost(1, reason, LATER), LATER)

    assert (job.state, job.attempt, job.interruptions_used, job.errors_used) == (State.QUEUED, 2, 1, 0)
    assert [past.reason for past in job.history] == [reason]


def test_an_exit_code_uses_the_budget_of_errors_until_it_is_used_up() -> None:
    job = advance(a_machine_job(), events.Beat(a_machine_beat(2, "FAILED")), LATER)
    assert (job.state, job.attempt, job.errors_used, job.interruptions_used) == (State.QUEUED, 2, 1, 0)

    again = advance(job, events.VmsAsked(2, (a_vm(attempt=2),), LATER), LATER)
    ended = advance(again, events.Beat(a_machine_beat(1, "FAILED", attempt=2)), LATER + 60)

    assert (ended.state, ended.reason, ended.machines.exit_code) == (State.FAILED, Reason.JOB_ERROR, 3)


def test_a_polite_end_of_a_stop_is_a_stopped_job() -> None:
    stopped = advance(a_machine_job(State.STOPPING), events.Beat(a_machine_beat(2, "STOPPED", exit_code=0)), LATER)

    assert (stopped.state, stopped.reason) == (State.STOPPED, Reason.STOP_REQUESTED)


def test_the_next_attempt_waits_with_nothing_of_the_last_but_its_vms() -> None:
    job: Job = advance(a_machine_job(), LOST, LATER)

    assert [vm.ref for vm in job.machines.vms] == [a_ref()]
    assert (job.machines.worker, job.machines.claimed_at, job.machines.told) == (None, None, ())


def test_a_vm_is_not_asked_for_beside_one_that_is_hoped_for() -> None:
    job = advance(a_machine_job(State.QUEUED), events.VmsAsked(1, (a_vm(a_ref("first")),), NOW), NOW)

    assert advance(job, events.VmsAsked(1, (a_vm(a_ref("second")),), NOW), NOW) == job
