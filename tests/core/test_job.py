from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.core.job_factories import (
    EXECUTION,
    FAILURE,
    LIMITS,
    NOW,
    RESULT,
    a_beat,
    a_job,
    a_last_beat,
    every_event,
    stop_requested,
    submitted,
)
from zeroidle.contracts.messages import Heartbeat, Limits
from zeroidle.contracts.records import ExitClass, Job, Reason, State
from zeroidle.contracts.services import ErrorBody, Stage
from zeroidle.core import events, transitions
from zeroidle.core import job as jobs
from zeroidle.core.job import advance, begin

Q, P, R, G = State.QUEUED, State.PROVISIONING, State.RUNNING, State.STOPPING
OK, NO, ST = State.SUCCEEDED, State.FAILED, State.STOPPED
LATE = NOW + 10**6

# Row: the event; columns: where a job that may not be tried again goes from QUEUED, PROVISIONING, RUNNING, STOPPING.
TABLE = {
    "Submitted": (Q, P, R, G),
    "StopRequested": (ST, G, G, G),
    "DeadlinePassed": (NO, P, G, ST),
    "StartRefused": (NO, NO, R, ST),
    "ExecutionAsked": (P, P, R, G),
    "ExecutionCreated": (Q, P, R, G),
    "ExecutionClaimed": (Q, R, R, G),
    "Beat RUNNING": (Q, R, R, G),
    "Beat SUCCEEDED": (Q, OK, OK, OK),
    "Beat FAILED": (Q, NO, NO, NO),
    "Beat STOPPED": (Q, NO, NO, ST),
    "ExecutionSucceeded": (OK, OK, OK, OK),
    "ExecutionFailed": (NO, NO, NO, NO),
    "ExecutionCancelled": (NO, NO, NO, ST),
    "AttemptClosed": (Q, NO, R, ST),
}


def name_of(event: events.Event) -> str:
    status = f" {event.heartbeat.status}" if isinstance(event, events.Beat) else ""
    return type(event).__name__ + status


ONCE = Limits(max_runtime_s=3600, provision_timeout_s=300, max_errors=0, max_interruptions=0)
CELLS = [
    pytest.param(state, event, TABLE[name_of(event)][column], id=f"{state}-{name_of(event)}")
    for event in every_event()
    for column, state in enumerate((Q, P, R, G))
]


@pytest.mark.parametrize(("state", "event", "expected"), CELLS)
def test_every_event_in_every_state_leads_where_the_table_says(
    state: State, event: events.Event, expected: State
) -> None:
    job = advance(a_job(state, limits=ONCE), event, LATE)

    assert job.state is expected
    assert job.state.is_terminal == (job.deadline_at is None) == (job.finished_at is not None)


@pytest.mark.parametrize("state", [OK, NO, ST])
@pytest.mark.parametrize("event", every_event(), ids=name_of)
def test_a_terminal_job_absorbs_everything(state: State, event: events.Event) -> None:
    job = a_job(state)

    assert advance(job, event, LATE) is job


@pytest.mark.parametrize("state", [Q, P, R, G])
@pytest.mark.parametrize("attempt", [1, 3], ids=["older", "unknown"])
@pytest.mark.parametrize("event", every_event()[3:], ids=name_of)
def test_what_belongs_to_another_attempt_changes_nothing(state: State, event: events.Event, attempt: int) -> None:
    job = a_job(state, attempt=attempt + 1 if attempt == 1 else 2)
    other = next(e for e in every_event(attempt)[3:] if name_of(e) == name_of(event))

    assert advance(job, other, NOW + 30) is job


@pytest.mark.parametrize("state", [Q, P, R, G])
@pytest.mark.parametrize("event", every_event(), ids=name_of)
def test_an_event_that_comes_twice_changes_nothing_more(state: State, event: events.Event) -> None:
    once = advance(a_job(state), event, NOW + 30)

    assert advance(once, event, NOW + 30) == once


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=6), st.sampled_from(["SUCCEEDED", "FAILED"]))
def test_beats_in_any_order_and_number_end_in_the_same_record(order: list[int], again: list[int], status: str) -> None:
    beats = [a_beat(seq, message=f"{seq}") for seq in range(1, 6)] + [a_last_beat(status)]

    assert after(order + again, beats) == after(list(range(6)), beats)


