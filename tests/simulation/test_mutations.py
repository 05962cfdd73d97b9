"""Would the simulation notice a broken design? Each test breaks one rule on purpose and expects a violation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from tests.simulation import sim_world, test_crash_points, test_schedules
from tests.simulation.sim_cloud import Faults
from tests.simulation.sim_world import Violation, World
from zeroidle.contracts.records import Budget, Job, Reason, State
from zeroidle.contracts.services import ObjectRef
from zeroidle.core import converge as planning
from zeroidle.core import events
from zeroidle.core import job as jobs
from zeroidle.core.converge import ExecutionState, ExecutionView, Observed, Record, RemoveMarker
from zeroidle.errors import TemporaryError
from zeroidle.handlers import converge, on_job_start, on_job_stop, on_upload, records, workflow_jobs
from zeroidle.handlers.context import Context, Outcome

HISTORIES = 150
real_advance = jobs.advance


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a broken part in place of the real one, wherever it is used."""

    def put(name: str, broken: Any, *modules: Any) -> None:
        for module in modules:
            monkeypatch.setattr(module, name, broken)

    return put


def all_histories() -> Iterator[World]:
    """Everything the other modules of this folder play."""
    for seed in range(HISTORIES):
        yield test_schedules.play(seed)
    for scenario in test_crash_points.SCENARIOS:
        for point in range(40):
            yield test_crash_points.run(scenario, "good", Faults(at=point))


def expect_violation(number: str) -> None:
    with pytest.raises(Violation, match=rf"^{number}:"):
        for _ in all_histories():
            pass


def test_asking_for_an_execution_before_writing_it_down(use: Callable[..., None]) -> None:
    def submit(context: Context, event: events.Submitted, refusal: events.StartRefused | None = None) -> Outcome:
        workflow_jobs._create(context, jobs.begin(event))
        return converge.submit(context, event, refusal)

    use("submit", submit, on_upload, on_job_start)

    expect_violation("4")


def test_writing_the_marker_after_the_record(use: Callable[..., None]) -> None:
    def submit(context: Context, event: events.Submitted, refusal: events.StartRefused | None = None) -> Outcome:
        context.jobs.create(jobs.begin(event))
        context.jobs.mark(event.job_id)
        return converge.submit(context, event, refusal)

    use("submit", submit, on_upload, on_job_start)

    expect_violation("6")


def test_taking_messages_of_older_attempts(use: Callable[..., None]) -> None:
    def advance(job: Job, event: events.Event, now: float) -> Job:
        if isinstance(event, events.Beat):
            event = events.Beat(replace(event.heartbeat, attempt=max(job.attempt, 1)))
        return real_advance(job, event, now)

    use("advance", advance, converge, records)

    expect_violation("2")


def test_letting_every_execution_of_an_attempt_run(use: Callable[..., None]) -> None:
    real = sim_world._claims

    def claims(world: World, execution: Any) -> bool:
        if real(world, execution):
            return True
        execution.state = ExecutionState.ACTIVE
        world.note_working(execution)
        return True

    use("_claims", claims, sim_world)

    expect_violation("2")


def test_giving_an_attempt_up_without_closing_it(use: Callable[..., None]) -> None:
    real = planning._provisioning

    def provisioning(job: Job, observed: Observed, now: float) -> Any:
        if observed.claim is None and planning.is_late(job, now):
            return (Record(events.AttemptClosed(job.attempt, now)),)
        return real(job, observed, now)

    use("_provisioning", provisioning, planning)

    expect_violation("2")


def test_changing_a_job_that_has_ended(use: Callable[..., None]) -> None:
    def advance(job: Job, event: events.Event, now: float) -> Job:
        late = isinstance(event, events.Beat) and event.attempt == job.attempt
        if job.state.is_terminal and late and job.limits is not None:
            return real_advance(replace(job, state=State.RUNNING, last_beat=None), event, now)
        return real_advance(job, event, now)

    use("advance", advance, converge, records)

    expect_violation("3")


def test_running_again_while_stopping(use: Callable[..., None]) -> None:
    real = jobs._still_running

    def still_running(job: Job, now: float) -> Job:
        return real(replace(job, state=State.RUNNING) if job.state is State.STOPPING else job, now)

    use("_still_running", still_running, jobs)

    expect_violation("3")


def test_forgetting_a_stop_that_comes_before_its_start(use: Callable[..., None]) -> None:
    use("_never_start", lambda context, event: Outcome.DUPLICATE, on_job_stop)

    expect_violation("3")


def test_removing_the_marker_as_soon_as_a_job_has_ended(use: Callable[..., None]) -> None:
    use("_terminal", lambda job, observed, now: (RemoveMarker(),), planning)

    expect_violation("6")


def test_taking_no_answer_for_an_end(use: Callable[..., None]) -> None:
    real = workflow_jobs._view

    def view(context: Context, job: Job, name: str | None) -> ExecutionView | None:
        found = real(context, job, name)
        unknown = found is not None and found.state is ExecutionState.UNKNOWN and job.state is State.RUNNING
        return ExecutionView(found.name, ExecutionState.CANCELLED) if found is not None and unknown else found

    use("_view", view, workflow_jobs)

    expect_violation("8")


def test_starting_the_next_attempt_while_the_last_one_still_runs(use: Callable[..., None]) -> None:
    use("_cancel", lambda view: (), planning)

    expect_violation("(6|liveness)")


def test_counting_a_loss_as_the_jobs_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Reason.budget.fget
    assert real is not None
    monkeypatch.setattr(Reason, "budget", property(lambda reason: real(reason) and Budget.ERRORS))

    expect_violation("10")


def test_publishing_whatever_the_ledger_says(use: Callable[..., None]) -> None:
    def publish(world: World, execution: Any) -> bool:
        output = execution.argument["output"]
        world.objects.write(ObjectRef(bucket=output["bucket"], name=f"{output['prefix']}/summary.json"), b"{}")
        world.note_published(execution)
        return True

    real = sim_world._claims

    def claims(world: World, execution: Any) -> bool:
        real(world, execution)
        execution.state = ExecutionState.ACTIVE
        return True

    use("_publish", publish, sim_world)
    use("_claims", claims, sim_world)

    expect_violation("9")


def test_losing_an_event_that_cannot_be_handled_now(monkeypatch: pytest.MonkeyPatch) -> None:
    real = World._handle

    def handle(world: World, message: Any) -> None:
        try:
            real(world, message)
        except TemporaryError:
            return

    monkeypatch.setattr(World, "_handle", handle)

    expect_violation("12")
