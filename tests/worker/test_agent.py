"""The agent, a step at a time."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.worker.vm import REF, START, WORKER, Assigned, Vm, always, once
from worker.agent import BEAT_S, FIRST_JOB_S, GRACE_S, LAST_TRIES, MARGIN_S, PREEMPTED_GRACE_S
from worker.ports import Output, Published
from zeroidle.contracts.messages import Progress
from zeroidle.contracts.records import State
from zeroidle.errors import PermanentError, TemporaryError


@pytest.fixture
def vm() -> Vm:
    return Vm()


class TestClaiming:
    def test_it_says_what_it_will_do_then_claims_and_only_then_settles(self, vm: Vm) -> None:
        assigned = vm.a_job()
        seen: list[tuple[str, bool, bool, str | None]] = []

        def look(point: str) -> None:
            report = vm.report()
            reported = report is not None and report.job_id == "job-1"
            seen.append((point, reported, vm.claimed_by() is not None, assigned.became))

        vm.fails = look  # type: ignore[assignment]  # it fails nothing
        vm.agent.step()  # its own job is gone
        vm.agent.step()

        assert [each for each in seen if each[0].split()[1] in ("report", "claim")][-4:] == [
            ("before report", False, False, None),
            ("after report", True, False, None),
            ("before claim", True, False, None),
            ("after claim", True, True, None),
        ]
        assert assigned.became == "settled"
        assert vm.claimed_by() == WORKER

    @pytest.mark.parametrize(
        "change",
        [
            {"attempt": 2},
            {"state": State.RUNNING},
            {"state": State.STOPPING},
            {"state": State.STOPPED},
            {"state": State.SUCCEEDED},
        ],
        ids=str,
    )
    def test_a_stale_assignment_is_dropped(self, vm: Vm, change: dict[str, object]) -> None:
        assigned = vm.a_job()
        vm.change(**change)

        vm.run(1)

        assert (assigned.became, vm.claimed_by(), vm.containers) == ("settled", None, [])

    def test_an_assignment_of_no_job_is_dropped(self, vm: Vm) -> None:
        assigned = Assigned("nobody")
        vm.inbox.append(assigned)

        vm.run(1)

        assert (assigned.became, vm.containers) == ("settled", [])

    def test_an_assignment_of_another_way_of_buying_is_dropped(self, vm: Vm) -> None:
        assigned = vm.a_job(spot=True)

        vm.run(1)

        assert (assigned.became, vm.claimed_by(), vm.containers) == ("settled", None, [])

    def test_an_attempt_that_another_worker_has_is_dropped_and_it_waits_on(self, vm: Vm) -> None:
        assigned = vm.a_job()
        vm.jobs.take("job-1", 1, replace(WORKER, boot_id="another"))

        vm.run(1)

        assert (assigned.became, vm.containers) == ("settled", [])
        report = vm.report()
        assert report is not None
        assert (report.job_id, report.idle_until) == (None, vm.time - 1 + FIRST_JOB_S)

    def test_a_vm_without_an_entry_gives_the_assignment_back_and_leaves(self, vm: Vm) -> None:
        assigned = vm.a_job()
        vm.vms.remove(REF)

        vm.run(5)

        assert (assigned.became, vm.claimed_by(), vm.containers) == ("given back", None, [])
        assert (vm.closed, vm.deleted) == (True, True)

    def test_the_job_that_its_vm_was_asked_for_comes_before_another_ones(self, vm: Vm) -> None:
        other = vm.a_job("job-2")
        vm.a_job("job-0")
        vm.run(2)

        assert (vm.claimed_by("job-0"), vm.claimed_by("job-2"), other.became) == (WORKER, None, None)

    def test_that_job_is_claimed_although_its_message_does_not_come(self, vm: Vm) -> None:
        vm.a_job("job-0")
        vm.inbox.clear()
        vm.run(1)

        assert vm.claimed_by("job-0") == WORKER

    def test_an_attempt_that_it_has_run_is_not_run_again_though_its_record_does_not_know_yet(self, vm: Vm) -> None:
        own = vm.a_job("job-0", keep_alive_s=600)
        vm.run(2)
        vm.containers[0].code = 0
        vm.run(5)

        assert (own.became, len(vm.containers)) == ("settled", 1)

    def test_another_ones_job_is_taken_once_its_own_has_a_worker(self, vm: Vm) -> None:
        other = vm.a_job("job-2")
        vm.a_job("job-0")
        vm.jobs.take("job-0", 1, replace(WORKER, boot_id="another"))
        vm.run(1)

        assert (other.became, vm.claimed_by("job-2")) == ("settled", WORKER)

    def test_a_vm_that_leaves_drops_what_is_stale_and_gives_back_what_waits(self, vm: Vm) -> None:
        vm.a_job("job-0")
        vm.run(2)
        stale, other = Assigned("nobody"), vm.a_job("job-2")
        vm.inbox[:] = [stale, other]
        vm.containers[0].code = 0
        vm.run(5)

        assert (stale.became, other.became, vm.deleted) == ("settled", "given back", True)

    def test_a_claim_whose_answer_was_lost_is_kept(self, vm: Vm) -> None:
        assigned = vm.a_job()
        lost = iter([TemporaryError("no answer")])

        vm.fails = lambda point: next(lost, None) if point == "after claim" else None
        vm.run(3)

        assert (assigned.became, len(vm.containers)) == ("settled", 1)

    @pytest.mark.parametrize(
        "error", [PermanentError("no such image", code="NO_IMAGE"), OSError("no space left")], ids=str
    )
    def test_what_cannot_be_started_is_a_failed_attempt_that_says_why(self, vm: Vm, error: Exception) -> None:
        vm.a_job()
        vm.refuses = error

        vm.run(2)

        assert vm.statuses() == ["FAILED"]
        assert vm.beats[0].failure is not None
        assert str(error) in vm.beats[0].failure.message


class TestWorking:
    def test_it_beats_every_15_seconds_with_all_so_far(self, vm: Vm) -> None:
        container = vm.running()
        container.says = [Output(Progress(done=3, unit="steps"), "half way")]

        vm.run(4 * BEAT_S)

        assert vm.statuses() == ["RUNNING"] * 5
        assert [beat.seq for beat in vm.beats] == [1, 2, 3, 4, 5]
        assert {beat.worker for beat in vm.beats} == {WORKER}
        assert [(b.progress and b.progress.done, b.message) for b in vm.beats[1:]] == [(3, "half way")] * 4

    def test_success_is_told_after_its_files_are_there(self, vm: Vm) -> None:
        container = vm.running()
        container.code = 0

        vm.run(2)

        last = vm.beats[-1]
        assert (last.status, last.exit_code, last.result and last.result.files) == ("SUCCEEDED", 0, 2)
        assert vm.calls.index("after publish") < vm.calls.index("before say_last")
        assert container.discarded
        assert vm.jobs.last_word("job-1", 1) == last

    def test_while_many_files_go_up_it_beats_on(self, vm: Vm) -> None:
        container = vm.running()
        container.code = 0
        slow = [None] * 60
        container.publishes = [*slow, Published(60)]

        def a_second_passes(point: str) -> None:
            vm.time += point == "before publish"

        vm.fails = a_second_passes  # type: ignore[assignment]  # it fails nothing
        vm.run(62)

        assert vm.statuses() == ["RUNNING"] * 5 + ["SUCCEEDED"]
        assert vm.beats[-1].result is not None
        assert vm.beats[-1].result.files == 60

    def test_an_attempt_that_is_fenced_while_its_files_go_up_says_nothing(self, vm: Vm) -> None:
        container = vm.running()
        container.code = 0
        container.publishes = [None] * 1000

        def a_second_passes(point: str) -> None:
            vm.time += point == "before publish"

        vm.fails = a_second_passes  # type: ignore[assignment]  # it fails nothing
        vm.run(2)
        vm.change(attempt=2)
        vm.run(BEAT_S + 5)

        assert vm.statuses() == ["RUNNING"]
        assert vm.jobs.last_word("job-1", 1) is None
        assert (container.discarded, vm.deleted) == (True, True)

    def test_files_that_could_not_be_kept_are_no_success(self, vm: Vm) -> None:
        container = vm.running()
        container.code = 0
        container.publishes = [Published(9, left_out=3)]

        vm.run(2)

        last = vm.beats[-1]
        assert (last.status, last.exit_code, last.failure and last.failure.code) == ("FAILED", 0, "FILES_NOT_KEPT")
        assert last.failure is not None
        assert last.failure.message == "3 of 12 files in the output folder could not be kept"

    def test_an_exit_code_is_a_failure(self, vm: Vm) -> None:
        vm.running().code = 3

        vm.run(2)

        last = vm.beats[-1]
        assert (last.status, last.exit_code, last.failure and last.failure.code) == ("FAILED", 3, "EXIT_CODE")

    def test_a_stop_is_polite_at_first(self, vm: Vm) -> None:
        container = vm.running()
        container.heeds = False
        vm.change(state=State.STOPPING)

        vm.run(BEAT_S + GRACE_S - 4)
        assert container.signals == ["TERM"]
        vm.run(6)

        assert container.signals[:2] == ["TERM", "KILL"]
        assert (vm.statuses()[-1], container.published) == ("STOPPED", 1)
        assert vm.deleted

    def test_preemption_leaves_time_for_the_files(self, vm: Vm) -> None:
        container = vm.running()
        container.heeds = False
        vm.preempted = True

        vm.run(PREEMPTED_GRACE_S + 3)

        assert container.signals == ["TERM", "KILL"]
        assert (vm.statuses()[-1], container.published, vm.deleted) == ("PREEMPTED", 1, True)

    def test_a_vm_that_is_told_to_end_says_so_and_takes_nothing_more(self, vm: Vm) -> None:
        container = vm.running()
        vm.agent.end()
        vm.run(1)
        other = vm.a_job("job-2")
        vm.run(5)

        assert container.signals == ["TERM"]
        assert (vm.statuses()[-1], vm.deleted, other.became) == ("PREEMPTED", True, None)

    def test_while_storage_is_away_a_preempted_container_is_still_ended(self, vm: Vm) -> None:
        container = vm.running()
        container.heeds = False
        vm.fails = always("output", "load", "say_last", "report", "publish")
        vm.preempted = True

        vm.run(PREEMPTED_GRACE_S + 2)

        assert container.signals == ["TERM", "KILL"]

    @pytest.mark.parametrize(
        "change",
        [{"attempt": 2}, {"state": State.FAILED}, {"state": State.STOPPED}, {"state": State.SUCCEEDED}],
        ids=str,
    )
    def test_a_fenced_attempt_is_killed_and_says_nothing(self, vm: Vm, change: dict[str, object]) -> None:
        container = vm.running()
        before = len(vm.beats)
        container.says = [Output()] * int(BEAT_S) + [Output(reports=[("late", {})])] * 5
        vm.change(**change)

        vm.run(BEAT_S + 5)

        assert container.signals == ["KILL"]
        assert (len(vm.beats), vm.metas, container.published) == (before, [], 0)
        assert vm.jobs.last_word("job-1", 1) is None
        assert (container.discarded, vm.deleted) == (True, True)

    def test_the_last_word_is_in_the_ledger_before_it_is_sent_and_sent_again_until_it_is_out(self, vm: Vm) -> None:
        vm.running().code = 0
        vm.fails = always("beat")

        vm.run(LAST_TRIES / 2)
        word = vm.jobs.last_word("job-1", 1)
        assert word is not None
        assert (word.status, vm.statuses()) == ("SUCCEEDED", ["RUNNING"])
        vm.fails = lambda _: None
        vm.run(2)

        assert vm.beats[-1] == word

    def test_a_last_beat_that_never_gets_out_keeps_no_vm(self, vm: Vm) -> None:
        vm.running().code = 0
        vm.fails = always("beat")

        vm.run(LAST_TRIES + 3)

        assert (vm.statuses(), vm.deleted) == (["RUNNING"], True)
        assert vm.jobs.last_word("job-1", 1) is not None


class TestReports:
    def test_they_are_passed_on_in_order_and_none_is_lost(self, vm: Vm) -> None:
        container = vm.running()
        container.says = [Output(reports=[(f"o{n}", {"n": n}) for n in range(50)])]
        vm.fails = lambda point: TemporaryError("away") if point == "before meta" and vm.time % 2 else None

        vm.run(12)

        assert [(meta.operation, meta.data) for meta in vm.metas] == [(f"o{n}", {"n": n}) for n in range(50)]
        assert {(meta.sender, meta.user_id, meta.attempt) for meta in vm.metas} == {("job", "me", 1)}

    def test_while_they_wait_the_beats_go_on(self, vm: Vm) -> None:
        container = vm.running()
        container.says = [Output(reports=[("o", {})])]
        vm.fails = always("meta")

        vm.run(2 * BEAT_S)

        assert vm.statuses() == ["RUNNING"] * 3

    def test_one_that_is_refused_holds_up_no_other(self, vm: Vm) -> None:
        container = vm.running()
        container.says = [Output(reports=[("bad", {}), ("good", {})])]
        refused = iter([PermanentError("too large")])
        vm.fails = lambda point: next(refused, None) if point == "before meta" else None

        vm.run(2)

        assert [meta.operation for meta in vm.metas] == ["good"]

    def test_those_that_wait_at_the_end_are_all_passed_on_before_it_is_told(self, vm: Vm) -> None:
        container = vm.running()
        container.says = [Output(reports=[("o", {"n": n})], has_more=n < 2) for n in range(3)]
        container.says[0] = Output(reports=[("o", {})] * 500, has_more=True)
        container.code = 0

        vm.run(3)

        assert len(vm.metas) == 502
        assert vm.statuses()[-1] == "SUCCEEDED"


class TestIdle:
    def test_a_vm_without_a_job_leaves(self, vm: Vm) -> None:
        vm.run(FIRST_JOB_S + 5)

        assert (vm.closed, vm.deleted) == (True, True)
        assert vm.time == pytest.approx(START + FIRST_JOB_S - MARGIN_S + 1)

    def test_it_waits_for_the_next_job_as_long_as_the_last_one_allowed(self, vm: Vm) -> None:
        vm.a_job(keep_alive_s=300)
        vm.run(2)
        vm.containers[0].code = 0
        vm.run(200)
        vm.a_job("job-2")
        vm.run(2)
        vm.containers[1].code = 0
        vm.run(2)

        assert [beat.job_id for beat in vm.beats if beat.status == "SUCCEEDED"] == ["job-1", "job-2"]
        assert vm.deleted

    def test_it_takes_nothing_in_the_last_seconds_for_which_its_entry_protects_it(self, vm: Vm) -> None:
        vm.a_job(keep_alive_s=60)
        vm.run(2)
        vm.containers[0].code = 0
        vm.run(2)
        report = vm.report()
        assert report is not None
        assert report.idle_until is not None

        vm.run(60)

        assert report.idle_until - vm.time >= MARGIN_S - 2

    @pytest.mark.parametrize("tell", ["preempted", "told to end"])
    def test_one_that_ends_takes_nothing(self, vm: Vm, tell: str) -> None:
        assigned = vm.a_job()
        vm.preempted = tell == "preempted"
        if tell == "told to end":
            vm.agent.end()

        vm.run(2)

        assert (assigned.became, vm.containers, vm.deleted) == (None, [], True)

    def test_an_assignment_in_hand_goes_back_when_it_leaves(self, vm: Vm) -> None:
        assigned = vm.a_job()
        vm.agent.step()  # its own job is gone
        vm.fails = always("load")
        vm.run(FIRST_JOB_S)

        assert (assigned.became, vm.deleted) == ("given back", True)

    def test_one_that_may_not_delete_itself_takes_nothing_and_tries_on(self, vm: Vm) -> None:
        vm.agent.end()
        vm.fails = always("delete", error=PermanentError)
        for _ in range(3):
            with pytest.raises(PermanentError):
                vm.agent.step()
        assigned = vm.a_job()
        vm.fails = lambda _: None

        vm.run(1)

        assert (vm.deleted, assigned.became) == (True, None)


def a_life(vm: Vm) -> None:
    """One job from its assignment to the end of the VM."""
    vm.a_job()
    for _ in range(300):
        vm.run(1)
        for container in vm.containers:
            if vm.time > START + 3:
                container.says = [Output(Progress(done=1, unit="steps"), reports=[("o", {})])] * (not vm.metas)
            if vm.time > START + 20 and container.code is None:
                container.code = 0
        if vm.agent.is_over:
            return


def test_a_temporary_failure_at_any_call_changes_nothing() -> None:
    whole = Vm()
    a_life(whole)
    assert whole.agent.is_over
    for point in range(len(whole.calls)):
        vm = Vm()
        vm.fails = once(point)
        a_life(vm)

        what = f"{vm.calls[point]}, call {point}"
        assert vm.agent.is_over, what
        assert [container.published >= 1 for container in vm.containers] == [True], what
        assert vm.claimed_by() == WORKER, what
        word = vm.jobs.last_word("job-1", 1)
        assert word is not None, what
        assert word.status == "SUCCEEDED", what
        assert set(vm.statuses()) == {"RUNNING", "SUCCEEDED"}, what
        assert vm.metas, what
        assert vm.deleted, what