@given(st.permutations(range(5)), st.lists(st.integers(0, 4), max_size=6))
def test_beats_without_a_last_one_show_the_newest(order: list[int], again: list[int]) -> None:
    beats = [a_beat(seq, message=f"{seq}") for seq in range(1, 6)]
    job = after(order + again, beats)

    assert job == after([0, 1, 2, 3, 4], beats)
    assert (job.message, job.state) == ("5", R)


@given(st.permutations(range(5)), st.lists(st.integers(0, 4), max_size=6))
def test_a_stop_among_the_beats_of_a_job_that_ends_leaves_no_trace(order: list[int], again: list[int]) -> None:
    told: list[events.Event] = [events.Beat(a_beat(seq)) for seq in (1, 2, 3)]
    told += [events.Beat(a_last_beat("FAILED")), stop_requested()]

    assert played(order + again, told) == played([0, 1, 2, 3], told)


@given(st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=6))
def test_a_stop_among_beats_ends_the_same_in_any_order(order: list[int], again: list[int]) -> None:
    told: list[events.Event] = [events.Beat(a_beat(seq)) for seq in (1, 2, 3)] + [stop_requested()]

    def ended(order: list[int]) -> Job:
        return advance(played(order, told), events.ExecutionCancelled(1, EXECUTION, NOW + 40), NOW + 50)

    assert ended(order + again) == ended([0, 1, 2, 3])
    assert ended(order).state is ST


@given(st.lists(st.sampled_from(every_event()), max_size=8))
def test_a_stop_before_its_start_holds_whatever_follows(events: list[events.Event]) -> None:
    tombstone = begin(stop_requested())
    job = tombstone
    for event in events:
        job = advance(job, event, LATE)

    assert job == tombstone
    assert (job.state, job.attempt, job.run) == (ST, 0, None)


@given(st.lists(st.sampled_from([*every_event(1), *every_event(2)]), max_size=12))
def test_whatever_happens_a_job_has_a_deadline_until_it_has_an_end(events: list[events.Event]) -> None:
    job, seen = begin(submitted()), []
    for number, event in enumerate(events):
        job = advance(job, event, NOW + number)
        seen.append(job)
        assert (job.deadline_at is None) == job.state.is_terminal == (job.finished_at is not None)
        assert (job.failure is not None) == (job.state is NO)
        assert job.interruptions_used <= LIMITS.max_interruptions
        assert job.errors_used <= LIMITS.max_errors
    assert all(a.attempt <= b.attempt for a, b in itertools.pairwise(seen))


def test_a_lost_attempt_goes_back_to_the_queue_with_its_story() -> None:
    job = advance(a_job(R), events.ExecutionCancelled(1, EXECUTION, NOW + 40), NOW + 50)

    assert (job.state, job.reason, job.attempt, job.interruptions_used) == (Q, Reason.EXECUTION_LOST, 2, 1)
    assert (job.execution, job.stages, job.started_at) == (None, [], None)
    assert [(past.number, past.execution, past.ended_at) for past in job.history] == [(1, EXECUTION, NOW + 40)]


def test_an_attempt_lost_beyond_the_budget_fails_the_job() -> None:
    job = advance(a_job(R, interruptions_used=1), events.ExecutionCancelled(1, EXECUTION, NOW + 40), NOW + 50)

    assert (job.state, job.reason, job.errors_used) == (NO, Reason.EXECUTION_LOST, 0)
    assert job.failure is not None
    assert "execution of attempt 1" in job.failure.message


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("INVALID_INPUT", Reason.USER_ERROR),
        ("MISSING_OBJECT", Reason.USER_ERROR),
        ("HTTP_422", Reason.USER_ERROR),
        ("UNAVAILABLE", Reason.SERVICE_ERROR),
        ("WORKFLOW_ERROR", Reason.SERVICE_ERROR),
        ("HTTP_503", Reason.SERVICE_ERROR),
    ],
)
def test_a_failure_is_blamed_on_the_input_or_on_the_platform(code: str, reason: Reason) -> None:
    assert jobs.reason_of(ErrorBody(code=code, message="")) is reason


