"""Jobs by message: started, stopped, and refused, over Pub/Sub with its real client."""

from __future__ import annotations

import json
from typing import Any

from google.cloud import pubsub_v1

from localcloud.faults import Fault
from tests.e2e.driver import Driver, eventually, records
from zeroidle.contracts import names
from zeroidle.contracts.records import Job, Reason, State
from zeroidle.contracts.services import ObjectRef

PROJECT = "local"


def publish(topic: str, body: dict[str, Any]) -> None:
    """As any program would."""
    publisher = pubsub_v1.PublisherClient()
    publisher.publish(names.topic_path(PROJECT, topic), json.dumps(body).encode(), job_id=body["job_id"]).result(30)


def a_start(driver: Driver, job_id: str, **run: Any) -> dict[str, Any]:
    """A start message over a file that is in the input bucket."""
    source = {"bucket": driver.connection.bucket("input"), "name": "by-message.jsonl"}
    driver.run(source["name"], records(3))
    asked = {"kind": "workflow", "workflow": "pipeline", "input": source, **run}
    return {"schema": 1, "job_id": job_id, "user_id": "ada", "run": asked}


def test_a_start_message_runs_a_job_on_an_object(driver: Driver) -> None:
    publish("jobs-start", a_start(driver, "by-message"))
    eventually(lambda: driver.job("by-message"), "the message became a job")

    job = driver.finished("by-message")

    assert job.state is State.SUCCEEDED, job.failure
    assert job.user_id == "ada"
    assert len(driver.predictions(job)) == 3


def test_the_same_start_twice_is_one_job(driver: Driver) -> None:
    start = a_start(driver, "twice")
    publish("jobs-start", start)
    publish("jobs-start", start)
    eventually(lambda: driver.job("twice"), "the message became a job")

    assert driver.finished("twice").attempt == 1


def test_a_stop_before_its_start_means_it_never_runs(driver: Driver) -> None:
    start = a_start(driver, "stopped-first")
    publish("jobs-stop", {"schema": 1, "job_id": "stopped-first", "user_id": "ada", "reason": "changed my mind"})
    eventually(lambda: driver.job("stopped-first"), "the stop left its mark")

    publish("jobs-start", start)
    eventually(driver.cloud.is_idle, "the start was delivered")

    job = driver.finished("stopped-first")
    assert job.state is State.STOPPED
    assert job.execution is None


def test_a_running_job_stops_and_publishes_nothing(driver: Driver) -> None:
    driver.cloud.faults.add(Fault("run.services.invoke", "zeroidle-gpu-inference", "delay", delay_s=600))
    job_id = driver.upload("to-be-stopped.jsonl", records(3))

    def inferring() -> Job | None:
        job = driver.job(job_id)
        return job if job is not None and len(job.stages) == 2 else None

    running = eventually(inferring, "the job is at its second stage")
    publish("jobs-stop", {"schema": 1, "job_id": job_id, "user_id": running.user_id, "reason": "enough"})

    job = driver.finished(job_id)

    assert job.state is State.STOPPED
    assert job.reason is Reason.STOP_REQUESTED
    folder = names.result_prefix("to-be-stopped.jsonl", running.run.input.generation)
    assert list(driver.objects.list(driver.connection.bucket("output"), f"{folder}/")) == []


def test_a_message_that_breaks_its_contract_makes_no_job_and_does_not_come_back(driver: Driver) -> None:
    publish("jobs-start", {**a_start(driver, "broken"), "surprise": 1})

    eventually(driver.cloud.is_idle, "the message was acknowledged")

    assert driver.job("broken") is None
    assert (
        driver.objects.stat(ObjectRef(bucket=driver.connection.bucket("jobs"), name=names.marker_name("broken")))
        is None
    )
