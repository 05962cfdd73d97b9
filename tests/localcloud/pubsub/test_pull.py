"""Messages reach a subscriber that pulls, again and again until it acknowledges them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.pubsub_v1.types import StreamingPullRequest

from localcloud.faults import Fault
from localcloud.pubsub import backlog
from localcloud.pubsub.resources import SubscriptionSpec
from tests.localcloud.pubsub.pubsub_cloud import PATIENCE_S, Cloud, stop, subscription_path, topic_path, wait_until

# Without it a pull waits for a message: fine for a subscriber, slow for a test that expects none.
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

JOBS, WORKERS = topic_path("jobs"), subscription_path("workers")


def with_subscription(cloud: Cloud, **settings: object) -> None:
    cloud.call(lambda: cloud.pubsub.create_topic("jobs"))
    cloud.call(lambda: cloud.pubsub.create_subscription(SubscriptionSpec("workers", "jobs", **settings)))


def publish(cloud: Cloud, *payloads: str, **attributes: str) -> list[str]:
    publisher = cloud.publisher()
    futures = [publisher.publish(JOBS, payload.encode(), **attributes) for payload in payloads]
    return [future.result(PATIENCE_S) for future in futures]


def pull(cloud: Cloud, count: int = 10) -> list[pubsub_v1.types.ReceivedMessage]:
    request = {"subscription": WORKERS, "max_messages": count, "return_immediately": True}
    return list(cloud.subscriber().pull(request, timeout=PATIENCE_S).received_messages)


def texts(messages: list[pubsub_v1.types.ReceivedMessage]) -> list[str]:
    return [each.message.data.decode() for each in messages]


def test_a_published_message_is_pulled_with_its_id_time_and_attributes(cloud: Cloud) -> None:
    with_subscription(cloud)
    [message_id] = publish(cloud, "hello", cluster="l4")

    [received] = pull(cloud)

    assert received.message.message_id == message_id
    assert received.message.attributes == {"cluster": "l4"}
    assert received.message.publish_time.timestamp() == cloud.clock.time()
    assert received.delivery_attempt == 0


def test_a_leased_message_comes_again_when_its_lease_ends(cloud: Cloud) -> None:
    with_subscription(cloud, ack_deadline_s=30)
    publish(cloud, "a")
    first = pull(cloud)

    cloud.advance(seconds=29.9)
    assert pull(cloud) == []
    cloud.advance(seconds=0.2)
    second = pull(cloud)

    assert texts(second) == ["a"]
    assert second[0].ack_id != first[0].ack_id


def test_an_acknowledged_message_is_gone(cloud: Cloud) -> None:
    with_subscription(cloud)
    publish(cloud, "a")
    cloud.subscriber().acknowledge(subscription=WORKERS, ack_ids=[pull(cloud)[0].ack_id])

    cloud.advance(minutes=10)

    assert pull(cloud) == []
    assert cloud.call(lambda: cloud.pubsub.backlog("workers")) == 0
    assert list(cloud.context.store.items("pubsub.messages")) == []


def test_a_stale_ack_id_does_not_acknowledge_the_new_lease(cloud: Cloud) -> None:
    with_subscription(cloud)
    publish(cloud, "a")
    stale = pull(cloud)[0].ack_id
    cloud.advance(seconds=11)
    pull(cloud)

    cloud.subscriber().acknowledge(subscription=WORKERS, ack_ids=[stale, "999-1"])

    assert cloud.call(lambda: cloud.pubsub.backlog("workers")) == 1


def test_a_late_acknowledgement_counts_before_the_redelivery(cloud: Cloud) -> None:
    with_subscription(cloud)
    publish(cloud, "a")
    received = pull(cloud)
    cloud.advance(seconds=11)

    cloud.subscriber().acknowledge(subscription=WORKERS, ack_ids=[received[0].ack_id])

    assert pull(cloud) == []


def test_modify_ack_deadline_extends_a_lease_and_zero_gives_it_back(cloud: Cloud) -> None:
    with_subscription(cloud)
    publish(cloud, "a")
    ack_id = pull(cloud)[0].ack_id
    subscriber = cloud.subscriber()

    subscriber.modify_ack_deadline(subscription=WORKERS, ack_ids=[ack_id], ack_deadline_seconds=60)
    cloud.advance(seconds=50)
    assert pull(cloud) == []
    subscriber.modify_ack_deadline(subscription=WORKERS, ack_ids=[ack_id], ack_deadline_seconds=0)

    assert texts(pull(cloud)) == ["a"]


def test_a_retry_policy_makes_a_nacked_message_wait_longer_each_time(cloud: Cloud) -> None:
    with_subscription(cloud, backoff_s=(10.0, 30.0))
    publish(cloud, "a")
    waits = []

    for _ in range(4):
        [received] = pull(cloud)
        cloud.subscriber().modify_ack_deadline(subscription=WORKERS, ack_ids=[received.ack_id], ack_deadline_seconds=0)
        due = cloud.call(lambda: cloud.pubsub.subscription(WORKERS).queue.next_due())
        waits.append(round(due - cloud.clock.time()))
        cloud.advance(seconds=waits[-1])

    assert waits == [10, 20, 30, 30]


def test_after_its_attempts_a_message_goes_to_the_dead_letter_topic(cloud: Cloud) -> None:
    cloud.call(lambda: cloud.pubsub.create_topic("dead"))
    cloud.call(lambda: cloud.pubsub.create_subscription(SubscriptionSpec("dead", "dead")))
    with_subscription(cloud, dead_letter_topic="dead", max_delivery_attempts=5)
    publish(cloud, "poison", kind="x")
    attempts = []
    for _ in range(5):
        [received] = pull(cloud)
        attempts.append(received.delivery_attempt)
        cloud.advance(seconds=10.1)

    assert attempts == [1, 2, 3, 4, 5]
    assert pull(cloud) == []
    request = {"subscription": subscription_path("dead"), "max_messages": 5, "return_immediately": True}
    [dead] = cloud.subscriber().pull(request).received_messages
    assert dead.message.data == b"poison"
    assert dict(dead.message.attributes) == {
        "kind": "x",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": "workers",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "demo-project",
        "CloudPubSubDeadLetterSourceTopicPublishTime": "2027-01-15T08:00:00Z",
    }


def test_nothing_is_left_in_the_store_of_a_message_that_is_done_with(cloud: Cloud) -> None:
    cloud.call(lambda: cloud.pubsub.create_topic("dead"))
    with_subscription(cloud, dead_letter_topic="dead")
    publish(cloud, "a")
    cloud.subscriber().acknowledge(subscription=WORKERS, ack_ids=[pull(cloud)[0].ack_id])

    def rows() -> list[int]:
        return [cloud.context.store.count(table) for table in ("pubsub.messages", "pubsub.attempts", "pubsub.retained")]

    assert cloud.call(rows) == [0, 0, 0]


def test_messages_that_do_not_match_the_filter_are_not_kept(cloud: Cloud) -> None:
    with_subscription(cloud, filter='attributes.cluster = "l4"')
    publish(cloud, "yes", cluster="l4")
    publish(cloud, "no", cluster="a100")

    assert texts(pull(cloud)) == ["yes"]
    assert len(list(cloud.context.store.items("pubsub.messages"))) == 1


@pytest.mark.parametrize("page", [1, 500])
def test_messages_expire_after_the_retention_time(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(backlog, "PAGE", page)  # what is read ahead, and what is not
    with_subscription(cloud, retention_s=600)
    publish(cloud, "old")
    cloud.advance(minutes=5)
    publish(cloud, "new")

    cloud.advance(minutes=4, seconds=59)
    assert cloud.call(lambda: cloud.pubsub.backlog("workers")) == 2
    cloud.advance(seconds=1)
    assert texts(pull(cloud)) == ["new"]


@pytest.mark.parametrize("page", [1, 500])
def test_seek_to_a_time_acknowledges_what_was_published_before(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(backlog, "PAGE", page)
    with_subscription(cloud)
    for text in ("before", "before that, too"):
        publish(cloud, text)
        cloud.advance(seconds=5)
    publish(cloud, "just then")

    cloud.subscriber().seek(request={"subscription": WORKERS, "time": cloud.clock.now()})

    assert texts(pull(cloud)) == ["just then"]


def test_pull_waits_for_a_message(cloud: Cloud) -> None:
    with_subscription(cloud)
    waiting = cloud.subscriber().transport.pull.future(
        pubsub_v1.types.PullRequest(subscription=WORKERS, max_messages=1), timeout=PATIENCE_S
    )
    cloud.wait_until(lambda: cloud.pubsub.subscription(WORKERS).listeners)

    publish(cloud, "at last")

    assert texts(list(waiting.result().received_messages)) == ["at last"]


def test_an_empty_pull_answers_before_the_caller_gives_up(cloud: Cloud) -> None:
    with_subscription(cloud)

    response = cloud.subscriber().pull(subscription=WORKERS, max_messages=1, timeout=0.5, retry=None)

    assert list(response.received_messages) == []


def test_a_streaming_subscriber_gets_everything_and_acknowledges_it(cloud: Cloud) -> None:
    with_subscription(cloud)
    seen: queue.Queue[str] = queue.Queue()

    def work(message: pubsub_v1.subscriber.message.Message) -> None:
        seen.put(message.data.decode())
        message.ack()

    streaming = cloud.subscriber().subscribe(WORKERS, work)
    sent = [f"m{number}" for number in range(200)]
    publish(cloud, *sent)

    assert sorted(seen.get(timeout=PATIENCE_S) for _ in sent) == sorted(sent)
    cloud.wait_until(lambda: cloud.pubsub.backlog("workers") == 0)
    stop(streaming)


def test_a_streaming_subscriber_that_nacks_gets_the_message_again(cloud: Cloud) -> None:
    with_subscription(cloud)
    seen: list[str] = []

    def work(message: pubsub_v1.subscriber.message.Message) -> None:
        seen.append(message.message_id)
        if len(seen) < 3:
            message.nack()
        else:
            message.ack()

    streaming = cloud.subscriber().subscribe(WORKERS, work)
    [message_id] = publish(cloud, "again")

    wait_until(lambda: len(seen) == 3)
    cloud.wait_until(lambda: cloud.pubsub.backlog("workers") == 0)
    assert set(seen) == {message_id}
    stop(streaming)


def test_a_stream_has_no_more_outstanding_than_its_flow_control_allows(cloud: Cloud) -> None:
    with_subscription(cloud)
    held: list[pubsub_v1.subscriber.message.Message] = []
    limits = pubsub_v1.types.FlowControl(max_messages=3)
    streaming = cloud.subscriber().subscribe(WORKERS, held.append, flow_control=limits)
    publish(cloud, *"abcdef")
    wait_until(lambda: len(held) == 3)

    assert cloud.call(lambda: cloud.pubsub.subscription(WORKERS).queue.leased) == 3
    for number in range(6):
        wait_until(lambda number=number: len(held) > number)
        held[number].ack()

    cloud.wait_until(lambda: cloud.pubsub.backlog("workers") == 0)
    stop(streaming)


def test_a_stream_has_no_more_bytes_outstanding_than_it_allows_but_for_one_message(cloud: Cloud) -> None:
    with_subscription(cloud)
    publish(cloud, "x" * 1000, "y" * 400, "z" * 400)
    requests: queue.Queue[StreamingPullRequest | None] = queue.Queue()
    first = {"subscription": WORKERS, "stream_ack_deadline_seconds": 60, "max_outstanding_bytes": 900}
    requests.put(StreamingPullRequest(**first))

    together = []
    for response in cloud.subscriber().transport.streaming_pull(iter(requests.get, None)):
        received = response.received_messages
        together.append([each.message.data[:1] for each in received])
        requests.put(StreamingPullRequest(ack_ids=[each.ack_id for each in received]))
        if len(together) == 2:
            requests.put(None)

    assert together == [[b"x"], [b"y", b"z"]]


def test_a_stream_ends_with_not_found_when_its_subscription_is_deleted(cloud: Cloud) -> None:
    with_subscription(cloud)
    streaming = cloud.subscriber().subscribe(WORKERS, lambda message: message.ack())
    cloud.wait_until(lambda: cloud.pubsub.subscription(WORKERS).listeners)

    cloud.subscriber().delete_subscription(subscription=WORKERS)

    with pytest.raises(exceptions.NotFound):
        streaming.result(PATIENCE_S)


@pytest.mark.parametrize(
    "field", [{"ack_ids": ["nonsense"]}, {"modify_deadline_ack_ids": ["nonsense"], "modify_deadline_seconds": [20]}]
)
def test_a_stream_is_aborted_for_what_is_no_ack_id(cloud: Cloud, field: dict[str, Any]) -> None:
    with_subscription(cloud)
    requests = [
        StreamingPullRequest(subscription=WORKERS, stream_ack_deadline_seconds=10),
        StreamingPullRequest(**field),
    ]

    with pytest.raises(grpc.RpcError) as aborted:
        list(cloud.subscriber().transport.streaming_pull(iter(requests)))

    assert aborted.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "invalid ack ID" in aborted.value.details()


def test_a_response_stays_below_what_a_plain_channel_takes(cloud: Cloud) -> None:
    with_subscription(cloud)
    publish(cloud, *("x" * 1_500_000 for _ in range(4)))

    assert [len(pull(cloud)) for _ in range(3)] == [2, 2, 0]


def test_messages_of_a_vanished_stream_are_delivered_again(cloud: Cloud) -> None:
    with_subscription(cloud)
    publish(cloud, "a")
    end = threading.Event()

    def requests() -> Iterator[StreamingPullRequest]:
        yield StreamingPullRequest(subscription=WORKERS, stream_ack_deadline_seconds=10)
        end.wait(PATIENCE_S)

    stream = cloud.subscriber().transport.streaming_pull(requests())
    assert texts(list(next(iter(stream)).received_messages)) == ["a"]
    stream.cancel()
    end.set()
    cloud.wait_until(lambda: not cloud.pubsub.subscription(WORKERS).listeners)
    cloud.advance(seconds=10.1)

    assert texts(pull(cloud)) == ["a"]


def test_a_duplicate_fault_delivers_a_message_twice_and_one_ack_is_enough(cloud: Cloud) -> None:
    with_subscription(cloud)
    cloud.context.faults.add(Fault("pubsub.messages.deliver", "workers", action="duplicate"))
    publish(cloud, "a")

    twice = pull(cloud)
    assert texts(twice) == ["a", "a"]
    assert twice[0].ack_id != twice[1].ack_id
    cloud.subscriber().acknowledge(subscription=WORKERS, ack_ids=[twice[1].ack_id])

    assert cloud.call(lambda: cloud.pubsub.backlog("workers")) == 0


def test_a_dropped_delivery_comes_after_the_ack_deadline(cloud: Cloud) -> None:
    with_subscription(cloud)
    cloud.context.faults.add(Fault("pubsub.messages.deliver", "workers", action="drop"))
    publish(cloud, "a")

    assert pull(cloud) == []
    cloud.advance(seconds=10.1)

    assert texts(pull(cloud)) == ["a"]


def test_a_delayed_message_is_overtaken(cloud: Cloud) -> None:
    with_subscription(cloud)
    cloud.context.faults.add(Fault("pubsub.messages.deliver", "workers", action="delay", delay_s=5))
    publish(cloud, "a", "b")

    assert texts(pull(cloud)) == ["b"]
    cloud.advance(seconds=5)

    assert texts(pull(cloud)) == ["a"]


def test_a_reordered_message_comes_after_the_next_one(cloud: Cloud) -> None:
    with_subscription(cloud)
    cloud.context.faults.add(Fault("pubsub.messages.deliver", "workers", action="reorder"))
    publish(cloud, "a", "b", "c")

    assert texts(pull(cloud)) == ["b", "a", "c"]


def test_a_reordered_message_without_a_next_one_comes_after_a_while(cloud: Cloud) -> None:
    with_subscription(cloud)
    cloud.context.faults.add(Fault("pubsub.messages.deliver", "workers", action="reorder"))
    publish(cloud, "a")

    assert pull(cloud) == []
    cloud.advance(seconds=60)

    assert texts(pull(cloud)) == ["a"]