def test_only_failures_of_the_platform_are_tried_again() -> None:
    limits = Limits(max_runtime_s=3600, provision_timeout_s=300, max_errors=1, max_interruptions=0)
    job = a_job(R, limits=limits)

    theirs = advance(job, events.Beat(a_last_beat("FAILED")), NOW + 30)
    ours = advance(job, events.Beat(a_last_beat("FAILED", failure=replace(FAILURE, code="UNAVAILABLE"))), NOW + 30)

    assert theirs.state is NO
    assert (ours.state, ours.attempt, ours.errors_used) == (Q, 2, 1)


def test_a_job_that_runs_too_long_is_stopped_and_has_failed() -> None:
    running = a_job(R)
    assert running.deadline_at == NOW + 1 + LIMITS.max_runtime_s

    stopping = advance(running, events.DeadlinePassed(), running.deadline_at)
    ended = advance(stopping, events.ExecutionCancelled(1, EXECUTION, NOW + 4000), NOW + 4001)

    assert (stopping.state, stopping.reason) == (G, Reason.TIMEOUT)
    assert (ended.state, ended.reason, ended.finished_at) == (NO, Reason.TIMEOUT, NOW + 4000)
    assert ended.failure is not None
    assert "3600" in ended.failure.message


def test_a_deadline_that_has_not_come_changes_nothing() -> None:
    job = a_job(R)

    assert advance(job, events.DeadlinePassed(), NOW + 2) is job


def test_a_job_that_costs_too_much_is_stopped_and_has_failed() -> None:
    dear = a_beat(9, stages=[Stage(name="inference", started_at=NOW, busy_s=101.0)])

    stopping = advance(a_job(R), events.Beat(dear), NOW + 9)
    ended = advance(stopping, events.ExecutionCancelled(1, EXECUTION, NOW + 20), NOW + 21)

    assert stopping.cost_usd == pytest.approx(1.01)
    assert (ended.state, ended.reason) == (NO, Reason.BUDGET)


def test_a_result_published_while_stopping_counts() -> None:
    job = advance(a_job(G), events.Beat(a_last_beat("SUCCEEDED")), NOW + 30)

    assert (job.state, job.result, job.reason, job.stop) == (OK, RESULT, None, None)


def test_times_are_those_of_the_sender() -> None:
    job = advance(a_job(R), events.Beat(a_last_beat("SUCCEEDED")), LATE)

    assert (job.created_at, job.started_at, job.finished_at) == (NOW, NOW + 1, NOW + 20)


def test_the_history_is_bounded() -> None:
    limits = Limits(max_runtime_s=3600, provision_timeout_s=300, max_errors=0, max_interruptions=100)
    job = begin(submitted(limits=limits))
    for number in range(1, 60):
        job = advance(job, events.ExecutionAsked(number), NOW)
        job = advance(job, events.AttemptClosed(number, NOW), NOW)

    assert (job.attempt, len(job.history), job.history[-1].number) == (60, transitions.HISTORY, 59)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_knows_what_follows_from_it(reason: Reason) -> None:
    assert reason.is_retryable == (reason.budget is not None)
    assert reason.final_state.is_terminal
    assert (reason.exit_class is ExitClass.STOPPED) == (reason.final_state is ST)
    assert reason.advice.endswith(".")


def after(order: list[int], beats: list[Heartbeat]) -> Job:
    return played(order, [events.Beat(beat) for beat in beats])


def played(order: list[int], events: list[events.Event]) -> Job:
    job = a_job(P)
    for index in order:
        job = advance(job, events[index], NOW + 30)
    return job
