"""Topics and subscriptions are made, looked at, changed and removed through the real clients, within the limits."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.protobuf import duration_pb2, field_mask_pb2

from localcloud.faults import Fault
from localcloud.pubsub.resources import SubscriptionSpec
from tests.localcloud.pubsub.pubsub_cloud import PATIENCE_S, PROJECT, Cloud, subscription_path, topic_path

JOBS, WORKERS = topic_path("jobs"), subscription_path("workers")


def rest(cloud: Cloud, verb: str, path: str, body: object = None) -> tuple[int, Any]:
    cloud.serve_http()
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(cloud.http_url + path, data, {"Content-Type": "application/json"}, method=verb)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_topic_is_created_once_found_listed_and_deleted(cloud: Cloud) -> None:
    publisher = cloud.publisher()
    publisher.create_topic(request={"name": JOBS, "labels": {"team": "a"}})

    assert publisher.get_topic(topic=JOBS).labels == {"team": "a"}
    with pytest.raises(exceptions.AlreadyExists):
        publisher.create_topic(name=JOBS)
    publisher.delete_topic(topic=JOBS)
    with pytest.raises(exceptions.NotFound, match=r"Resource not found \(resource=jobs\)"):
        publisher.get_topic(topic=JOBS)


def test_lists_come_in_pages(cloud: Cloud) -> None:
    publisher = cloud.publisher()
    names = [topic_path(f"topic-{number:02d}") for number in range(7)]
    for name in reversed(names):
        publisher.create_topic(name=name)
    publisher.create_topic(name="projects/other/topics/elsewhere")

    pager = publisher.list_topics(request={"project": f"projects/{PROJECT}", "page_size": 3})

    assert [[topic.name for topic in page.topics] for page in pager.pages] == [names[:3], names[3:6], names[6:]]


def test_a_subscription_of_a_deleted_topic_keeps_its_backlog(cloud: Cloud) -> None:
    cloud.call(lambda: cloud.pubsub.create_topic("jobs"))
    cloud.call(lambda: cloud.pubsub.create_subscription(SubscriptionSpec("workers", "jobs")))
    cloud.publisher().publish(JOBS, b"x").result(PATIENCE_S)
    cloud.publisher().delete_topic(topic=JOBS)

    assert cloud.subscriber().get_subscription(subscription=WORKERS).topic == "_deleted-topic_"
    assert len(cloud.subscriber().pull(subscription=WORKERS, max_messages=1).received_messages) == 1


def test_a_subscription_has_the_documented_defaults(cloud: Cloud) -> None:
    cloud.publisher().create_topic(name=JOBS)
    cloud.subscriber().create_subscription(request={"name": WORKERS, "topic": JOBS, "retry_policy": {}})

    found = cloud.subscriber().get_subscription(subscription=WORKERS)

    assert found.ack_deadline_seconds == 10
    assert found.message_retention_duration.total_seconds() == 7 * 86_400
    assert found.retry_policy.minimum_backoff.total_seconds() == 10
    assert found.retry_policy.maximum_backoff.total_seconds() == 600
    assert found.state == pubsub_v1.types.Subscription.State.ACTIVE


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"ack_deadline_seconds": 9}, "ack_deadline_seconds"),
        ({"ack_deadline_seconds": 601}, "ack_deadline_seconds"),
        ({"message_retention_duration": duration_pb2.Duration(seconds=599)}, "message_retention_duration"),
        ({"filter": "bogus (("}, "filter"),
        ({"push_config": {"push_endpoint": "file:///etc/passwd"}}, "push_endpoint"),
        ({"push_config": {"push_endpoint": "http://[oops"}}, "push_endpoint"),
        ({"dead_letter_policy": {"dead_letter_topic": JOBS, "max_delivery_attempts": 4}}, "max_delivery_attempts"),
        ({"dead_letter_policy": {"dead_letter_topic": "jobs"}}, "dead_letter_topic"),
        ({"retry_policy": {"minimum_backoff": duration_pb2.Duration(seconds=601)}}, "minimum_backoff"),
        ({"push_config": {"push_endpoint": "http://host:99999/"}}, "push_endpoint"),
        ({"name": subscription_path("goog-like")}, "goog"),
        ({"name": subscription_path("line-break\n")}, "name"),
        ({"name": "projects/\0/subscriptions/workers"}, "name"),
        ({"name": "projects/p/topics/workers"}, "name"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_a_subscription_that_breaks_a_rule_is_refused_by_field(cloud: Cloud, settings: dict, field: str) -> None:
    cloud.publisher().create_topic(name=JOBS)
    with pytest.raises(exceptions.InvalidArgument, match=field):
        cloud.subscriber().create_subscription(request={"name": WORKERS, "topic": JOBS, **settings})


def test_a_subscription_needs_its_topics(cloud: Cloud) -> None:
    with pytest.raises(exceptions.NotFound, match="resource=jobs"):
        cloud.subscriber().create_subscription(name=WORKERS, topic=JOBS)
    cloud.publisher().create_topic(name=JOBS)
    dead = {"dead_letter_topic": topic_path("dead")}
    with pytest.raises(exceptions.NotFound, match="resource=dead"):
        cloud.subscriber().create_subscription(request={"name": WORKERS, "topic": JOBS, "dead_letter_policy": dead})


def test_an_update_changes_the_named_fields_only(cloud: Cloud) -> None:
    cloud.publisher().create_topic(name=JOBS)
    subscriber = cloud.subscriber()
    subscriber.create_subscription(request={"name": WORKERS, "topic": JOBS, "labels": {"a": "b"}})

    changed = subscriber.update_subscription(
        subscription={"name": WORKERS, "ack_deadline_seconds": 60, "labels": {"c": "d"}},
        update_mask=field_mask_pb2.FieldMask(paths=["ack_deadline_seconds"]),
    )

    assert (changed.ack_deadline_seconds, changed.labels) == (60, {"a": "b"})


@pytest.mark.parametrize("path", ["filter", "topic", "enable_message_ordering", "nonsense"], ids=str)
def test_fixed_fields_cannot_be_changed(cloud: Cloud, path: str) -> None:
    cloud.publisher().create_topic(name=JOBS)
    cloud.subscriber().create_subscription(name=WORKERS, topic=JOBS)
    with pytest.raises(exceptions.InvalidArgument, match=path):
        cloud.subscriber().update_subscription(
            subscription={"name": WORKERS}, update_mask=field_mask_pb2.FieldMask(paths=[path])
        )


def test_a_detached_subscription_gets_nothing_more(cloud: Cloud) -> None:
    cloud.publisher().create_topic(name=JOBS)
    cloud.subscriber().create_subscription(name=WORKERS, topic=JOBS)
    cloud.publisher().detach_subscription(request={"subscription": WORKERS})

    assert cloud.subscriber().get_subscription(subscription=WORKERS).detached
    assert list(cloud.publisher().list_topic_subscriptions(topic=JOBS)) == []
    with pytest.raises(exceptions.FailedPrecondition, match="detached"):
        cloud.subscriber().pull(subscription=WORKERS, max_messages=1)


def test_a_detached_subscription_that_is_deployed_again_gets_messages(cloud: Cloud) -> None:
    cloud.publisher().create_topic(name=JOBS)
    spec = SubscriptionSpec("workers", "jobs")
    cloud.call(lambda: cloud.pubsub.create_subscription(spec))
    cloud.publisher().detach_subscription(request={"subscription": WORKERS})
    cloud.call(lambda: cloud.pubsub.create_subscription(spec))
    cloud.publisher().publish(JOBS, b"x").result()

    [received] = cloud.subscriber().pull(subscription=WORKERS, max_messages=1).received_messages
    assert received.message.data == b"x"


def message(data: bytes = b"x", **fields: Any) -> dict[str, Any]:
    return {"data": data, **fields}


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [message()] * 1001,
        [message(b"")],
        [message(b"x" * 10_000_001)],
        [message(attributes={f"k{number}": "v" for number in range(101)})],
        [message(attributes={"k" * 257: "v"})],
        [message(attributes={"": "v"})],
        [message(attributes={"k": "v" * 1025})],
        [message(attributes={"googx": "v"})],
        [message(ordering_key="k" * 1025)],
    ],
    ids=["none", "too-many", "empty", "too-large", "attributes", "key", "no-key", "value", "goog", "ordering-key"],
)
def test_a_publish_request_beyond_a_limit_is_refused_whole(cloud: Cloud, messages: list[dict[str, Any]]) -> None:
    cloud.publisher().create_topic(name=JOBS)
    cloud.subscriber().create_subscription(name=WORKERS, topic=JOBS)
    publisher = cloud.unbatched_publisher()
    with pytest.raises(exceptions.InvalidArgument):
        publisher.publish(topic=JOBS, messages=[message(), *messages] if messages else [])

    assert cloud.call(lambda: cloud.pubsub.backlog("workers")) == 0


def test_the_largest_allowed_message_arrives(cloud: Cloud) -> None:
    cloud.publisher().create_topic(name=JOBS)
    cloud.subscriber().create_subscription(name=WORKERS, topic=JOBS)
    cloud.unbatched_publisher().publish(topic=JOBS, messages=[message(b"x" * 9_900_000)])

    [received] = cloud.subscriber().pull(subscription=WORKERS, max_messages=1).received_messages

    assert len(received.message.data) == 9_900_000


def test_the_client_gets_past_a_publish_that_fails_and_one_whose_answer_is_lost(cloud: Cloud) -> None:
    cloud.publisher().create_topic(name=JOBS)
    cloud.subscriber().create_subscription(name=WORKERS, topic=JOBS)
    cloud.context.faults.add(Fault("pubsub.topics.publish", "jobs", action="fail"))
    cloud.context.faults.add(Fault("pubsub.topics.publish", "jobs", action="fail_after"))

    cloud.publisher().publish(JOBS, b"x").result(PATIENCE_S)

    assert cloud.call(lambda: cloud.pubsub.backlog("workers")) == 2  # the client tried three times


def test_publish_over_rest(cloud: Cloud) -> None:
    cloud.publisher().create_topic(name=JOBS)
    cloud.subscriber().create_subscription(name=WORKERS, topic=JOBS)
    sent = {"data": base64.b64encode(b"hello").decode(), "attributes": {"a": "b"}, "orderingKey": "k"}

    status, answer = rest(cloud, "POST", f"/v1/{JOBS}:publish?$alt=json", {"messages": [sent]})

    assert status == 200
    [received] = cloud.subscriber().pull(subscription=WORKERS, max_messages=1).received_messages
    assert answer == {"messageIds": [received.message.message_id]}
    assert (received.message.data, received.message.ordering_key) == (b"hello", "k")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"/v1/{topic_path('absent')}:publish", {"messages": [{"data": "eA=="}]}, 404),
        (f"/v1/{JOBS}:publish", {"messages": [{}]}, 400),
        (f"/v1/{JOBS}:publish", {"messages": [{"data": "not base64!"}]}, 400),
        (f"/v1/{JOBS}:publish", {"nonsense": 1}, 400),
        (f"/v1/{JOBS}:publish", ["x"], 400),
    ],
    ids=["no-topic", "empty", "base64", "unknown-field", "list"],
)
def test_a_bad_publish_over_rest_is_told_why(cloud: Cloud, path: str, body: object, status: int) -> None:
    cloud.publisher().create_topic(name=JOBS)

    code, answer = rest(cloud, "POST", path, body)

    assert (code, answer["error"]["code"]) == (status, status)
    assert answer["error"]["message"]


def test_topics_and_subscriptions_are_read_over_rest(cloud: Cloud) -> None:
    rest(cloud, "PUT", f"/v1/{JOBS}", {})
    rest(cloud, "PUT", f"/v1/{WORKERS}", {"topic": JOBS, "ackDeadlineSeconds": 20})

    assert rest(cloud, "GET", f"/v1/projects/{PROJECT}/topics") == (200, {"topics": [{"name": JOBS}]})
    assert rest(cloud, "GET", f"/v1/{WORKERS}")[1]["ackDeadlineSeconds"] == 20
    assert rest(cloud, "GET", f"/v1/{JOBS}/subscriptions") == (200, {"subscriptions": [WORKERS]})
    assert rest(cloud, "DELETE", f"/v1/{WORKERS}") == (200, {})
    assert rest(cloud, "GET", f"/v1/{WORKERS}")[0] == 404


def test_deploying_the_same_subscription_again_changes_nothing_and_a_new_deadline_is_taken_over(cloud: Cloud) -> None:
    cloud.call(lambda: cloud.pubsub.create_topic("jobs"))
    spec = SubscriptionSpec("workers", "jobs")
    cloud.call(lambda: cloud.pubsub.create_subscription(spec))
    cloud.publisher().publish(JOBS, b"x").result(PATIENCE_S)

    cloud.call(lambda: cloud.pubsub.create_subscription(spec))
    cloud.call(lambda: cloud.pubsub.create_subscription(SubscriptionSpec("workers", "jobs", ack_deadline_s=99)))

    assert cloud.call(lambda: cloud.pubsub.backlog("workers")) == 1
    assert cloud.subscriber().get_subscription(subscription=WORKERS).ack_deadline_seconds == 99
