"""The same real clients before ours and before Google's emulator, for tests that compare the two."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.protobuf import duration_pb2, field_mask_pb2
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from tests.localcloud.pubsub.pubsub_cloud import PATIENCE_S, PROJECT, Cloud, subscription_path, topic_path, wait_until

PROJECT_PATH = f"projects/{PROJECT}"
TOPIC, SUBSCRIPTION = topic_path("jobs"), subscription_path("workers")


class Server:
    """One of the two, empty, with calls as a test writes them."""

    def __init__(self, address: str, pass_time: Callable[[float], None]) -> None:
        """`pass_time(seconds)` moves the clock, where there is one to move."""
        self._channel = grpc.insecure_channel(address)
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self._channel))
        self.subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=self._channel))
        self.pass_time = pass_time

    def close(self) -> None:
        self._channel.close()

    def prepare(self, **settings: Any) -> None:
        """The topic, and its subscription with these settings."""
        self.publisher.create_topic(name=TOPIC)
        self.subscribe(SUBSCRIPTION, **settings)

    def subscribe(self, name: str, **settings: Any) -> Any:
        return self.subscriber.create_subscription(request={"name": name, "topic": TOPIC, **settings})

    def publish(self, *payloads: bytes, key: str = "", **attributes: str) -> list[str]:
        messages = [{"data": data, "ordering_key": key, "attributes": attributes} for data in payloads]
        return list(self.publisher.publish(topic=TOPIC, messages=messages).message_ids)

    def pull(self, subscription: str = SUBSCRIPTION, limit: int = 10) -> list[Any]:
        """What comes next; waits for it."""
        response = self.subscriber.pull(subscription=subscription, max_messages=limit, timeout=PATIENCE_S)
        return list(response.received_messages)

    def pull_now(self, subscription: str = SUBSCRIPTION) -> list[Any]:
        """What is there."""
        request = {"subscription": subscription, "max_messages": 10, "return_immediately": True}
        return list(self.subscriber.pull(request, timeout=PATIENCE_S).received_messages)

    def acknowledge(self, *received: Any) -> None:
        self.subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=[each.ack_id for each in received])

    def extend(self, *received: Any, seconds: int) -> None:
        """Change the leases; 0 gives the messages back."""
        ack_ids = [each.ack_id for each in received]
        self.subscriber.modify_ack_deadline(subscription=SUBSCRIPTION, ack_ids=ack_ids, ack_deadline_seconds=seconds)

    def update(self, field: str, **settings: Any) -> Any:
        """Change one field of the subscription."""
        mask = field_mask_pb2.FieldMask(paths=[field] if field else [])
        return self.subscriber.update_subscription(subscription={"name": SUBSCRIPTION, **settings}, update_mask=mask)

    def wait_until(self, claim: Callable[[], object], what: str) -> None:
        """Wait for what comes about by time."""

        def after_a_while() -> object:
            self.pass_time(0.05)
            return claim()

        wait_until(after_a_while, what)

    def refusal(self, call: Callable[[Server], object]) -> str:
        """The class of the error that a call ends with; "accepted" if there is none."""
        try:
            call(self)
        except exceptions.GoogleAPICallError as error:
            return type(error).__name__
        return "accepted"


@contextmanager
def ours() -> Iterator[Server]:
    cloud = Cloud()
    server = Server(cloud.grpc_address, lambda seconds: cloud.advance(seconds=seconds))
    try:
        yield server
    finally:
        server.close()
        cloud.close()


@contextmanager
def official(address: str) -> Iterator[Server]:
    """Emptied first. Time passes by itself: what waits for a message waits for it."""
    reset = urllib.request.Request(f"http://{address}/reset", method="POST")
    urllib.request.urlopen(reset, timeout=PATIENCE_S).close()
    server = Server(address, lambda _: None)
    try:
        yield server
    finally:
        server.close()


def seconds(value: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(int(value * 1e9))
    return duration
