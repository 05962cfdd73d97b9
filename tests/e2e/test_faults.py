"""Whatever fails in between, there is one correct result and nothing left running."""

from __future__ import annotations

import pytest

from localcloud.faults import Fault
from tests.e2e.driver import Driver, eventually, records
from zeroidle.contracts.records import Job, State
from zeroidle_cli.ledger import Ledger

COUNT = 40


def assert_one_correct_result(driver: Driver, job: Job) -> None:
    """Every record once, from one job, whose execution is over and whose marker is gone."""
    assert job.state is State.SUCCEEDED, job.failure
    assert [p["id"] for p in driver.predictions(job)] == [f"r{n}" for n in range(COUNT)]
    assert sorted(driver.output(job)) == ["predictions.jsonl", "predictions.parquet", "report.html", "summary.json"]
    assert job.run is not None
    same_input = [other for other in Ledger(driver.connection).all() if other.run and other.run.input == job.run.input]
    assert [other.job_id for other in same_input] == [job.job_id]
    assert not Ledger(driver.connection).is_active(job.job_id)
    assert not driver.cloud.faults.standing(), "the fault did not happen"
    eventually(driver.cloud.is_idle, "everything is idle")


@pytest.mark.parametrize("when", ["fail", "fail_after"], ids=["before", "after"])
@pytest.mark.parametrize(
    ("call", "resource"),
    [
        pytest.param("storage.objects.insert", "*-jobs/active/*", id="marker"),
        pytest.param("storage.objects.insert", "*-jobs/jobs/*", id="record"),
        pytest.param("workflows.executions.create", "*", id="execution"),
    ],
)
def test_the_function_is_killed_around_each_of_its_effects(driver: Driver, call: str, resource: str, when: str) -> None:
    """SIGKILL while the call is under way; `fail` means its effect never happens, `fail_after` that it does."""
    driver.run("wake-up.jsonl", records(COUNT))
    eventually(driver.cloud.is_idle, "nothing of the wake-up writes any more, so the fault meets the next job")
    killed: list[int] = []
    driver.cloud.faults.on_hit = lambda _: killed.append(driver.kill("on_upload"))
    driver.cloud.faults.add(Fault(call, resource, when))  # type: ignore[arg-type]  # one of the actions
    try:
        job = driver.run(f"killed-{call}-{resource.strip('*-/').replace('/', '-')}-{when}.jsonl", records(COUNT))
    finally:
        driver.cloud.faults.on_hit = None

    assert killed == [1]
    assert_one_correct_result(driver, job)


@pytest.mark.parametrize("when", ["fail", "fail_after"], ids=["before", "after"])
def test_the_function_is_killed_around_its_last_effect(driver: Driver, when: str) -> None:
    """The record's second write, which names the execution; the beats, which write it too, come later here."""
    driver.run("wake-up.jsonl", records(COUNT))
    eventually(driver.cloud.is_idle, "nothing of the wake-up writes any more")
    killed: list[int] = []

    def kill(fault: Fault) -> None:
        if fault.call.startswith("storage"):
            killed.append(driver.kill("on_upload"))

    driver.cloud.faults.on_hit = kill
    driver.cloud.faults.add(Fault("eventarc.events.deliver", "on-job-heartbeat", "delay", delay_s=2, times=2))
    driver.cloud.faults.add(Fault("storage.objects.insert", "*-jobs/jobs/*", when, skip=1))  # type: ignore[arg-type]  # as above
    try:
        job = driver.run(f"killed-last-{when}.jsonl", records(COUNT))
    finally:
        driver.cloud.faults.on_hit = None

    assert killed == [1]
    assert_one_correct_result(driver, job)


@pytest.mark.parametrize("service", ["preprocess", "gpu-inference", "postprocess"])
def test_a_service_instance_is_killed_in_the_middle_of_a_request(driver: Driver, service: str) -> None:
    driver.cloud.faults.add(Fault("run.services.invoke", f"zeroidle-{service}", "kill"))

    job = driver.run(f"killed-{service}.jsonl", records(COUNT))

    assert_one_correct_result(driver, job)


@pytest.mark.parametrize(
    "resource",
    [
        "*-jobs/active/*",
        "*-jobs/jobs/*",
        "*-jobs/claims/*-a1",
        "*-jobs/claims/*-result",
        "*-work/*/manifest.json",
        "*-work/*/predictions/*",
    ],
    ids=["marker", "record", "claim", "result claim", "manifest", "predictions"],
)
def test_storage_commits_and_answers_503(driver: Driver, resource: str) -> None:
    driver.cloud.faults.add(Fault("storage.objects.insert", resource, "fail_after"))

    job = driver.run(f"lost-answer-{resource.strip('*-/').replace('/', '-').replace('*', '')}.jsonl", records(COUNT))

    assert_one_correct_result(driver, job)


@pytest.mark.parametrize("service", ["preprocess", "gpu-inference", "postprocess"])
def test_the_answer_of_a_service_is_lost(driver: Driver, service: str) -> None:
    driver.cloud.faults.add(Fault("run.services.invoke", f"zeroidle-{service}", "fail_after"))

    assert_one_correct_result(driver, driver.run(f"lost-{service}.jsonl", records(COUNT)))


def test_an_upload_event_comes_twice(driver: Driver) -> None:
    driver.cloud.faults.add(Fault("eventarc.events.deliver", "on-upload", "duplicate"))

    assert_one_correct_result(driver, driver.run("twice.jsonl", records(COUNT)))


def test_an_upload_event_is_lost_at_first(driver: Driver) -> None:
    driver.cloud.faults.add(Fault("eventarc.events.deliver", "on-upload", "drop"))
    job_id = driver.upload("dropped.jsonl", records(COUNT))
    eventually(lambda: not driver.cloud.faults.standing(), "the event was dropped")

    driver.cloud.clock.advance(minutes=15)

    assert_one_correct_result(driver, driver.finished(job_id))


def test_an_upload_event_comes_after_the_next_one(driver: Driver) -> None:
    driver.cloud.faults.add(Fault("eventarc.events.deliver", "on-upload", "delay", delay_s=90))
    late = driver.upload("late.jsonl", records(COUNT))
    eventually(lambda: not driver.cloud.faults.standing(), "the event is held back")
    early = driver.run("early.jsonl", records(COUNT))

    driver.cloud.clock.advance(seconds=91)

    assert_one_correct_result(driver, early)
    assert_one_correct_result(driver, driver.finished(late))


def test_heartbeats_come_twice_and_late(driver: Driver) -> None:
    driver.cloud.faults.add(Fault("eventarc.events.deliver", "on-job-heartbeat", "delay", delay_s=30))
    driver.cloud.faults.add(Fault("eventarc.events.deliver", "on-job-heartbeat", "duplicate"))
    job_id = driver.upload("beats.jsonl", records(COUNT))
    job = driver.finished(job_id)

    driver.cloud.clock.advance(seconds=31)

    eventually(driver.cloud.is_idle, "the late beat has arrived")
    assert driver.job(job_id) == job
    assert_one_correct_result(driver, job)


def test_everything_goes_back_to_zero(driver: Driver) -> None:
    """All but the tick, which wakes each minute of the time that is passed here."""
    driver.run("last.jsonl", records(COUNT))

    def all_gone() -> bool:
        eventually(driver.cloud.is_idle, "everything is idle")
        driver.cloud.clock.advance(minutes=3)
        live = {i.spec.name for service in driver.cloud.run.services() for i in service.instances}
        return live <= {"zeroidle-on-tick"}

    eventually(all_gone, "no instance is left")
