"""Does `gcloud workflows` work as it does against the real service?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.cloud import CloudConfig, LocalCloud, running
from tests.localcloud.gcloud import gcloud, thorough

pytestmark = [pytest.mark.slow, thorough]

SOURCE = """
main:
  params: [args]
  steps:
    - nap:
        call: sys.sleep
        args: {seconds: '${args.s}'}
"""


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    with running(CloudConfig()) as cloud:
        yield cloud


def test_gcloud_deploys_executes_cancels_and_deletes(cloud: LocalCloud, tmp_path: Path) -> None:
    source = tmp_path / "flow.yaml"
    source.write_text(SOURCE)
    deploy = ("workflows", "deploy", "flow", f"--source={source}", "--labels=team=a", "--format=json")
    deployed = json.loads(gcloud(cloud, *deploy).stdout)
    source.write_text("- out:\n    return: ${x}\n")
    refused = gcloud(cloud, *deploy, expect=1)
    described = gcloud(cloud, "workflows", "describe", "flow", "--format=value(revisionId,labels.team)")
    started = gcloud(cloud, "workflows", "execute", "flow", '--data={"s": 1000}', "--format=value(name)")
    name = started.stdout.strip()
    listed = gcloud(cloud, "workflows", "executions", "list", "flow", "--format=value(name,state)")
    gcloud(cloud, "workflows", "executions", "cancel", name.rpartition("/")[2], "--workflow=flow")
    ended = gcloud(cloud, "workflows", "executions", "describe", name, "--format=value(state)")
    gcloud(cloud, "workflows", "delete", "flow")

    assert deployed["state"] == "ACTIVE"
    assert "[INVALID_ARGUMENT] failed to build: " in refused.stderr
    assert described.stdout.split() == [deployed["revisionId"], "a"]
    assert listed.stdout.split() == [name, "ACTIVE"]
    assert ended.stdout.strip() == "CANCELLED"
    assert cloud.call(cloud.workflows.definitions.all) == []
