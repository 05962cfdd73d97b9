"""With exactly-once delivery an acknowledgement has an answer, and one that comes after the lease does not count."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.exceptions import AcknowledgeError, AcknowledgeStatus
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from localcloud.faults import Fault
from tests.localcloud.pubsub.pubsub_cloud import PATIENCE_S, Cloud, stop, subscription_path, topic_path

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

JOBS, WORKERS = topic_path("jobs"), subscription_path("workers")
INVALID = "PERMANENT_FAILURE_INVALID_ACK_ID"


def with_subscription(cloud: Cloud, *payloads: str) -> pubsub_v1.SubscriberClient:
    cloud.publisher().create_topic(name=JOBS)
    subscriber = cloud.subscriber()
    subscriber.create_subscription(request={"name": WORKERS, "topic": JOBS, "enable_exactly_once_delivery": True})
    for payload in payloads:
        cloud.publisher().publish(JOBS, payload.encode()).result(PATIENCE_S)
    return subscriber


def pull(subscriber: pubsub_v1.SubscriberClient) -> list[str]:
    request = {"subscription": WORKERS, "max_messages": 10, "return_immediately": True}
    return [each.ack_id for each in subscriber.pull(request, timeout=PATIENCE_S).received_messages]


def failures(error: exceptions.GoogleAPICallError) -> dict[str, str]:
    [detail] = rpc_status.from_call(error.response).details
    info = ErrorInfo()
    assert detail.Unpack(info)
    assert (info.reason, info.domain) == ("EXACTLY_ONCE_ACKID_FAILURE", "pubsub.googleapis.com")
    return dict(info.metadata)


def test_an_acknowledgement_after_the_lease_is_refused_by_id_and_the_others_count(cloud: Cloud) -> None:
    subscriber = with_subscription(cloud, "late", "in time")
    late, in_time = pull(subscriber)
    subscriber.modify_ack_deadline(subscription=WORKERS, ack_ids=[in_time], ack_deadline_seconds=60)
    cloud.advance(seconds=11)

    with pytest.raises(exceptions.InvalidArgument, match="acknowledgement ids in the request were invalid") as refused:
        subscriber.acknowledge(subscription=WORKERS, ack_ids=[late, in_time, "nonsense"])

    assert failures(refused.value) == {late: INVALID, "nonsense": INVALID}
    assert cloud.call(lambda: cloud.pubsub.backlog("workers")) == 1


def test_a_lease_that_is_over_cannot_be_extended(cloud: Cloud) -> None:
    subscriber = with_subscription(cloud, "a")
    [ack_id] = pull(subscriber)
    cloud.advance(seconds=11)

    with pytest.raises(exceptions.InvalidArgument) as refused:
        subscriber.modify_ack_deadline(subscription=WORKERS, ack_ids=[ack_id], ack_deadline_seconds=60)

    assert failures(refused.value) == {ack_id: INVALID}
    assert len(pull(subscriber)) == 1


def test_an_acknowledgement_whose_answer_was_lost_may_be_made_again(cloud: Cloud) -> None:
    subscriber = with_subscription(cloud, "a")
    [ack_id] = pull(subscriber)
    cloud.context.faults.add(Fault("pubsub.subscriptions.acknowledge", "workers", action="fail_after"))

    subscriber.acknowledge(subscription=WORKERS, ack_ids=[ack_id])  # the client tries twice

    assert not cloud.context.faults.standing()
    assert cloud.call(lambda: cloud.pubsub.backlog("workers")) == 0


def test_the_client_tells_whether_an_acknowledgement_counted(cloud: Cloud) -> None:
    subscriber = with_subscription(cloud, "a")
    received: queue.Queue[pubsub_v1.subscriber.message.Message] = queue.Queue()
    streaming = subscriber.subscribe(WORKERS, received.put, await_callbacks_on_shutdown=False)
    first = received.get(timeout=PATIENCE_S)
    cloud.advance(minutes=11)
    again = received.get(timeout=PATIENCE_S)

    with pytest.raises(AcknowledgeError) as refused:
        first.ack_with_response().result(PATIENCE_S)

    assert refused.value.error_code is AcknowledgeStatus.INVALID_ACK_ID
    assert again.ack_with_response().result(PATIENCE_S) is AcknowledgeStatus.SUCCESS
    assert first.message_id == again.message_id
    assert cloud.call(lambda: cloud.pubsub.backlog("workers")) == 0
    stop(streaming)


def test_a_stream_confirms_acknowledgements_and_extensions(cloud: Cloud) -> None:
    subscriber = with_subscription(cloud, "a", "b")
    requests: queue.Queue[pubsub_v1.types.StreamingPullRequest | None] = queue.Queue()

    def sent() -> Iterator[pubsub_v1.types.StreamingPullRequest]:
        yield pubsub_v1.types.StreamingPullRequest(subscription=WORKERS, stream_ack_deadline_seconds=10)
        yield from iter(lambda: requests.get(timeout=PATIENCE_S), None)

    stream = subscriber.transport.streaming_pull(sent())
    responses = iter(stream)
    first = next(responses)
    a, b = (each.ack_id for each in first.received_messages)
    requests.put(pubsub_v1.types.StreamingPullRequest(ack_ids=[a, "nonsense"]))
    acknowledged = next(responses).acknowledge_confirmation
    extension = {"modify_deadline_ack_ids": [b, a], "modify_deadline_seconds": [30, 30]}
    requests.put(pubsub_v1.types.StreamingPullRequest(**extension))
    extended = next(responses).modify_ack_deadline_confirmation
    requests.put(None)
    stream.cancel()

    assert first.subscription_properties.exactly_once_delivery_enabled
    assert (list(acknowledged.ack_ids), list(acknowledged.invalid_ack_ids)) == ([a], ["nonsense"])
    assert (list(extended.ack_ids), list(extended.invalid_ack_ids)) == ([b], [a])


def test_exactly_once_delivery_is_for_pull_only(cloud: Cloud) -> None:
    cloud.publisher().create_topic(name=JOBS)
    push = {"push_config": {"push_endpoint": "http://127.0.0.1:1/"}, "enable_exactly_once_delivery": True}

    with pytest.raises(exceptions.InvalidArgument, match="pull subscriptions only"):
        cloud.subscriber().create_subscription(request={"name": WORKERS, "topic": JOBS, **push})
