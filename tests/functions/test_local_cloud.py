"""The handlers with the real clients and the real workflow on a local cloud; only the services are stand-ins."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.cloud import pubsub_v1

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.pubsub.resources import SubscriptionSpec
from localcloud.workflows.state import WorkflowSpec
from zeroidle import wiring
from zeroidle.contracts import codec, names
from zeroidle.contracts.events import PubSubMessage, Upload
from zeroidle.contracts.records import ErrorFile, Job, State
from zeroidle.contracts.services import ObjectRef
from zeroidle.handlers.context import Context
from zeroidle.handlers.on_job_heartbeat import on_job_heartbeat
from zeroidle.handlers.on_job_meta import on_job_meta
from zeroidle.handlers.on_tick import on_tick
from zeroidle.handlers.on_upload import on_upload

ROOT = Path(__file__).parents[2]
BUCKETS = tuple(names.bucket_name("local", key) for key in ("input", "work", "output", "jobs"))
TOPICS = ("jobs-heartbeats", "jobs-meta")
ANSWERS = {
    "/v1/preprocess": {"shards": 2, "records": 3, "rejected": 0, "format": "txt", "elapsed_s": 1.0},
    "/v1/infer": {"records": 2, "elapsed_s": 2.0},
    "/v1/postprocess": {"records": 3, "rejected": 0, "labels": {"positive": 3}, "elapsed_s": 0.5},
}
REFUSAL = {"error": {"code": "INVALID_INPUT", "message": "no text", "hint": "Add some.", "details": {"line": 1}}}


class Services(BaseHTTPRequestHandler):
    """All three services; `refusing` makes preprocess refuse its input."""

    refusing = False

    def do_POST(self) -> None:  # the name http.server calls
        refused = Services.refusing and self.path == "/v1/preprocess"
        body = json.dumps(REFUSAL if refused else ANSWERS[self.path]).encode()
        self.send_response(422 if refused else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Services)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    workflow = WorkflowSpec(
        name=names.resource_name("pipeline"),
        source=(ROOT / "workflows" / "pipeline.yaml").read_text(),
        env={"PREPROCESS_URL": url, "GPU_INFERENCE_URL": url, "POSTPROCESS_URL": url},
    )
    deployment = Deployment(
        buckets=BUCKETS,
        topics=TOPICS,
        subscriptions=tuple(SubscriptionSpec(name=topic, topic=topic) for topic in TOPICS),
        workflows=(workflow,),
    )
    with running(CloudConfig(), lambda _: deployment) as cloud:
        yield cloud
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def context(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """What wiring builds from the environment; time is the local cloud's."""
    for name, value in {**cloud.environment(), "ZEROIDLE_REGION": cloud.config.location}.items():
        monkeypatch.setenv(name, value)
    for built in (wiring._context, wiring.job_store, wiring._settings):
        built.cache_clear()
    monkeypatch.setattr(wiring.logs, "configure", lambda level: None)
    monkeypatch.setattr(Services, "refusing", False)
    yield wiring.context()
    for built in (wiring._context, wiring.job_store, wiring._settings):
        built.cache_clear()


def upload(context: Context, name: str) -> str:
    """A file lands and the function is told; the job's id."""
    ref = ObjectRef(bucket=context.deployment.input_bucket, name=name)
    context.objects.write(ref, b"good\n", content_type="text/plain")
    info = context.objects.stat(ref)
    assert info is not None
    on_upload(context, Upload(info.ref, info.size, info.content_type, info.metadata, info.created))
    return names.job_id_for_upload(ref.bucket, ref.name, info.ref.generation or "")


def the_job(context: Context, job_id: str) -> Job:
    stored = context.jobs.load(job_id)
    assert stored is not None
    return stored.job


def wait_until_ended(context: Context, job_id: str) -> None:
    execution, limit = the_job(context, job_id).execution, time.monotonic() + 30
    assert execution is not None
    while not context.executions.get(execution).has_ended:
        assert time.monotonic() < limit, "the execution does not end"
        time.sleep(0.02)


def pulled(cloud: LocalCloud, topic: str) -> list[PubSubMessage]:
    """What was published since the last time; there is something."""
    with pubsub_v1.SubscriberClient() as client:
        subscription = client.subscription_path(cloud.config.project, topic)
        received = client.pull(subscription=subscription, max_messages=100, timeout=10).received_messages
        client.acknowledge(subscription=subscription, ack_ids=[message.ack_id for message in received])
    return [
        PubSubMessage(one.message.data, dict(one.message.attributes), one.message.message_id, 0.0) for one in received
    ]


def test_a_file_runs_through_the_workflow_and_its_beats_tell_all(cloud: LocalCloud, context: Context) -> None:
    job_id = upload(context, "reviews.txt")
    assert the_job(context, job_id).state is State.PROVISIONING
    wait_until_ended(context, job_id)
    for message in reversed(pulled(cloud, "jobs-heartbeats")):
        on_job_heartbeat(context, message)
    for message in pulled(cloud, "jobs-meta"):
        on_job_meta(context.jobs, message)

    on_tick(context, PubSubMessage(b"", {}, "t", 0.0))

    job = the_job(context, job_id)
    assert job.state is State.SUCCEEDED
    assert job.result is not None
    assert (job.result.records, job.result.labels) == (3, {"positive": 3})
    assert [stage.name for stage in job.stages] == list(wiring.STAGE_SERVICES)
    assert all(stage.busy_s for stage in job.stages)
    assert job.cost_usd > 0
    assert list(context.jobs.marked()) == []


def test_without_a_single_beat_the_tick_finds_the_result(cloud: LocalCloud, context: Context) -> None:
    job_id = upload(context, "silent.txt")
    wait_until_ended(context, job_id)
    pulled(cloud, "jobs-heartbeats")
    cloud.clock.advance(seconds=60)

    on_tick(context, PubSubMessage(b"", {}, "t", 0.0))

    job = the_job(context, job_id)
    assert (job.state, job.result and job.result.records) == (State.SUCCEEDED, 3)
    assert list(context.jobs.marked()) == []


@pytest.mark.parametrize("told", [True, False], ids=["by its beat", "by its execution"])
def test_a_refused_file_is_a_failed_job_with_error_json(
    cloud: LocalCloud, context: Context, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Services, "refusing", True)
    job_id = upload(context, f"refused-{told}.txt")
    wait_until_ended(context, job_id)
    for message in pulled(cloud, "jobs-heartbeats"):
        if told:
            on_job_heartbeat(context, message)
    cloud.clock.advance(seconds=60)

    on_tick(context, PubSubMessage(b"", {}, "t", 0.0))

    job = the_job(context, job_id)
    assert (job.state, job.failure and job.failure.code) == (State.FAILED, "INVALID_INPUT")
    (found,) = context.objects.list(context.deployment.output_bucket, f"refused-{told}.txt/")
    error = codec.decode(context.objects.read(found.ref)[0], ErrorFile)
    assert (error.message, error.hint, error.details) == ("no text", "Add some.", {"line": 1})
    assert list(context.jobs.marked()) == []
