"""With Google's emulator in the place of ours, everything that rides on Pub/Sub works as before."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.eventarc.state import Trigger
from localcloud.official.bridge import RELAY
from localcloud.run.state import ServiceSpec
from localcloud.scheduler.state import Schedule

pytestmark = [pytest.mark.official, pytest.mark.slow, pytest.mark.usefixtures("installed")]

MESSAGE = "google.cloud.pubsub.topic.v1.messagePublished"
FINALIZED = "google.cloud.storage.object.v1.finalized"
PROJECT, PATIENCE_S = "local", 30.0
# Notes headers and body of each request in a file below $SEEN; answers 500 to messages with the attribute `poison`.
RECEIVER = textwrap.dedent("""
    import itertools, json, os, pathlib
    from http.server import BaseHTTPRequestHandler, HTTPServer
    numbers = itertools.count()
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen = pathlib.Path(os.environ["SEEN"], f"{next(numbers):04d}")
            seen.with_suffix(".new").write_text(json.dumps([{k.lower(): v for k, v in self.headers.items()}, body]))
            seen.with_suffix(".new").rename(seen)
            self.send_response(500 if "poison" in body.get("message", {}).get("attributes", {}) else 200)
            self.end_headers()
        def log_message(self, *args): pass
    HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
""")


def topic(name: str) -> str:
    return f"projects/{PROJECT}/topics/{name}"


def subscription(name: str) -> str:
    return f"projects/{PROJECT}/subscriptions/{name}"


def until(claim: Callable[[], Any], what: str) -> Any:
    """What `claim` returns, once it is true."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if value := claim():
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {PATIENCE_S} s for {what}")


@dataclass
class Official:
    """A local cloud with Google's emulator, and real clients of that."""

    cloud: LocalCloud
    publisher: PublisherClient
    subscriber: pubsub_v1.SubscriberClient
    seen: Path

    def events(self, message_id: str) -> list[tuple[dict[str, str], dict[str, Any]]]:
        """What the receiver got of one message: headers and body."""
        requests = [json.loads(path.read_text()) for path in sorted(self.seen.glob("????"))]
        return [(headers, body) for headers, body in requests if headers["ce-id"] == message_id]

    def publish(self, name: str, data: bytes, **attributes: str) -> str:
        message = {"data": data, "attributes": attributes, "ordering_key": "k"}
        [message_id] = self.publisher.publish(topic=topic(name), messages=[message]).message_ids
        return message_id

    def pull(self, name: str) -> list[Any]:
        """The messages that come next, acknowledged."""
        path = subscription(name)
        received = self.subscriber.pull(subscription=path, max_messages=10, timeout=PATIENCE_S).received_messages
        self.subscriber.acknowledge(subscription=path, ack_ids=[each.ack_id for each in received])
        return [each.message for each in received]

    def subscribe(self, name: str, to: str) -> None:
        with contextlib.suppress(exceptions.AlreadyExists):
            self.subscriber.create_subscription(name=subscription(name), topic=topic(to))


@pytest.fixture(scope="module")
def official(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Official]:
    """On a stopped clock, with a schedule, two triggers and their receiver."""
    seen = tmp_path_factory.mktemp("seen")
    command = (sys.executable, "-S", "-c", RECEIVER)
    deployment = Deployment(
        buckets=("uploads",),
        topics=("jobs", "ticks"),
        triggers=(
            Trigger("on-job", MESSAGE, {"topic": "jobs"}, "receiver", max_attempts=5),
            Trigger("on-upload", FINALIZED, {"bucket": "uploads"}, "receiver"),
        ),
        services=(ServiceSpec("receiver", command, env={"SEEN": str(seen)}, cwd=seen),),
        schedules=(Schedule("tick", 60, "ticks", data=b"tick"),),
    )
    with (
        running(CloudConfig(frozen_clock=True, official_pubsub=True), lambda _: deployment) as cloud,
        grpc.insecure_channel(cloud.environment()["PUBSUB_EMULATOR_HOST"]) as channel,
    ):
        yield Official(
            cloud,
            PublisherClient(transport=PublisherGrpcTransport(channel=channel)),
            pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)),
            seen,
        )


def test_the_topics_and_what_triggers_listen_with_are_in_google_s_emulator(official: Official) -> None:
    topics = {each.name for each in official.publisher.list_topics(project=f"projects/{PROJECT}")}
    assert topics == {topic(name) for name in ("jobs", "ticks", "on-job-dead-letter", "on-upload-dead-letter")}

    listening = official.publisher.list_topic_subscriptions(topic=topic("jobs"))
    assert list(listening) == [subscription("eventarc-us-central1-on-job-sub")]


def test_the_live_page_says_where_it_is(official: Official) -> None:
    with urllib.request.urlopen(f"{official.cloud.http_url}/_localcloud/console/overview") as answer:
        overview = json.load(answer)

    assert overview["pubsub_address"] == official.cloud.pubsub_address != overview["grpc_address"]


