"""Do the services work together as one cloud, and does it go on after a restart?"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, storage

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.eventarc.state import Trigger
from localcloud.faults import Fault
from localcloud.pubsub.resources import SubscriptionSpec
from localcloud.run.state import ServiceSpec
from localcloud.scheduler.state import Schedule
from localcloud.store import StateInUse
from localcloud.workflows.state import WorkflowSpec

FINALIZED = "google.cloud.storage.object.v1.finalized"

# Notes each event as `<its subject's file name>` under $SEEN.
RECEIVER = textwrap.dedent("""
    import json, os, pathlib
    from http.server import BaseHTTPRequestHandler, HTTPServer
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            pathlib.Path(os.environ["SEEN"], event["name"]).touch()
            self.send_response(200)
            self.end_headers()
        def log_message(self, *args): pass
    HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
""")


def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    path = tmp_path / "seen"
    path.mkdir()
    return path


@pytest.fixture
def deployment(seen: Path) -> Callable[[LocalCloud], Deployment]:
    """Files of the bucket `uploads` reach the receiver, which is private."""
    command = (sys.executable, "-S", "-c", RECEIVER)
    receiver = ServiceSpec("receiver", command, env={"SEEN": str(seen)}, cwd=seen)
    return lambda _: Deployment(
        buckets=("uploads",),
        topics=("ticks",),
        subscriptions=(SubscriptionSpec("ticks-pull", "ticks"),),
        triggers=(Trigger("on-upload", FINALIZED, {"bucket": "uploads"}, "receiver"),),
        services=(receiver,),
        workflows=(WorkflowSpec("hello", "main:\n  steps:\n  - end:\n      return: hello\n"),),
        schedules=(Schedule("tick", 60, "ticks", data=b"tick"),),
    )


@pytest.fixture
def cloud(deployment: Callable[[LocalCloud], Deployment]) -> Iterator[LocalCloud]:
    with running(CloudConfig(frozen_clock=True), deployment) as cloud:
        yield cloud


@pytest.fixture
def admin(cloud: LocalCloud) -> Callable[..., Any]:
    http = urllib3.PoolManager(retries=False)

    def ask(method: str, path: str, **options: Any) -> Any:
        return http.request(method, f"{cloud.http_url}/_localcloud/{path}", **options)

    return ask


def upload(cloud: LocalCloud, name: str) -> None:
    client = storage.Client(
        project="local", credentials=AnonymousCredentials(), client_options={"api_endpoint": cloud.http_url}
    )
    client.bucket("uploads").blob(name).upload_from_string(b"x")


def test_a_file_that_lands_in_a_bucket_starts_a_private_service(cloud: LocalCloud, seen: Path):
    upload(cloud, "a.txt")

    until(cloud.is_idle)
    assert [path.name for path in seen.iterdir()] == ["a.txt"]
    assert len(cloud.call(cloud.run.instances, "receiver")) == 1


def test_a_cloud_with_an_event_on_its_way_is_not_idle(cloud: LocalCloud, seen: Path):
    cloud.faults.add(Fault("run.services.invoke", action="delay", delay_s=10))
    upload(cloud, "a.txt")
    until(lambda: not cloud.faults.standing())
    busy = not cloud.is_idle()

    cloud.clock.advance(seconds=10)

    until(cloud.is_idle)
    assert busy
    assert (seen / "a.txt").exists()


def test_a_schedule_publishes_in_virtual_time(cloud: LocalCloud):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PUBSUB_EMULATOR_HOST", cloud.grpc_address)
        subscriber = pubsub_v1.SubscriberClient()
    path = subscriber.subscription_path("local", "ticks-pull")

    cloud.clock.advance(minutes=1)

    with subscriber:
        received = subscriber.pull(subscription=path, max_messages=1, timeout=10).received_messages
        assert received[0].message.data == b"tick"


def test_a_deployed_workflow_runs_and_the_cloud_is_idle_after_it(cloud: LocalCloud):
    name = cloud.call(cloud.workflows.resource_name, "hello")
    execution = cloud.call(cloud.workflows.create_execution, name)

    until(cloud.is_idle)

    assert cloud.call(cloud.workflows.get, execution.name).result == '"hello"'


def test_the_environment_names_this_cloud(cloud: LocalCloud):
    assert cloud.environment() == {
        "STORAGE_EMULATOR_HOST": cloud.http_url,
        "PUBSUB_EMULATOR_HOST": cloud.grpc_address,
        "WORKFLOWS_EMULATOR_HOST": cloud.grpc_address,
        "COMPUTE_EMULATOR_HOST": cloud.http_url,
        "CLOCK_EMULATOR_URL": f"{cloud.http_url}/_localcloud/clock",
        "GOOGLE_CLOUD_PROJECT": "local",
        "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true",
        "NO_GCE_CHECK": "true",
    }


def test_health_tells_who_and_where(cloud: LocalCloud, admin: Callable[..., Any]):
    health = admin("GET", "health").json()

    assert health["pid"] == os.getpid()
    assert (health["http_url"], health["grpc_address"]) == (cloud.http_url, cloud.grpc_address)
    assert (health["project"], health["location"], health["idle"]) == ("local", "us-central1", True)
    assert Path(health["state"]).is_dir()


def test_faults_are_ordered_listed_and_withdrawn_over_http(cloud: LocalCloud, admin: Callable[..., Any]):
    ordered = admin("POST", "faults", json={"call": "storage.objects.insert", "action": "fail_after", "times": 2})
    standing = cloud.faults.standing()
    cleared = admin("DELETE", "faults")

    assert ordered.json()["faults"][0]["action"] == "fail_after"
    assert standing == [Fault("storage.objects.insert", action="fail_after", times=2)]
    assert cleared.json() == {"faults": []}


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("faults", b'{"call": "a", "action": "explode"}', "explode"),
        ("faults", b"{}", "missing required field `call`"),
        ("faults", b"not json", "JSON"),
        ("faults", b'{"call": "a", "times": 0}', "times is 0"),
        ("faults", b" " * 100_000, "larger than"),
        ("clock", b'{"advance_s": -1}', "cannot go back"),
        ("clock", b'{"advance_s": 1e400}', ""),
        ("clock", b'{"advance_s": 1e300}', ""),
        ("clock", b'{"seconds": 1}', "unknown field"),
        ("identity-token", b"", "audience is missing"),
    ],
)
def test_an_order_that_makes_no_sense_is_a_clear_400(admin: Callable[..., Any], path: str, body: bytes, message: str):
    answer = admin("POST", path, body=body)

    assert answer.status == 400
    assert message in answer.json()["error"]["message"]


def test_the_clock_is_advanced_over_http(cloud: LocalCloud, admin: Callable[..., Any]):
    before = cloud.clock.time()

    admin("POST", "clock", json={"advance_s": 90})

    assert cloud.clock.time() == before + 90
    assert admin("GET", "clock").json()["time"] == cloud.clock.now().isoformat()


def test_a_token_from_the_admin_api_opens_a_private_service(cloud: LocalCloud, admin: Callable[..., Any], seen: Path):
    audience = cloud.context.service_url("receiver")
    token = admin("POST", "identity-token", fields={"audience": audience}, encode_multipart=False)
    query = admin("POST", f"identity-token?audience={audience}&email=me@x").json()["token"]

    answer = urllib3.request("POST", audience, body=b'{"name": "b"}', headers={"Authorization": f"Bearer {query}"})

    assert token.status == 400  # it takes the query, not a form
    assert answer.status == 200
    assert cloud.context.identity.verify(f"Bearer {query}", audience) == "me@x"


def test_instances_show_each_cold_start_by_part(cloud: LocalCloud, admin: Callable[..., Any]):
    upload(cloud, "a.txt")
    until(cloud.is_idle)

    told = admin("GET", "instances").json()

    times = told["cold_starts"][0]
    assert told["instances"][0]["phase"] == "ready"
    assert times["spawned"] < times["listening"] <= times["ready"] <= times["first_request"]


def test_an_event_not_yet_delivered_is_delivered_after_a_restart(tmp_path: Path, deployment: Any, seen: Path):
    config = CloudConfig(state=tmp_path / "state")
    with running(config, deployment) as cloud:
        cloud.faults.add(Fault("run.services.invoke", action="fail", times=1000))
        upload(cloud, "a.txt")
        first_url = cloud.http_url
        until(lambda: cloud.faults.standing()[0].times < 1000)
        assert not seen.exists() or not list(seen.iterdir())

    with running(config, deployment) as cloud:
        until(lambda: cloud.clock.advance(minutes=1) or (seen / "a.txt").exists())
        until(cloud.is_idle)
        assert cloud.http_url != first_url


def test_a_second_cloud_on_the_same_state_is_told_who_has_it(tmp_path: Path):
    config = CloudConfig(state=tmp_path)

    with running(config), pytest.raises(StateInUse, match=str(os.getpid())), running(config):
        pytest.fail("two clouds on one state")


def test_a_cloud_that_cannot_start_leaves_nothing_behind(tmp_path: Path):
    def wrong(_: LocalCloud) -> Deployment:
        raise ValueError("the bundle")

    with pytest.raises(ValueError, match="the bundle"), running(CloudConfig(state=tmp_path), wrong):
        pytest.fail("it started")

    with running(CloudConfig(state=tmp_path)):
        pass


def test_a_service_that_fails_to_stop_keeps_no_other_from_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def broken() -> None:
        raise RuntimeError("the scheduler")

    spec = ServiceSpec(name="server", command=(sys.executable, "-m", "http.server"), min_instances=1)
    with contextlib.ExitStack() as ending:
        cloud = ending.enter_context(running(CloudConfig(state=tmp_path), lambda _: Deployment(services=(spec,))))
        (instance,) = cloud.call(cloud.run.instances, "server")
        monkeypatch.setattr(cloud.scheduler, "stop", broken)
        with pytest.raises(RuntimeError, match="the scheduler"):
            ending.close()

    assert instance.ended.is_set()
    with running(CloudConfig(state=tmp_path)):
        pass


def test_a_taken_port_leaves_the_state_free(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = CloudConfig(state=tmp_path, http_port=taken.getsockname()[1])
        with pytest.raises(Exception, match="HTTP port"), running(config):
            pytest.fail("it started")

    with running(CloudConfig(state=tmp_path)):
        pass


def test_the_state_of_a_killed_cloud_is_taken_up_by_the_next(tmp_path: Path, deployment: Any, seen: Path):
    script = textwrap.dedent("""
        import sys, threading
        from pathlib import Path
        from localcloud.cloud import CloudConfig, Deployment, running
        with running(CloudConfig(state=Path(sys.argv[1])), lambda _: Deployment(buckets=("uploads",))) as cloud:
            print(cloud.http_url, flush=True)
            threading.Event().wait()
    """)
    command = [sys.executable, "-c", script, str(tmp_path / "state")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        client = storage.Client(
            project="local", credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
        )
        client.bucket("uploads").blob("kept").upload_from_string(b"x")
        process.send_signal(signal.SIGKILL)

    with running(CloudConfig(state=tmp_path / "state"), deployment) as cloud:
        client = storage.Client(
            project="local", credentials=AnonymousCredentials(), client_options={"api_endpoint": cloud.http_url}
        )
        assert [blob.name for blob in client.list_blobs("uploads")] == ["kept"]
