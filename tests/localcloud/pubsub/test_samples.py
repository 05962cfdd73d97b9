"""What Google's samples for google-cloud-pubsub do, one flow after another: each works as its page says.

https://github.com/googleapis/python-pubsub/tree/main/samples/snippets
"""

from __future__ import annotations

import queue
import threading
from concurrent import futures
from typing import Any

import pytest
from google.api_core import retry
from google.cloud import pubsub_v1
from google.protobuf import duration_pb2, field_mask_pb2
from google.pubsub_v1.types import DeadLetterPolicy

from tests.localcloud.pubsub.pubsub_cloud import (
    PATIENCE_S,
    PROJECT,
    Cloud,
    Receiver,
    stop,
    subscription_path,
    topic_path,
    wait_until,
)

TOPIC, DEAD, SUBSCRIPTION = topic_path("samples"), topic_path("samples-dead"), subscription_path("samples")
Message = pubsub_v1.subscriber.message.Message


def with_subscription(cloud: Cloud, **settings: Any) -> pubsub_v1.SubscriberClient:
    cloud.publisher().create_topic(request={"name": TOPIC})
    subscriber = cloud.subscriber()
    subscriber.create_subscription(request={"name": SUBSCRIPTION, "topic": TOPIC, **settings})
    return subscriber


def publisher_with(cloud: Cloud, **settings: Any) -> pubsub_v1.PublisherClient:
    return pubsub_v1.PublisherClient(transport=cloud.publisher().transport, **settings)


def test_publishing_in_batches_with_an_error_handler(cloud: Cloud) -> None:
    with_subscription(cloud)
    batches = pubsub_v1.types.BatchSettings(max_messages=10, max_bytes=1024, max_latency=1)
    publisher = publisher_with(cloud, batch_settings=batches)
    published: queue.Queue[str] = queue.Queue()

    sent = [publisher.publish(TOPIC, f"message {number}".encode(), origin="sample") for number in range(25)]
    for future in sent:
        future.add_done_callback(lambda done: published.put(done.result()))
    futures.wait(sent, timeout=PATIENCE_S)

    assert len({published.get(timeout=PATIENCE_S) for _ in sent}) == 25
    assert cloud.call(lambda: cloud.pubsub.backlog("samples")) == 25


def test_publishing_with_flow_control_and_retry_settings(cloud: Cloud) -> None:
    with_subscription(cloud)
    limits = pubsub_v1.types.PublishFlowControl(
        message_limit=5, byte_limit=10 * 1024, limit_exceeded_behavior=pubsub_v1.types.LimitExceededBehavior.BLOCK
    )
    options = pubsub_v1.types.PublisherOptions(flow_control=limits)
    publisher = publisher_with(cloud, publisher_options=options)
    patient = retry.Retry(initial=0.1, maximum=1.0, multiplier=1.3, timeout=PATIENCE_S)

    sent = [publisher.publish(TOPIC, str(number).encode(), retry=patient) for number in range(50)]

    assert len({future.result(PATIENCE_S) for future in sent}) == 50


