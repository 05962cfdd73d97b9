"""Does `gcloud run` describe, list and execute what is deployed here?"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.run.jobs import JobSpec
from localcloud.run.state import ServiceSpec
from tests.localcloud.gcloud import gcloud, thorough

pytestmark = thorough


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    cwd = tmp_path_factory.mktemp("run")
    infer = ServiceSpec("infer", (sys.executable, "-m", "http.server"), env={"SECRET": "x"}, cwd=cwd, concurrency=4)
    ends_with = "import os, sys; sys.exit(int(os.environ.get('CODE', '0')))"
    crunch = JobSpec("crunch", (sys.executable, "-S", "-c", ends_with), cwd=Path(cwd), task_count=2, max_retries=0)
    with running(CloudConfig(), lambda _: Deployment(services=(infer,), jobs=(crunch,))) as cloud:
        yield cloud


def test_a_service_is_described_and_listed(cloud: LocalCloud):
    described = json.loads(gcloud(cloud, "run", "services", "describe", "infer", "--format=json").stdout)
    listed = gcloud(cloud, "run", "services", "list", "--format=value(metadata.name,status.url)").stdout.split()

    assert described["status"]["url"] == cloud.context.service_url("infer")
    assert described["spec"]["template"]["spec"]["containerConcurrency"] == 4
    assert described["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "SECRET", "value": ""}]
    assert listed == ["infer", cloud.context.service_url("infer")]


def test_its_revision_is_described(cloud: LocalCloud):
    (revision,) = gcloud(cloud, "run", "revisions", "list", "--service=infer", "--format=value(name)").stdout.split()

    described = json.loads(gcloud(cloud, "run", "revisions", "describe", revision, "--format=json").stdout)

    assert described["metadata"]["labels"]["serving.knative.dev/service"] == "infer"


def test_requests_are_sent_to_another_revision_and_back(cloud: LocalCloud):
    old = cloud.call(cloud.run.service, "infer").revision
    cloud.call(cloud.run.deploy, replace(cloud.call(cloud.run.service, "infer").spec, concurrency=5))
    update = ("run", "services", "update-traffic", "infer")

    gcloud(cloud, *update, f"--to-revisions={old}=30,LATEST=70", "--set-tags=next=LATEST")
    shown = json.loads(gcloud(cloud, "run", "services", "describe", "infer", "--format=json").stdout)
    split = cloud.call(lambda: cloud.run.service("infer").shares)
    gcloud(cloud, *update, "--to-latest", "--clear-tags")

    new = cloud.call(cloud.run.service, "infer").revision
    assert split == {old: 30, new: 70}
    tagged = [(each["tag"], each["url"]) for each in shown["status"]["traffic"] if "tag" in each]
    assert tagged == [("next", cloud.context.service_url("next---infer"))]
    assert cloud.call(lambda: cloud.run.service("infer").shares) == {new: 100}


def test_a_job_is_executed_and_followed(cloud: LocalCloud):
    ran = json.loads(gcloud(cloud, "run", "jobs", "execute", "crunch", "--wait", "--format=json").stdout)
    name = ran["metadata"]["name"]

    listed = gcloud(cloud, "run", "jobs", "executions", "list", "--job=crunch", "--format=value(name)").stdout.split()
    shown = json.loads(gcloud(cloud, "run", "jobs", "executions", "describe", name, "--format=json").stdout)
    tasks = gcloud(
        cloud, "run", "jobs", "executions", "tasks", "list", f"--execution={name}", "--format=value(name)"
    ).stdout.split()
    job = json.loads(gcloud(cloud, "run", "jobs", "describe", "crunch", "--format=json").stdout)

    assert name in listed
    assert shown["status"]["succeededCount"] == 2
    assert sorted(tasks) == [f"{name}-task0", f"{name}-task1"]
    assert job["status"]["latestCreatedExecution"]["name"] == name


def test_an_execution_that_fails_is_told(cloud: LocalCloud):
    ended = gcloud(
        cloud, "run", "jobs", "execute", "crunch", "--wait", "--update-env-vars=CODE=3", "--tasks=1", expect=1
    )

    (name,) = re.findall(r"executions describe (\S+)", ended.stderr)
    shown = gcloud(cloud, "run", "jobs", "executions", "describe", name).stdout
    assert "execution failed" in ended.stderr
    assert "The container exited with an error" in shown


def test_what_is_not_there_is_not_found(cloud: LocalCloud):
    assert "Cannot find service [none]" in gcloud(cloud, "run", "services", "describe", "none", expect=1).stderr
