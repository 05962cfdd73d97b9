"""The plan as a table: what is done in each state at each sight."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from tests.core.job_factories import NOW
from tests.core.machine_factories import (
    CATALOG,
    LIMITS,
    a_machine_beat,
    a_machine_job,
    a_ref,
    a_sight,
    a_vm,
    a_worker,
    an_entry,
    seen,
)
from zeroidle.contracts.machines import Provisioning, Vm, VmRef
from zeroidle.contracts.records import Job, Reason, State
from zeroidle.core import events
from zeroidle.core.capacity import Block
from zeroidle.core.claims import Claim, CloseAttempt, Record, RemoveMarker
from zeroidle.core.machines import (
    BEAT_MISSED_S,
    COMES_UP_WITHIN_S,
    END_GRACE_S,
    LATE_CREATE_S,
    LOST_AFTER_S,
    REFUSED_WITHIN_S,
    WARM_GRACE_S,
    AskVm,
    DeleteVm,
    ForgetVm,
    GiveUpVm,
    Observed,
    TellWorkers,
    Use,
    VmState,
    first_event,
    is_silent,
    may_be_refused,
    plan,
)
from zeroidle.core.placement import Market

WORKER_CLAIM = Claim(worker=a_worker())
CLOSED = Claim()
ALIVE = (VmState.CREATING, VmState.RUNNING)
SOON = NOW + 30
OTHER = a_ref("job-1-a1", "us-east1")


def planned(job: Job, sight: Observed, now: float = SOON) -> tuple[object, ...]:
    return plan(job, sight, CATALOG, now)


def test_every_state_has_an_answer_to_every_sight() -> None:
    claims = (None, CLOSED, WORKER_CLAIM)
    for state, claim, vm, use, now in itertools.product(State, claims, VmState, Use, (SOON, NOW + 10_000)):
        job = a_machine_job(state)
        sight = a_sight(seen(state=vm, use=use), claim=claim)
        for action in planned(job, sight, now):
            assert not (vm is VmState.UNKNOWN and isinstance(action, DeleteVm | GiveUpVm | ForgetVm)), (state, action)
            assert not (use in (Use.OTHERS, Use.WAITING) and isinstance(action, DeleteVm)), (state, action)


@pytest.mark.parametrize(
    ("vm", "state", "now", "expected"),
    [
        (a_vm(), VmState.CREATING, SOON, True),
        (a_vm(), VmState.UNKNOWN, SOON, True),
        (a_vm(), VmState.RUNNING, SOON, False),
        (a_vm(given_up=True), VmState.CREATING, SOON, False),
        (a_vm(attempt=2), VmState.CREATING, SOON, False),
        (a_vm(), VmState.CREATING, NOW + REFUSED_WITHIN_S + 1, False),
        (a_vm(a_ref(how=Provisioning.FLEX_START)), VmState.CREATING, SOON, False),
    ],
    ids=["comes up", "not known", "runs", "given up", "of another attempt", "long ago", "stands in a queue"],
)
def test_another_look_is_worth_while_as_long_as_a_vm_may_be_refused(
    vm: Vm, state: VmState, now: float, expected: bool
) -> None:
    job, sight = a_machine_job(State.PROVISIONING), a_sight(seen(vm, state))

    assert may_be_refused(job, sight, now) is expected
    assert not may_be_refused(job, replace(sight, claim=WORKER_CLAIM), now)
    assert not may_be_refused(a_machine_job(State.RUNNING), sight, now)


class TestUnclaimed:
    def test_a_vm_that_is_not_there_is_asked_for_again_by_its_name(self) -> None:
        assert planned(a_machine_job(State.PROVISIONING), a_sight(seen(state=VmState.GONE))) == (AskVm(a_vm()),)

    @pytest.mark.parametrize("state", [VmState.CREATING, VmState.RUNNING, VmState.ENDING, VmState.UNKNOWN])
    def test_a_vm_that_may_come_up_is_waited_for(self, state: VmState) -> None:
        assert planned(a_machine_job(State.PROVISIONING), a_sight(seen(state=state))) == ()

    @pytest.mark.parametrize("state", [State.QUEUED, State.PROVISIONING])
    def test_a_claim_decides(self, state: State) -> None:
        job = a_machine_job(state)

        assert planned(job, a_sight(claim=WORKER_CLAIM)) == (Record(events.WorkerClaimed(1, a_worker(), SOON)),)
        assert planned(job, a_sight(claim=CLOSED)) == (Record(events.AttemptClosed(1, SOON)),)

    def test_an_error_of_the_cloud_gives_the_vm_up(self) -> None:
        sight = a_sight(seen(state=VmState.CREATING, code="STOCKOUT"))

        given_up, asked = planned(a_machine_job(State.PROVISIONING), sight)

        assert given_up == GiveUpVm(a_vm(), "STOCKOUT", "")
        assert isinstance(asked, Record)
        assert isinstance(asked.event, events.VmsAsked)
        assert [vm.ref.region for vm in asked.event.vms] == ["us-east1"]

    def test_so_does_silence_for_too_long_but_not_in_the_queue_of_flex_start(self) -> None:
        late = NOW + COMES_UP_WITHIN_S + 1
        given_up, _ = planned(a_machine_job(State.PROVISIONING), a_sight(seen(state=VmState.CREATING)), late)
        flex = a_vm(a_ref(how=Provisioning.FLEX_START))

        assert isinstance(given_up, GiveUpVm)
        assert given_up.code == "NO_SIGN_OF_LIFE"
        assert planned(a_machine_job(State.PROVISIONING), a_sight(seen(flex, VmState.CREATING)), late) == ()

    def test_a_vm_that_was_given_up_is_deleted_and_the_next_place_is_asked(self) -> None:
        given_up = a_vm(given_up=True)
        job = a_machine_job(State.PROVISIONING, given_up)
        market = Market((Block("1xl4", "us-central1", "STOCKOUT", NOW, SOON + 1),))
        delete, asked = planned(job, a_sight(seen(given_up, VmState.CREATING), market=market))

        assert delete == DeleteVm(a_ref())
        assert isinstance(asked, Record)
        assert isinstance(asked.event, events.VmsAsked)
        assert [vm.ref.region for vm in asked.event.vms] == ["us-east1"]

    def test_warm_workers_are_told_and_have_their_chance(self) -> None:
        market = Market(entries=(an_entry(idle_until=SOON + 100),))
        job = a_machine_job(State.QUEUED)

        assert first_event(job, CATALOG, market, SOON) is None
        assert planned(job, a_sight(market=market)) == (TellWorkers(1, ("1xl4",)),)
        told = replace(job, machines=replace(job.machines, told=("1xl4",), told_at=SOON))
        assert planned(told, a_sight(market=market), SOON + WARM_GRACE_S - 1) == ()
        (asked,) = planned(told, a_sight(market=market), SOON + WARM_GRACE_S)
        assert isinstance(asked, Record)

    def test_with_nowhere_to_ask_it_says_why(self) -> None:
        full = Market(entries=tuple(an_entry(a_ref(f"v{n}")) for n in range(4)))

        assert planned(a_machine_job(State.QUEUED), a_sight(market=full)) == (
            Record(events.NothingOffered(1, Reason.AT_CAP)),
        )

    def test_too_late_it_is_closed_if_anybody_was_told(self) -> None:
        late = NOW + LIMITS.provision_timeout_s

        assert planned(a_machine_job(State.PROVISIONING), a_sight(), late) == (CloseAttempt(1),)
        assert planned(a_machine_job(State.QUEUED), a_sight(), late) == (Record(events.DeadlinePassed()),)


CLAIMED_AT = NOW + 60
SILENT = CLAIMED_AT + BEAT_MISSED_S + 1
LONG_SILENT = CLAIMED_AT + LOST_AFTER_S + 1


class TestRunning:
    @pytest.mark.parametrize(
        ("vm", "now", "lost"),
        [
            (VmState.RUNNING, SILENT - 2, False),
            (VmState.GONE, SILENT - 2, False),
            (VmState.RUNNING, SILENT, False),
            (VmState.CREATING, SILENT, False),
            (VmState.UNKNOWN, SILENT, False),
            (VmState.GONE, SILENT, True),
            (VmState.ENDING, SILENT, True),
            (VmState.UNKNOWN, LONG_SILENT, False),
            (VmState.RUNNING, LONG_SILENT, True),
        ],
    )
    @pytest.mark.parametrize("state", [State.RUNNING, State.STOPPING])
    def test_a_worker_is_lost_by_silence_and_a_second_sign(
        self, state: State, vm: VmState, now: float, lost: bool
    ) -> None:
        job = a_machine_job(state, deadline_at=NOW + 10**6)
        losses = [each for each in planned(job, a_sight(worker=vm), now) if isinstance(each, Record)]

        assert [type(each.event) for each in losses] == [events.WorkerLost] * lost

    def test_its_last_word_in_the_ledger_decides_before_silence_does(self) -> None:
        word = a_machine_beat(9, "SUCCEEDED")
        sight = a_sight(worker=VmState.GONE, last_word=word)

        assert planned(a_machine_job(), sight, LONG_SILENT) == (Record(events.Beat(word)),)

    def test_vms_that_did_not_get_it_are_deleted_and_its_own_is_left_alone(self) -> None:
        spare = a_vm(OTHER)
        sight = a_sight(seen(), seen(spare), worker=VmState.RUNNING)

        assert planned(a_machine_job(State.RUNNING, a_vm(), spare), sight, CLAIMED_AT + 1) == (DeleteVm(OTHER),)

    def test_its_time_is_up(self) -> None:
        job = a_machine_job()
        assert job.deadline_at is not None
        beat = replace(job, last_beat=None, machines=replace(job.machines, claimed_at=job.deadline_at))

        assert planned(beat, a_sight(worker=VmState.RUNNING), job.deadline_at) == (Record(events.DeadlinePassed()),)

    def test_a_claim_counts_as_a_beat(self) -> None:
        assert not is_silent(a_machine_job(), CLAIMED_AT + BEAT_MISSED_S)
        assert is_silent(a_machine_job(), SILENT)
        assert not is_silent(a_machine_job(State.PROVISIONING), SILENT)


class TestStopping:
    def test_an_unclaimed_attempt_is_closed(self) -> None:
        assert planned(a_machine_job(State.STOPPING), a_sight()) == (CloseAttempt(1),)

    def test_a_claim_that_nobody_recorded_is(self) -> None:
        job = a_machine_job(State.STOPPING)
        unknown = replace(job, machines=replace(job.machines, worker=None, claimed_at=None))

        assert planned(unknown, a_sight(claim=WORKER_CLAIM)) == (Record(events.WorkerClaimed(1, a_worker(), SOON)),)


FINISHED = NOW + 80
AFTER_GRACE = FINISHED + END_GRACE_S


class TestTerminal:
    def test_stopped_before_its_start_nothing_is_left(self) -> None:
        job = replace(a_machine_job(State.STOPPED), attempt=0)

        assert planned(job, a_sight()) == (RemoveMarker(),)

    def test_the_marker_stays_until_the_cloud_says_that_the_vm_is_gone(self) -> None:
        job = a_machine_job(State.SUCCEEDED)
        gone = a_sight(seen(state=VmState.GONE), worker=VmState.GONE)

        for state in VmState:
            assert RemoveMarker() not in planned(job, a_sight(seen(state=state), worker=state), NOW + 81), state
        assert planned(job, gone, NOW + LATE_CREATE_S - 1) == ()
        assert planned(job, gone, NOW + LATE_CREATE_S) == (
            ForgetVm(a_ref()),
            Record(events.VmGone(a_ref())),
            RemoveMarker(),
        )

    @pytest.mark.parametrize(
        ("use", "now", "deleted"),
        [
            (Use.NOTHING, FINISHED + 1, True),
            (Use.OURS, FINISHED + 1, False),  # it may just be ending by itself
            (Use.OURS, AFTER_GRACE, True),
            (Use.OTHERS, AFTER_GRACE, False),
            (Use.WAITING, AFTER_GRACE, False),
        ],
    )
    def test_its_vm_is_deleted_unless_it_is_of_use(self, use: Use, now: float, deleted: bool) -> None:
        job = a_machine_job(State.SUCCEEDED)
        sight = a_sight(seen(use=use), worker=VmState.RUNNING, worker_use=use)

        assert (DeleteVm(a_ref()) in planned(job, sight, now)) is deleted

    def test_a_worker_on_anothers_vm_that_works_on_is_ended(self) -> None:
        job = replace(a_machine_job(State.FAILED), finished_at=FINISHED)
        job = replace(job, machines=replace(job.machines, vms=()))
        borrowed = Claim(worker=a_worker(VmRef(name="warm", cluster="1xl4", region="us-east1")))
        sight = a_sight(worker=VmState.RUNNING, claim=borrowed, worker_use=Use.OURS)

        assert planned(job, sight, FINISHED + 1) == ()
        assert planned(job, sight, AFTER_GRACE) == (DeleteVm(borrowed.worker.vm),)  # type: ignore[union-attr]

    def test_an_attempt_that_nobody_claimed_is_closed_first(self) -> None:
        assert planned(a_machine_job(State.SUCCEEDED), a_sight())[0] == CloseAttempt(1)