def test_ordered_publishing_resumes_after_a_message_that_cannot_be_sent(cloud: Cloud) -> None:
    with_subscription(cloud, enable_message_ordering=True)
    options = pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
    publisher = publisher_with(cloud, publisher_options=options)
    with pytest.raises(Exception, match="at most 1024"):
        publisher.publish(TOPIC, b"bad", ordering_key="k", attribute="v" * 1025).result(PATIENCE_S)
    publisher.resume_publish(TOPIC, "k")
    for future in [publisher.publish(TOPIC, str(number).encode(), ordering_key="k") for number in range(5)]:
        future.result(PATIENCE_S)

    seen: queue.Queue[bytes] = queue.Queue()
    streaming = cloud.subscriber().subscribe(SUBSCRIPTION, lambda message: (seen.put(message.data), message.ack()))

    assert [seen.get(timeout=PATIENCE_S) for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
    stop(streaming)


def test_receiving_with_attributes_flow_control_and_a_time_limit(cloud: Cloud) -> None:
    subscriber = with_subscription(cloud)
    cloud.publisher().publish(TOPIC, b"hello", origin="sample", username="gcp").result(PATIENCE_S)
    seen: queue.Queue[Message] = queue.Queue()

    def callback(message: Message) -> None:
        seen.put(message)
        message.ack()

    limits = pubsub_v1.types.FlowControl(max_messages=10)
    streaming = subscriber.subscribe(SUBSCRIPTION, callback=callback, flow_control=limits)
    with pytest.raises(futures.TimeoutError):
        streaming.result(timeout=0.2)
    streaming.cancel()
    streaming.result(PATIENCE_S)

    message = seen.get(timeout=PATIENCE_S)
    assert dict(message.attributes) == {"origin": "sample", "username": "gcp"}


def test_pulling_synchronously_with_a_lease_that_is_extended(cloud: Cloud) -> None:
    subscriber = with_subscription(cloud)
    cloud.publisher().publish(TOPIC, b"long work").result(PATIENCE_S)
    response = subscriber.pull(
        request={"subscription": SUBSCRIPTION, "max_messages": 3}, retry=retry.Retry(deadline=PATIENCE_S)
    )
    [ack_id] = [each.ack_id for each in response.received_messages]
    for _ in range(3):
        cloud.advance(seconds=9)
        subscriber.modify_ack_deadline(
            request={"subscription": SUBSCRIPTION, "ack_ids": [ack_id], "ack_deadline_seconds": 10}
        )

    subscriber.acknowledge(request={"subscription": SUBSCRIPTION, "ack_ids": [ack_id]})

    assert cloud.call(lambda: cloud.pubsub.backlog("samples")) == 0


def test_acknowledging_with_a_response_where_delivery_is_exactly_once(cloud: Cloud) -> None:
    subscriber = with_subscription(cloud, enable_exactly_once_delivery=True)
    cloud.publisher().publish(TOPIC, b"once").result(PATIENCE_S)
    outcomes: queue.Queue[Any] = queue.Queue()
    streaming = subscriber.subscribe(
        SUBSCRIPTION, lambda message: outcomes.put(message.ack_with_response().result(PATIENCE_S))
    )

    assert outcomes.get(timeout=PATIENCE_S).name == "SUCCESS"
    stop(streaming)


def test_a_dead_letter_policy_is_set_changed_and_removed_and_attempts_are_told(cloud: Cloud) -> None:
    cloud.publisher().create_topic(request={"name": DEAD})
    subscriber = with_subscription(
        cloud, dead_letter_policy=DeadLetterPolicy(dead_letter_topic=DEAD, max_delivery_attempts=10)
    )
    mask = field_mask_pb2.FieldMask(paths=["dead_letter_policy"])
    policy = DeadLetterPolicy(dead_letter_topic=DEAD, max_delivery_attempts=20)
    wanted = {"name": SUBSCRIPTION, "topic": TOPIC, "dead_letter_policy": policy}
    changed = subscriber.update_subscription(request={"subscription": wanted, "update_mask": mask})
    assert changed.dead_letter_policy.max_delivery_attempts == 20
    cloud.publisher().publish(TOPIC, b"x").result(PATIENCE_S)
    attempts: queue.Queue[int | None] = queue.Queue()
    streaming = subscriber.subscribe(
        SUBSCRIPTION, lambda message: (attempts.put(message.delivery_attempt), message.ack())
    )
    assert attempts.get(timeout=PATIENCE_S) == 1
    stop(streaming)

    removed = subscriber.update_subscription(
        request={"subscription": {"name": SUBSCRIPTION, "topic": TOPIC}, "update_mask": mask}
    )

    assert not removed.dead_letter_policy.dead_letter_topic


def test_filters_and_retention_are_shown_as_they_were_set(cloud: Cloud) -> None:
    subscriber = with_subscription(
        cloud,
        filter='attributes.author="unknown"',
        retain_acked_messages=True,
        message_retention_duration=duration_pb2.Duration(seconds=86_400),
    )
    project = f"projects/{PROJECT}"

    [found] = subscriber.list_subscriptions(request={"project": project})
    assert (found.filter, found.retain_acked_messages) == ('attributes.author="unknown"', True)
    assert list(cloud.publisher().list_topic_subscriptions(request={"topic": TOPIC})) == [SUBSCRIPTION]


@pytest.mark.parametrize("unwrapped", [False, True], ids=["wrapped", "unwrapped"])
def test_a_push_endpoint_is_given_and_changed(cloud: Cloud, receiver: Receiver, unwrapped: bool) -> None:
    config: dict[str, Any] = {"push_endpoint": f"{receiver.url}/first"}
    if unwrapped:
        config["no_wrapper"] = {"write_metadata": False}
    subscriber = with_subscription(cloud, push_config=config)
    cloud.publisher().publish(TOPIC, b"{}", a="b").result(PATIENCE_S)
    receiver.wait_for(1)
    cloud.wait_until(cloud.pubsub.is_idle)
    mask = field_mask_pb2.FieldMask(paths=["push_config.push_endpoint"])
    wanted = {"name": SUBSCRIPTION, "topic": TOPIC, "push_config": {"push_endpoint": f"{receiver.url}/second"}}
    subscriber.update_subscription(request={"subscription": wanted, "update_mask": mask})
    cloud.publisher().publish(TOPIC, b"{}", a="b").result(PATIENCE_S)

    first, second = receiver.wait_for(2)

    assert (first.path, second.path) == ("/first", "/second")
    for request in (first, second):
        assert (request.body == b"{}") is unwrapped
        assert "a" not in request.headers
        assert not unwrapped or not [name for name in request.headers if name.startswith("x-goog-pubsub")]


def test_several_subscribers_share_the_messages_of_a_subscription(cloud: Cloud) -> None:
    subscriber = with_subscription(cloud)
    seen: list[set[str]] = [set(), set()]
    both = threading.Event()

    def callback(mine: set[str]) -> Any:
        def work(message: Message) -> None:
            mine.add(message.message_id)
            if all(seen):
                both.set()
            both.wait(PATIENCE_S)
            message.ack()

        return work

    limits = pubsub_v1.types.FlowControl(max_messages=1)
    streams = [subscriber.subscribe(SUBSCRIPTION, callback(mine), flow_control=limits) for mine in seen]
    cloud.wait_until(lambda: len(cloud.pubsub.subscription(SUBSCRIPTION).listeners) == 2)
    sent = [cloud.publisher().publish(TOPIC, str(number).encode()) for number in range(20)]
    ids = {future.result(PATIENCE_S) for future in sent}

    wait_until(lambda: seen[0] | seen[1] == ids)
    cloud.wait_until(lambda: cloud.pubsub.backlog("samples") == 0)
    assert not seen[0] & seen[1]
    for stream in streams:
        stop(stream)