def test_a_message_reaches_its_function_as_a_binary_cloud_event_with_its_own_id(official: Official) -> None:
    message_id = official.publish("jobs", b"\x00work", job_id="j1")

    [(headers, body)] = until(lambda: official.events(message_id), "the event")

    assert headers["ce-type"] == MESSAGE
    assert headers["ce-source"] == f"//pubsub.googleapis.com/{topic('jobs')}"
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert body["message"]["messageId"] == message_id
    assert base64.b64decode(body["message"]["data"]) == b"\x00work"
    assert body["message"]["attributes"] == {"job_id": "j1"}
    assert body["message"]["orderingKey"] == "k"


def test_a_message_that_always_fails_is_retried_by_the_clock_and_ends_in_google_s_emulator(official: Official) -> None:
    message_id = official.publish("jobs", b"bad", poison="yes")
    for attempts in range(1, 6):
        until(lambda count=attempts: len(official.events(message_id)) == count, f"attempt {attempts}")
        until(lambda: official.cloud.call(official.cloud.run.is_idle), "its answer")
        official.cloud.clock.advance(minutes=10)

    [dead] = official.pull("on-job-dead-letter")

    assert dead.data == b"bad"
    assert dead.attributes["poison"] == "yes"
    assert dead.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert dead.attributes["CloudPubSubDeadLetterSourceSubscription"] == "eventarc-us-central1-on-job-sub"
    assert len(official.events(message_id)) == 5


def test_what_a_schedule_publishes_is_in_google_s_emulator(official: Official) -> None:
    official.subscribe("ticks-pull", "ticks")

    official.cloud.clock.advance(minutes=1)

    assert {message.data for message in official.pull("ticks-pull")} == {b"tick"}


def test_rest_on_the_http_port_is_google_s_emulator(official: Official) -> None:
    body = json.dumps({"messages": [{"data": base64.b64encode(b"by REST").decode()}]}).encode()
    url = f"{official.cloud.http_url}/v1/{topic('jobs')}:publish"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=PATIENCE_S) as answer:
        [message_id] = json.load(answer)["messageIds"]

    assert until(lambda: official.events(message_id), "the event")
    with urllib.request.urlopen(f"{official.cloud.http_url}/v1/projects/{PROJECT}/topics?pageSize=1") as answer:
        assert len(json.load(answer)["topics"]) == 1
    with pytest.raises(urllib.error.HTTPError, match="404") as refused:
        urllib.request.urlopen(f"{official.cloud.http_url}/v1/{topic('absent')}", timeout=PATIENCE_S)
    assert json.load(refused.value)["error"]["status"] == "NOT_FOUND"


def test_storage_events_do_not_take_the_way_by_google_s_emulator(official: Official) -> None:
    url = f"{official.cloud.http_url}/upload/storage/v1/b/uploads/o?uploadType=media&name=a.txt"
    urllib.request.urlopen(urllib.request.Request(url, b"x"), timeout=PATIENCE_S).close()

    def arrived() -> list[Any]:
        requests = [json.loads(path.read_text()) for path in official.seen.glob("????")]
        return [headers for headers, _ in requests if headers["ce-type"] == FINALIZED]

    [headers] = until(arrived, "the event")
    assert headers["ce-subject"] == "objects/a.txt"


def test_what_is_reset_in_google_s_emulator_is_put_up_again(official: Official) -> None:
    address = official.cloud.environment()["PUBSUB_EMULATOR_HOST"]
    urllib.request.urlopen(urllib.request.Request(f"http://{address}/reset", b""), timeout=PATIENCE_S).close()
    listening = subscription("eventarc-us-central1-on-job-sub")

    def there() -> bool:
        try:
            return bool(official.subscriber.get_subscription(subscription=listening))
        except exceptions.NotFound:
            return False

    until(there, "the subscription")
    message_id = official.publish("jobs", b"after")
    assert until(lambda: official.events(message_id), "the event")


def test_google_s_emulator_is_gone_when_the_local_cloud_is_killed(tmp_path: Path) -> None:
    program = (
        "import threading\n"
        "from localcloud.cloud import CloudConfig, running\n"
        "with running(CloudConfig(official_pubsub=True)) as cloud:\n"
        "    print(cloud.pubsub_address, flush=True)\n"
        "    threading.Event().wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert answers(address)
        os.kill(process.pid, signal.SIGKILL)

    until(lambda: not answers(address), "the end of Google's emulator")


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/", timeout=PATIENCE_S):
            return True
    except OSError:
        return False


def test_a_state_that_was_used_with_google_s_emulator_serves_without_it(tmp_path: Path) -> None:
    deployment = Deployment(topics=("jobs",))
    with running(CloudConfig(state=tmp_path, official_pubsub=True), lambda _: deployment) as cloud:
        assert [each.name for each in _subscriptions(cloud)] == [subscription(f"{RELAY}jobs")]

    with running(CloudConfig(state=tmp_path), lambda _: deployment) as cloud:
        assert _subscriptions(cloud) == []


def _subscriptions(cloud: LocalCloud) -> list[Any]:
    return list(cloud.call(cloud.pubsub.subscriptions, f"projects/{PROJECT}"))
