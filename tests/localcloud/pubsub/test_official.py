"""The same calls get the same answers from Google's own emulator; skipped where that is not installed.

Only where the emulator is known to follow the service. It ignores filters, for one, so those are not compared.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.protobuf import duration_pb2, field_mask_pb2
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from tests.localcloud.pubsub.pubsub_cloud import PATIENCE_S, Cloud, subscription_path, topic_path, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning"),
]

JAR = Path("platform/pubsub-emulator/lib")
SDKS = (os.environ.get("CLOUDSDK_ROOT_DIR", ""), "/usr/lib/google-cloud-sdk", "~/google-cloud-sdk")
TOPIC, SUBSCRIPTION = topic_path("jobs"), subscription_path("workers")


class Clients:
    """The real clients of one server."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self._channel))
        self.subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=self._channel))

    def prepare(self, **settings: object) -> None:
        self.publisher.create_topic(name=TOPIC)
        self.subscriber.create_subscription(request={"name": SUBSCRIPTION, "topic": TOPIC, **settings})

    def publish(self, *payloads: bytes) -> None:
        self.publisher.publish(topic=TOPIC, messages=[{"data": payload} for payload in payloads])

    def pull(self, subscription: str = SUBSCRIPTION) -> list[pubsub_v1.types.ReceivedMessage]:
        response = self.subscriber.pull(subscription=subscription, max_messages=10, timeout=PATIENCE_S)
        return list(response.received_messages)

    def close(self) -> None:
        self._channel.close()


