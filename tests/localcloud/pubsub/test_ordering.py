"""Messages of one ordering key come in the order they were published, whatever is nacked, late or lost."""

from __future__ import annotations

import pytest
from google.cloud import pubsub_v1

from localcloud.pubsub.resources import PublishedMessage, SubscriptionSpec
from tests.localcloud.pubsub.pubsub_cloud import PATIENCE_S, Cloud, stop, subscription_path

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

WORKERS = subscription_path("workers")


def publish(cloud: Cloud, *texts: str, key: str = "k") -> None:
    messages = [PublishedMessage(text.encode(), ordering_key=key) for text in texts]
    cloud.call(lambda: cloud.pubsub.publish("jobs", messages))


def with_messages(cloud: Cloud, *texts: str, **settings: object) -> None:
    cloud.call(lambda: cloud.pubsub.create_topic("jobs"))
    cloud.call(lambda: cloud.pubsub.create_topic("dead"))
    spec = SubscriptionSpec("workers", "jobs", ordered=True, **settings)
    cloud.call(lambda: cloud.pubsub.create_subscription(spec))
    publish(cloud, *texts)


def pull(cloud: Cloud, count: int = 10) -> dict[str, str]:
    """Ack ids by payload, in the order of delivery."""
    request = {"subscription": WORKERS, "max_messages": count, "return_immediately": True}
    received = cloud.subscriber().pull(request, timeout=PATIENCE_S).received_messages
    return {each.message.data.decode(): each.ack_id for each in received}


def nack(cloud: Cloud, *ack_ids: str) -> None:
    cloud.subscriber().modify_ack_deadline(subscription=WORKERS, ack_ids=ack_ids, ack_deadline_seconds=0)


def test_messages_of_a_key_are_out_together_with_one_subscriber_only(cloud: Cloud) -> None:
    with_messages(cloud, *"abc")
    publish(cloud, "other", key="other")
    first = pull(cloud, 2)

    assert list(first) == ["a", "b"]
    assert list(pull(cloud)) == ["other"]
    cloud.subscriber().acknowledge(subscription=WORKERS, ack_ids=first.values())
    assert list(pull(cloud)) == ["c"]


def test_a_nack_brings_back_the_later_messages_of_its_key_that_are_out(cloud: Cloud) -> None:
    with_messages(cloud, *"abcd")
    publish(cloud, "other", key="other")
    first = pull(cloud)
    assert list(first) == ["a", "b", "c", "d", "other"]

    nack(cloud, first["b"])
    cloud.subscriber().acknowledge(subscription=WORKERS, ack_ids=[first["a"]])

    assert list(pull(cloud)) == ["b", "c", "d"]


def test_what_was_acknowledged_out_of_order_does_not_come_back(cloud: Cloud) -> None:
    with_messages(cloud, *"abc")
    first = pull(cloud)
    cloud.subscriber().acknowledge(subscription=WORKERS, ack_ids=[first["b"]])

    nack(cloud, first["a"])

    assert list(pull(cloud)) == ["a", "c"]


def test_the_ack_id_of_a_message_taken_back_is_void_once_it_is_out_again(cloud: Cloud) -> None:
    with_messages(cloud, *"ab")
    first = pull(cloud)
    nack(cloud, first["a"])
    second = pull(cloud)

    cloud.subscriber().acknowledge(subscription=WORKERS, ack_ids=[first["b"]])

    nack(cloud, second["a"])
    assert list(pull(cloud)) == ["a", "b"]


def test_leases_that_run_out_together_come_back_in_order(cloud: Cloud) -> None:
    with_messages(cloud, *"abc")
    pull(cloud)
    cloud.advance(seconds=10.1)

    assert list(pull(cloud)) == ["a", "b", "c"]


def test_while_one_message_backs_off_the_later_ones_of_its_key_wait(cloud: Cloud) -> None:
    with_messages(cloud, *"abc", backoff_s=(30.0, 60.0))
    first = pull(cloud)
    nack(cloud, *first.values())

    cloud.advance(seconds=29)
    assert pull(cloud) == {}
    cloud.advance(seconds=1)
    assert list(pull(cloud)) == ["a", "b", "c"]


def test_leases_taken_back_for_an_earlier_message_are_no_delivery_attempts(cloud: Cloud) -> None:
    with_messages(cloud, *"ab", dead_letter_topic="dead", max_delivery_attempts=5)
    for _ in range(5):
        nack(cloud, pull(cloud)["a"])

    cloud.advance(seconds=11)  # the last lease of b runs out: that one counts
    request = {"subscription": WORKERS, "max_messages": 10, "return_immediately": True}
    [received] = cloud.subscriber().pull(request).received_messages
    assert (received.message.data, received.delivery_attempt) == (b"b", 2)


def test_a_streaming_subscriber_sees_an_order_after_nacks_too(cloud: Cloud) -> None:
    with_messages(cloud, *"012345")
    seen: list[int] = []
    acknowledged: set[int] = set()
    overtaken: list[int] = []

    def work(message: pubsub_v1.subscriber.message.Message) -> None:
        number = int(message.data)
        overtaken.extend(set(range(seen[-1] + 1 if seen else 0, number)) - acknowledged)
        seen.append(number)
        if number == 2 and seen.count(2) < 3:
            message.nack()
        else:
            acknowledged.add(number)
            message.ack()

    streaming = cloud.subscriber().subscribe(WORKERS, work)
    cloud.wait_until(lambda: cloud.pubsub.backlog("workers") == 0)
    stop(streaming)

    assert not overtaken
    assert seen.count(2) == 3
    assert set(seen) == set(range(6))
