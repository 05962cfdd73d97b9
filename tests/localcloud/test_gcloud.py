"""Does gcloud find the local cloud by the variables it names, and do the commands that people use most work?

A call of gcloud takes a second or two of CPU time, so each command stands here once; more of them are in the tests of
the services, which run with GCLOUD_TESTS=all.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.pubsub.resources import SubscriptionSpec
from localcloud.run.state import ServiceSpec
from localcloud.workflows.state import WorkflowSpec
from tests.localcloud.gcloud import gcloud, needs_gcloud

pytestmark = [pytest.mark.slow, needs_gcloud]

FILES = {"a.txt": b"first\n", "sub/b \u00fc.txt": b"second\n"}
FLOW = "main:\n  params: [args]\n  steps:\n  - end:\n      return: ${args.n + 1}\n"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    serve = ServiceSpec("infer", (sys.executable, "-m", "http.server"), cwd=tmp_path_factory.mktemp("run"))
    deployment = Deployment(
        buckets=("bkt",),
        topics=("events",),
        subscriptions=(SubscriptionSpec("pull", "events"),),
        services=(serve,),
        workflows=(WorkflowSpec("add", FLOW),),
    )
    with running(CloudConfig(), lambda _: deployment) as cloud:
        yield cloud


def json_of(cloud: LocalCloud, command: str, *arguments: object) -> Any:
    return json.loads(gcloud(cloud, *command.split(), *arguments, "--format=json").stdout)


def test_a_folder_goes_up_is_looked_at_is_kept_alike_and_is_removed(cloud: LocalCloud, tmp_path: Path):
    folder = tmp_path / "x"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    gcloud(cloud, "storage", "cp", "-r", folder, "gs://bkt")
    listed = gcloud(cloud, "storage", "ls", "gs://bkt/x/**").stdout.splitlines()
    shown = gcloud(cloud, "storage", "cat", "gs://bkt/x/**").stdout
    (folder / "a.txt").unlink()
    gcloud(cloud, "storage", "rsync", "-r", "--delete-unmatched-destination-objects", folder, "gs://bkt/x")
    kept = list(cloud.call(cloud.storage.index, "bkt").names)
    gcloud(cloud, "storage", "rm", "-r", "gs://bkt/x")

    assert listed == [f"gs://bkt/x/{name}" for name in FILES]
    assert shown == "first\nsecond\n"
    assert kept == ["x/sub/b \u00fc.txt"]
    assert list(cloud.call(cloud.storage.index, "bkt").names) == []


def test_a_message_is_published_and_pulled(cloud: LocalCloud):
    sent = json_of(cloud, "pubsub topics publish events", "--message=hello", "--attribute=cluster=l4")
    [received] = json_of(cloud, "pubsub subscriptions pull pull --auto-ack")

    assert received["message"]["messageId"] == sent["messageIds"][0]
    assert (base64.b64decode(received["message"]["data"]), received["message"]["attributes"]) == (
        b"hello",
        {"cluster": "l4"},
    )


def test_a_service_is_described_at_the_regional_host_that_gcloud_makes_up(cloud: LocalCloud):
    described = json_of(cloud, "run services describe infer")

    assert described["status"]["url"] == cloud.context.service_url("infer")


def test_a_workflow_is_run_listed_and_described(cloud: LocalCloud):
    ran = json_of(cloud, "workflows run add", '--data={"n": 41}')
    [listed] = json_of(cloud, "workflows executions list add")
    described = json_of(cloud, "workflows executions describe", ran["name"])

    assert (ran["state"], ran["result"]) == ("SUCCEEDED", "42")
    assert listed["name"] == ran["name"]
    assert (json.loads(described["argument"]), described["result"]) == ({"n": 41}, "42")


def test_a_failed_command_is_shown_with_what_it_said(cloud: LocalCloud):
    with pytest.raises(pytest.fail.Exception, match=r"(?s)gcloud storage ls gs://absent.*ended with 1.*absent"):
        gcloud(cloud, "storage", "ls", "gs://absent")