@pytest.fixture(scope="module")
def official_address() -> Iterator[str]:
    jars = [jar for sdk in SDKS if sdk for jar in Path(sdk).expanduser().joinpath(JAR).glob("*-all.jar")]
    java = shutil.which("java")
    if not jars or java is None:
        pytest.skip("Google's Pub/Sub emulator is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    server = subprocess.Popen(
        [java, *flags, "-jar", str(jars[0]), "--host=127.0.0.1", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/"), "Google's emulator")
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except OSError:
        return False


@pytest.fixture(params=["ours", "official"])
def clients(request: pytest.FixtureRequest) -> Iterator[Clients]:
    if request.param == "ours":
        cloud = Cloud()
        address, close = cloud.grpc_address, cloud.close
    else:
        address = request.getfixturevalue("official_address")
        reset = urllib.request.Request(f"http://{address}/reset", method="POST")
        urllib.request.urlopen(reset, timeout=PATIENCE_S).close()
        close = lambda: None  # noqa: E731  # the server is the module's
    clients = Clients(address)
    yield clients
    clients.close()
    close()


REFUSED: dict[str, tuple[type[Exception], Callable[[Clients], object]]] = {
    "a second topic": (exceptions.AlreadyExists, lambda c: c.publisher.create_topic(name=TOPIC)),
    "a second subscription": (
        exceptions.AlreadyExists,
        lambda c: c.subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC),
    ),
    "a topic that is not there": (exceptions.NotFound, lambda c: c.publisher.get_topic(topic=topic_path("absent"))),
    "publishing to no topic": (
        exceptions.NotFound,
        lambda c: c.publisher.publish(topic=topic_path("absent"), messages=[{"data": b"x"}]),
    ),
    "subscribing to no topic": (
        exceptions.NotFound,
        lambda c: c.subscriber.create_subscription(name=subscription_path("other"), topic=topic_path("absent")),
    ),
    "an empty message": (
        exceptions.InvalidArgument,
        lambda c: c.publisher.publish(topic=TOPIC, messages=[{"data": b""}]),
    ),
    "a reserved topic name": (
        exceptions.InvalidArgument,
        lambda c: c.publisher.create_topic(name=topic_path("goog-things")),
    ),
    "too short a retention": (
        exceptions.InvalidArgument,
        lambda c: c.subscriber.create_subscription(
            request={
                "name": subscription_path("other"),
                "topic": TOPIC,
                "message_retention_duration": duration_pb2.Duration(seconds=300),
            }
        ),
    ),
    "another filter": (
        exceptions.InvalidArgument,
        lambda c: c.subscriber.update_subscription(
            subscription={"name": SUBSCRIPTION, "filter": "attributes:a"},
            update_mask=field_mask_pb2.FieldMask(paths=["filter"]),
        ),
    ),
    "a dead-letter topic that is not there": (
        exceptions.NotFound,
        lambda c: c.subscriber.create_subscription(
            request={
                "name": subscription_path("other"),
                "topic": TOPIC,
                "dead_letter_policy": {"dead_letter_topic": topic_path("absent")},
            }
        ),
    ),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_is_refused_is_refused_alike(clients: Clients, case: str) -> None:
    clients.prepare()
    error, call = REFUSED[case]
    with pytest.raises(error):
        call(clients)


def test_published_messages_are_pulled_and_a_nack_brings_one_back(clients: Clients) -> None:
    clients.prepare()
    clients.publish(b"a")
    [first] = clients.pull()
    clients.subscriber.modify_ack_deadline(subscription=SUBSCRIPTION, ack_ids=[first.ack_id], ack_deadline_seconds=0)
    [second] = clients.pull()

    assert (first.message.data, first.delivery_attempt) == (b"a", 0)
    assert second.message.message_id == first.message.message_id
    assert second.ack_id != first.ack_id


def test_a_topic_that_is_deleted_leaves_its_subscription(clients: Clients) -> None:
    clients.prepare()
    clients.publisher.delete_topic(topic=TOPIC)

    assert clients.subscriber.get_subscription(subscription=SUBSCRIPTION).topic == "_deleted-topic_"


def test_a_poison_message_ends_in_the_dead_letter_topic(clients: Clients) -> None:
    clients.publisher.create_topic(name=topic_path("dead"))
    clients.subscriber.create_subscription(name=subscription_path("dead"), topic=topic_path("dead"))
    clients.prepare(dead_letter_policy={"dead_letter_topic": topic_path("dead"), "max_delivery_attempts": 5})
    clients.publish(b"poison")
    attempts = []
    for _ in range(5):
        [received] = clients.pull()
        attempts.append(received.delivery_attempt)
        clients.subscriber.modify_ack_deadline(
            subscription=SUBSCRIPTION, ack_ids=[received.ack_id], ack_deadline_seconds=0
        )

    # Google's emulator gives a message up when it would deliver it once more.
    once_more = {"subscription": SUBSCRIPTION, "max_messages": 1, "return_immediately": True}
    assert not clients.subscriber.pull(once_more, timeout=PATIENCE_S).received_messages
    [dead] = clients.pull(subscription_path("dead"))
    assert attempts == [1, 2, 3, 4, 5]
    assert {name: value for name, value in dead.message.attributes.items() if "Time" not in name} == {
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": "workers",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "demo-project",
    }
    assert "CloudPubSubDeadLetterSourceTopicPublishTime" in dead.message.attributes


def test_ordered_messages_come_in_order(clients: Clients) -> None:
    clients.prepare(enable_message_ordering=True)
    messages = [{"data": str(number).encode(), "ordering_key": "k"} for number in range(5)]
    clients.publisher.publish(topic=TOPIC, messages=messages)
    seen: list[bytes] = []
    while len(seen) < 5:
        received = clients.pull()
        seen += [each.message.data for each in received]
        clients.subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=[each.ack_id for each in received])

    assert seen == [b"0", b"1", b"2", b"3", b"4"]


def test_the_defaults_of_a_subscription_are_the_same(clients: Clients) -> None:
    clients.prepare(retry_policy={})
    found = clients.subscriber.get_subscription(subscription=SUBSCRIPTION)

    assert found.ack_deadline_seconds == 10
    assert found.message_retention_duration.total_seconds() == 604_800
