"""A trigger can start a workflow, which gets the event as its argument."""

from __future__ import annotations

import json
import time

import pytest
from google.cloud import storage

from localcloud.cloud import LocalCloud
from localcloud.eventarc.state import Trigger
from localcloud.faults import Fault
from localcloud.pytest_plugin import LocalCloudOfATest
from localcloud.workflows.state import WorkflowSpec

FINALIZED = "google.cloud.storage.object.v1.finalized"
ECHO = "main:\n  params: [event]\n  steps:\n  - end:\n      return: ${event}\n"


pytestmark = pytest.mark.localcloud(frozen_clock=True)


@pytest.fixture
def cloud(localcloud: LocalCloudOfATest) -> LocalCloud:
    localcloud.deploy(
        buckets=("uploads",),
        workflows=(WorkflowSpec("echo", ECHO),),
        triggers=(Trigger("on-upload", FINALIZED, {"bucket": "uploads"}, workflow="echo"),),
    )
    return localcloud.cloud


def upload(name: str) -> storage.Blob:
    blob = storage.Client().bucket("uploads").blob(name)
    blob.upload_from_string(b"x")
    return blob


def results(cloud: LocalCloud) -> list[dict[str, object]]:
    """What the executions returned, once there is nothing left to do."""
    end = time.monotonic() + 20
    while not cloud.is_idle():
        assert time.monotonic() < end, "the cloud is not idle"
        time.sleep(0.01)
    name = cloud.call(cloud.workflows.resource_name, "echo")
    executions = cloud.call(lambda: [each for _, each in cloud.workflows.newest(name)])
    return [json.loads(execution.result) for execution in executions]


def test_an_upload_starts_a_workflow_with_the_event(cloud: LocalCloud) -> None:
    blob = upload("ü.txt")

    [event] = results(cloud)

    data = event.pop("data")
    assert isinstance(data, dict)
    assert (data["name"], data["generation"]) == ("ü.txt", str(blob.generation))
    assert event.pop("id")
    assert event.pop("time")
    assert event == {
        "specversion": "1.0",
        "type": FINALIZED,
        "source": "//storage.googleapis.com/projects/_/buckets/uploads",
        "subject": "objects/ü.txt",
        "bucket": "uploads",
        "datacontenttype": "application/json",
    }


def test_a_start_that_fails_is_tried_again(cloud: LocalCloud) -> None:
    cloud.faults.add(Fault("workflows.executions.create", "echo"))
    upload("a.txt")
    end = time.monotonic() + 20
    while cloud.faults.standing() or cloud.call(lambda: cloud.pubsub.is_idle()):
        assert time.monotonic() < end, "the fault did not hit"
        time.sleep(0.01)

    while not (found := cloud.is_idle()):
        assert time.monotonic() < end, "the event is not delivered again"
        cloud.clock.advance(seconds=1)
        time.sleep(0.01)

    assert found
    assert len(results(cloud)) == 1
