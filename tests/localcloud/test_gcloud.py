"""Does gcloud find the local cloud by the variables it names?"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.workflows.state import WorkflowSpec
from tests.localcloud.gcloud import gcloud, needs_gcloud

pytestmark = [pytest.mark.slow, needs_gcloud]


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    workflow = WorkflowSpec("hello", "main:\n  steps:\n  - end:\n      return: hello\n")
    with running(CloudConfig(), lambda _: Deployment(("uploads",), ("events",), workflows=(workflow,))) as cloud:
        yield cloud


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("storage ls", "gs://uploads/"),
        ("pubsub topics list --format=value(name)", "projects/local/topics/events"),
        ("workflows list --format=value(name)", "projects/local/locations/us-central1/workflows/hello"),
        ("eventarc triggers list --format=value(name)", ""),
    ],
)
def test_gcloud_lists_what_is_deployed(cloud: LocalCloud, command: str, found: str):
    assert gcloud(cloud, *command.split()).stdout.strip() == found


def test_gcloud_runs_a_workflow(cloud: LocalCloud):
    ended = gcloud(cloud, "workflows", "run", "hello", "--format=json")

    assert json.loads(ended.stdout)["result"] == '"hello"'


def test_a_regional_host_that_gcloud_makes_up_reaches_the_local_cloud(cloud: LocalCloud):
    ended = gcloud(cloud, "run", "services", "describe", "absent", "--region=us-central1", expect=None)

    assert "Cannot find service [absent]" in ended.stderr


def test_a_failed_command_is_shown_with_what_it_said(cloud: LocalCloud):
    with pytest.raises(pytest.fail.Exception, match=r"(?s)gcloud storage ls gs://absent.*ended with 1.*absent"):
        gcloud(cloud, "storage", "ls", "gs://absent")
