"""One local cloud for all tests of the console, with something of everything in it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, storage

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.compute.state import ComputeSpec, GroupSpec, TemplateSpec
from localcloud.eventarc.state import Trigger
from localcloud.pubsub.resources import SubscriptionSpec
from localcloud.run.jobs import JobSpec
from localcloud.run.state import ServiceSpec
from localcloud.scheduler.state import Schedule
from localcloud.workflows.state import WorkflowSpec
from tests.localcloud.console.console_http import Http

# Says what it got, and refuses what is called so.
RECEIVER = textwrap.dedent("""
    import json, os, sys
    from http.server import BaseHTTPRequestHandler, HTTPServer
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            print(json.dumps({"severity": "WARNING", "message": "<b>got</b> it", "path": self.path}), flush=True)
            self.send_response(500 if "refuse" in body else 200)
            self.end_headers()
        def log_message(self, *args): pass
    HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
""")
# The second task fails.
TASK = """
import os
print("task", os.environ["CLOUD_RUN_TASK_INDEX"], flush=True)
raise SystemExit(3 * int(os.environ["CLOUD_RUN_TASK_INDEX"]))
"""
WORKFLOW = """
main:
  params: [name]
  steps:
  - greet:
      assign:
      - greeting: ${"hello " + name}
  - each:
      for:
        value: letter
        in: ["a", "b"]
        steps:
        - add:
            assign:
            - greeting: ${greeting + letter}
  - end:
      return: ${greeting}
"""
WORKER = {
    "machineType": "g2-standard-12",
    "guestAccelerators": [{"acceleratorType": "nvidia-l4", "acceleratorCount": 1}],
    "scheduling": {"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE"},
    "metadata": {"items": [{"key": "startup-script", "value": "#!/bin/sh\necho '<b>at work</b>'\nexec sleep 600\n"}]},
}
WAIT = """
main:
  steps:
  - wait:
      call: sys.sleep
      args: {seconds: 3600}
"""


@pytest.fixture(scope="package")
def cloud() -> Iterator[LocalCloud]:
    """Time stands still in it."""
    command = (sys.executable, "-S", "-c", RECEIVER)

    def deployment(cloud: LocalCloud) -> Deployment:
        return Deployment(
            buckets=("uploads", "empty"),
            topics=("orders", "dead"),
            subscriptions=(
                SubscriptionSpec("orders-pull", "orders"),
                SubscriptionSpec(
                    "orders-push",
                    "orders",
                    push_endpoint=cloud.context.service_url("receiver"),
                    dead_letter_topic="dead",
                    filter="attributes:push",
                ),
                SubscriptionSpec("dead-pull", "dead"),
            ),
            triggers=(
                Trigger("on-upload", "google.cloud.storage.object.v1.finalized", {"bucket": "empty"}, "receiver"),
            ),
            services=(ServiceSpec("receiver", command, cwd=Path.cwd(), public=True),),
            jobs=(JobSpec("crunch", (sys.executable, "-S", "-c", TASK), cwd=Path.cwd(), task_count=2, max_retries=1),),
            workflows=(WorkflowSpec("hello", WORKFLOW), WorkflowSpec("waiting", WAIT)),
            compute=ComputeSpec(
                (TemplateSpec("worker", WORKER),),
                (GroupSpec("workers", "us-central1", "worker"), GroupSpec("idle", "us-east1", "worker")),
            ),
            schedules=(Schedule("tick", 3600, "orders", data=b"tick"),),
        )

    with running(CloudConfig(frozen_clock=True), deployment) as cloud:
        yield cloud


@pytest.fixture(scope="package")
def client(cloud: LocalCloud) -> storage.Client:
    return storage.Client(
        project="local", credentials=AnonymousCredentials(), client_options={"api_endpoint": cloud.http_url}
    )


@pytest.fixture(scope="package")
def publisher(cloud: LocalCloud) -> Iterator[pubsub_v1.PublisherClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", cloud.grpc_address)
        yield pubsub_v1.PublisherClient()


@pytest.fixture(scope="package")
def subscriber(cloud: LocalCloud) -> Iterator[pubsub_v1.SubscriberClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", cloud.grpc_address)
        with pubsub_v1.SubscriberClient() as subscriber:
            yield subscriber


@pytest.fixture(scope="package")
def http(cloud: LocalCloud) -> Http:
    return Http(cloud.http_url)
