"""The file pipeline and jobs by message with Google's own Pub/Sub emulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud import pubsub_v1

from localcloud.official.errors import NotInstalled
from localcloud.official.process import java_command
from tests.e2e.conftest import ROOT, add_default_model
from tests.e2e.driver import Driver, eventually, records
from tests.e2e.test_restart import Up, up
from zeroidle.contracts import names
from zeroidle.contracts.records import State
from zeroidle_cli import project
from zeroidle_cli.connection import connect

pytestmark = pytest.mark.official


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Up, Path]]:
    """`zeroidle up --pubsub official` as a process, and its state."""
    try:
        java_command(os.environ)
    except NotInstalled as missing:
        pytest.skip(str(missing))
    state = tmp_path_factory.mktemp("official")
    here = project.find(ROOT)
    with connect(here, state) as connection:
        add_default_model(connection)
    with up(state, "--pubsub", "official", "--pubsub-port", "0") as process:
        yield process, state


def test_a_file_goes_through_the_whole_pipeline(running: tuple[Up, Path], tmp_path: Path) -> None:
    _, state = running
    source = tmp_path / "reviews.jsonl"
    source.write_bytes(records(20))
    command = [sys.executable, "-m", "zeroidle_cli.main", "run", str(source), "--state", str(state), "--json"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_message_starts_a_job_and_another_stops_one_before_it_starts(running: tuple[Up, Path]) -> None:
    process, state = running
    with connect(project.find(ROOT), state) as connection:
        driver = Driver(connection)
        source = {"bucket": connection.bucket("input"), "name": "by-message.jsonl"}
        driver.run(source["name"], records(3))
        # `connect` has exported what `up` announced.
        assert os.environ["PUBSUB_EMULATOR_HOST"] == process.told["environment"]["PUBSUB_EMULATOR_HOST"]
        publisher = pubsub_v1.PublisherClient()

        def publish(topic: str, **body: object) -> None:
            message = json.dumps({"schema": 1, "user_id": "ada", **body}).encode()
            publisher.publish(names.topic_path("local", topic), message).result(30)

        run = {"kind": "workflow", "workflow": "pipeline", "input": source}
        publish("jobs-stop", job_id="never", reason="changed my mind")
        eventually(lambda: driver.job("never"), "the stop left its mark")
        publish("jobs-start", job_id="never", run=run)
        publish("jobs-start", job_id="by-message", run=run)
        eventually(lambda: driver.job("by-message"), "the message became a job")

        job, never = driver.finished("by-message"), driver.finished("never")

        assert job.state is State.SUCCEEDED, job.failure
        assert len(driver.predictions(job)) == 3
        assert (never.state, never.execution) == (State.STOPPED, None)
