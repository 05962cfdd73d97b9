"""Settings that the service has are kept within its limits, have their effect, or are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.protobuf import duration_pb2, field_mask_pb2

from localcloud.pubsub import checks
from localcloud.pubsub.resources import PublishedMessage, SubscriptionSpec
from tests.localcloud.pubsub.pubsub_cloud import PATIENCE_S, Cloud, subscription_path, topic_path

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

JOBS, WORKERS = topic_path("jobs"), subscription_path("workers")
DAYS = 24
TRANSFORM = {"javascript_udf": {"function_name": "f", "code": "function f(m) { return m; }"}}
INGESTION = {"aws_kinesis": {"stream_arn": "a", "consumer_arn": "b", "aws_role_arn": "c", "gcp_service_account": "d"}}


def subscribe(cloud: Cloud, **settings: Any) -> None:
    cloud.publisher().create_topic(name=JOBS)
    cloud.subscriber().create_subscription(request={"name": WORKERS, "topic": JOBS, **settings})


def exists(cloud: Cloud) -> bool:
    try:
        cloud.subscriber().get_subscription(subscription=WORKERS)
    except exceptions.NotFound:
        return False
    return True


def pull(cloud: Cloud) -> list[str]:
    request = {"subscription": WORKERS, "max_messages": 10, "return_immediately": True}
    return [each.ack_id for each in cloud.subscriber().pull(request, timeout=PATIENCE_S).received_messages]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"bigquery_config": {"table": "p.d.t"}}, "bigquery_config"),
        ({"cloud_storage_config": {"bucket": "b"}}, "cloud_storage_config"),
        ({"message_transforms": [TRANSFORM]}, "message_transforms"),
    ],
    ids=["bigquery", "storage", "transforms"],
)
def test_what_a_subscription_cannot_do_here_is_refused(cloud: Cloud, settings: dict[str, Any], field: str) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match=field):
        subscribe(cloud, **settings)
    cloud.subscriber().create_subscription(name=WORKERS, topic=JOBS)

    with pytest.raises(exceptions.MethodNotImplemented, match=field):
        cloud.subscriber().update_subscription(
            subscription={"name": WORKERS, **settings}, update_mask=field_mask_pb2.FieldMask(paths=[field])
        )


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"message_transforms": [TRANSFORM]}, "message_transforms"),
        ({"ingestion_data_source_settings": INGESTION}, "ingestion_data_source_settings"),
    ],
    ids=["transforms", "ingestion"],
)
def test_what_a_topic_cannot_do_here_is_refused(cloud: Cloud, settings: dict[str, Any], field: str) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match=field):
        cloud.publisher().create_topic(request={"name": JOBS, **settings})


@pytest.mark.parametrize(
    "labels",
    [{"A": "b"}, {"1a": "b"}, {"a": "B"}, {"a" * 64: "b"}, {"a": "b" * 64}, {f"l{n}": "" for n in range(65)}],
    ids=["upper", "digit", "value", "long-key", "long-value", "many"],
)
def test_labels_have_a_form(cloud: Cloud, labels: dict[str, str]) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="labels"):
        cloud.publisher().create_topic(request={"name": JOBS, "labels": labels})


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"expiration_policy": {"ttl": duration_pb2.Duration(seconds=3600)}}, "expiration_policy.ttl"),
        ({"push_config": {"push_endpoint": "http://127.0.0.1/", "attributes": {"x-goog-version": "v9"}}}, "version"),
        ({"message_retention_duration": duration_pb2.Duration(seconds=32 * 86_400)}, "message_retention_duration"),
    ],
    ids=["expiration", "version", "retention"],
)
def test_settings_beyond_a_limit_are_refused_by_field(cloud: Cloud, settings: dict[str, Any], field: str) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=field):
        subscribe(cloud, **settings)


def test_a_mask_changes_what_is_below_a_message_too_and_clears_what_is_not_given(cloud: Cloud) -> None:
    subscribe(cloud, retry_policy={"minimum_backoff": duration_pb2.Duration(seconds=20)}, labels={"a": "b"})
    paths = ["retry_policy.maximum_backoff", "labels"]
    wanted = {"name": WORKERS, "retry_policy": {"maximum_backoff": duration_pb2.Duration(seconds=30)}}

    changed = cloud.subscriber().update_subscription(
        subscription=wanted, update_mask=field_mask_pb2.FieldMask(paths=paths)
    )

    assert changed.retry_policy.minimum_backoff.total_seconds() == 20
    assert changed.retry_policy.maximum_backoff.total_seconds() == 30
    assert not changed.labels


@pytest.mark.parametrize("path", ["state", "detached", "retry_policy.nonsense", "labels.a"], ids=str)
def test_a_mask_names_fields_that_can_be_changed(cloud: Cloud, path: str) -> None:
    subscribe(cloud)
    with pytest.raises(exceptions.InvalidArgument, match=path):
        cloud.subscriber().update_subscription(
            subscription={"name": WORKERS}, update_mask=field_mask_pb2.FieldMask(paths=[path])
        )


@pytest.mark.parametrize("ack_ids", [[], ["x" * 1000] * 600], ids=["none", "too-many"])
def test_a_request_has_some_ack_ids_and_at_most_512_kib_of_them(cloud: Cloud, ack_ids: list[str]) -> None:
    subscribe(cloud)
    with pytest.raises(exceptions.InvalidArgument, match="ack_ids"):
        cloud.subscriber().acknowledge(subscription=WORKERS, ack_ids=ack_ids)
    with pytest.raises(exceptions.InvalidArgument, match="ack_ids"):
        cloud.subscriber().modify_ack_deadline(subscription=WORKERS, ack_ids=ack_ids, ack_deadline_seconds=10)


@pytest.mark.parametrize("malformed", ["nonsense", "", "1", "1-", "-1", "1-1-1", "１-1", "9" * 400], ids=repr)
def test_an_ack_id_that_is_none_is_refused_and_those_beside_it_have_no_effect(cloud: Cloud, malformed: str) -> None:
    subscribe(cloud)
    cloud.call(lambda: cloud.pubsub.publish("jobs", [PublishedMessage(b"x")]))
    subscriber = cloud.subscriber()
    [received] = subscriber.pull(subscription=WORKERS, max_messages=1).received_messages

    with pytest.raises(exceptions.InvalidArgument, match="invalid ack ID"):
        subscriber.acknowledge(subscription=WORKERS, ack_ids=[received.ack_id, malformed])
    with pytest.raises(exceptions.InvalidArgument, match="invalid ack ID"):
        subscriber.modify_ack_deadline(
            subscription=WORKERS, ack_ids=[received.ack_id, malformed], ack_deadline_seconds=0
        )

    assert cloud.call(lambda: cloud.pubsub.subscription(WORKERS).queue.leased) == 1


@pytest.mark.parametrize("project", ["", "demo", "projects/", "projects/a/topics"], ids=repr)
def test_lists_are_of_a_project(cloud: Cloud, project: str) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="project"):
        cloud.subscriber().list_subscriptions(project=project)


def test_a_project_has_a_limited_number_of_topics(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checks.MOST_PER_PROJECT, "topics", 2)
    for name in ("one", "two"):
        cloud.publisher().create_topic(name=topic_path(name))
    cloud.publisher().create_topic(name="projects/another/topics/one")

    with pytest.raises(exceptions.ResourceExhausted, match="2 topics"):
        cloud.publisher().create_topic(name=JOBS)


def test_attributes_of_the_client_libraries_pass(cloud: Cloud) -> None:
    subscribe(cloud)
    cloud.publisher().publish(JOBS, b"x", googclient_traceparent="00-1-2-01").result(PATIENCE_S)

    assert len(pull(cloud)) == 1


def test_a_subscription_that_nobody_uses_expires_with_all_it_has(cloud: Cloud) -> None:
    subscribe(cloud)
    cloud.call(lambda: cloud.pubsub.publish("jobs", [PublishedMessage(b"x")]))

    cloud.advance(hours=30 * DAYS)
    assert exists(cloud)
    cloud.advance(hours=1 * DAYS)

    assert not exists(cloud)
    assert not list(cloud.context.store.items("pubsub.messages"))


def test_using_a_subscription_keeps_it(cloud: Cloud) -> None:
    subscribe(cloud, expiration_policy={"ttl": duration_pb2.Duration(seconds=86_400)})
    for _ in range(3):
        cloud.advance(hours=23)
        pull(cloud)
    assert exists(cloud)
    waiting = cloud.subscriber().subscribe(WORKERS, lambda message: message.ack())
    cloud.wait_until(lambda: cloud.pubsub.subscription(WORKERS).listeners)
    cloud.advance(hours=40)
    assert exists(cloud)
    waiting.cancel()
    cloud.wait_until(lambda: not cloud.pubsub.subscription(WORKERS).listeners)

    cloud.advance(hours=24)

    assert not exists(cloud)


def test_a_subscription_may_live_for_ever_as_what_is_deployed_does(cloud: Cloud) -> None:
    subscribe(cloud, expiration_policy={})
    cloud.call(lambda: cloud.pubsub.create_subscription(SubscriptionSpec("deployed", "jobs")))

    cloud.advance(hours=1000 * DAYS)

    assert exists(cloud)
    assert cloud.subscriber().get_subscription(subscription=subscription_path("deployed"))
