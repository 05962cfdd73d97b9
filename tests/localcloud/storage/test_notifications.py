"""Does a bucket tell Pub/Sub what its notification configurations ask for, and nothing else?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import requests
from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1
from google.cloud import storage as gcs
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.pubsub.resources import SubscriptionSpec

PROJECT = "demo-project"
SUBSCRIPTION = f"projects/{PROJECT}/subscriptions/told"
ALL = ["OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE", "OBJECT_METADATA_UPDATE"]


@pytest.fixture(scope="module")
def whole() -> Iterator[LocalCloud]:
    """A cloud with Pub/Sub, the topic `news` and its subscription `told`."""
    deployment = Deployment(topics=("news",), subscriptions=(SubscriptionSpec("told", "news"),))
    with running(CloudConfig(project=PROJECT), lambda _: deployment) as cloud:
        yield cloud


@pytest.fixture
def bucket(whole: LocalCloud, request: pytest.FixtureRequest) -> gcs.Bucket:
    """A new bucket."""
    options = {"api_endpoint": whole.http_url}
    client = gcs.Client(project=PROJECT, credentials=AnonymousCredentials(), client_options=options)
    return client.create_bucket(f"bucket-{abs(hash(request.node.name))}")


@pytest.fixture(scope="module")
def subscriber(whole: LocalCloud) -> Iterator[pubsub_v1.SubscriberClient]:
    channel = grpc.insecure_channel(whole.grpc_address)
    yield pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
    channel.close()


def told(subscriber: pubsub_v1.SubscriberClient, count: int) -> list[tuple[dict[str, str], bytes]]:
    """Attributes and data of the next `count` messages, and of any others that are there."""
    found: list[Any] = []
    while len(found) < count:
        pulled = subscriber.pull(subscription=SUBSCRIPTION, max_messages=100, timeout=20).received_messages
        subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=[message.ack_id for message in pulled])
        found += sorted((message.message for message in pulled), key=lambda message: int(message.message_id))
    return [(dict(message.attributes), message.data) for message in found]


def test_each_change_is_told_with_its_attributes(bucket: gcs.Bucket, subscriber: pubsub_v1.SubscriberClient) -> None:
    config = bucket.notification("news", payload_format="JSON_API_V1", custom_attributes={"team": "blue"})
    config.create()
    blob = bucket.blob("a/ü")
    blob.upload_from_string("1")
    first = blob.generation
    blob.metadata = {"k": "v"}
    blob.patch()
    blob.upload_from_string("23")
    blob.delete()

    messages = told(subscriber, 5)
    second = str(blob.generation)
    assert [attributes["eventType"] for attributes, _ in messages] == [ALL[0], ALL[3], ALL[1], ALL[0], ALL[1]]
    assert [attributes["objectGeneration"] for attributes, _ in messages] == [str(first)] * 3 + [second] * 2
    overwrites = [(a.get("overwrittenByGeneration"), a.get("overwroteGeneration")) for a, _ in messages]
    assert overwrites == [(None, None), (None, None), (second, None), (None, str(first)), (None, None)]
    attributes, data = messages[1]
    resource = json.loads(data)
    assert attributes == {
        "team": "blue",
        "notificationConfig": f"projects/_/buckets/{bucket.name}/notificationConfigs/{config.notification_id}",
        "eventType": "OBJECT_METADATA_UPDATE",
        "payloadFormat": "JSON_API_V1",
        "bucketId": bucket.name,
        "objectId": "a/ü",
        "objectGeneration": str(first),
        "eventTime": attributes["eventTime"],
    }
    assert attributes["eventTime"] >= resource["timeCreated"]
    assert (resource["name"], resource["metadata"], resource["metageneration"]) == ("a/ü", {"k": "v"}, "2")


def test_kept_versions_are_archived(bucket: gcs.Bucket, subscriber: pubsub_v1.SubscriberClient) -> None:
    bucket.versioning_enabled = True
    bucket.patch()
    bucket.notification("news", payload_format="NONE").create()
    blob = bucket.blob("x")
    for _ in range(2):
        blob.upload_from_string("1")
    first = next(iter(bucket.list_blobs(versions=True))).generation
    bucket.blob("x").delete()
    bucket.delete_blob("x", generation=first)

    messages = told(subscriber, 5)
    assert [(attributes["eventType"], data) for attributes, data in messages] == [
        ("OBJECT_FINALIZE", b""),
        ("OBJECT_ARCHIVE", b""),
        ("OBJECT_FINALIZE", b""),
        ("OBJECT_ARCHIVE", b""),
        ("OBJECT_DELETE", b""),
    ]
    assert messages[1][0]["overwrittenByGeneration"] == messages[2][0]["objectGeneration"]
    assert messages[2][0]["overwroteGeneration"] == str(first)
    assert "overwrittenByGeneration" not in messages[3][0]


def test_only_what_matches_is_told(bucket: gcs.Bucket, subscriber: pubsub_v1.SubscriberClient) -> None:
    config = {"event_types": ["OBJECT_DELETE"], "blob_name_prefix": "in/", "payload_format": "NONE"}
    bucket.notification("news", **config).create()
    for name in ("in/a", "out/a"):
        bucket.blob(name).upload_from_string("1")
        bucket.blob(name).delete()
    bucket.blob("in/last").upload_from_string("1")
    bucket.blob("in/last").delete()

    assert [attributes["objectId"] for attributes, _ in told(subscriber, 2)] == ["in/a", "in/last"]


def test_a_configuration_is_found_listed_and_removed(bucket: gcs.Bucket) -> None:
    config = bucket.notification("news", event_types=ALL[:2], blob_name_prefix="p", payload_format="JSON_API_V1")
    config.create()

    assert config.exists()
    config.reload()
    seen = bucket.get_notification(config.notification_id)
    assert (seen.event_types, seen.blob_name_prefix) == (ALL[:2], "p")
    (listed,) = bucket.list_notifications()
    assert (listed.notification_id, listed.topic_name) == (config.notification_id, "news")
    config.delete()
    assert (config.exists(), list(bucket.list_notifications())) == (False, [])
    with pytest.raises(api.NotFound):
        config.delete()


def test_configurations_survive_a_restart(tmp_path: Any) -> None:
    def bucket_of(cloud: LocalCloud) -> gcs.Bucket:
        options = {"api_endpoint": cloud.http_url}
        return gcs.Client(project=PROJECT, credentials=AnonymousCredentials(), client_options=options).bucket("bkt")

    deployment = Deployment(buckets=("bkt",), topics=("news",))
    for expected in (0, 1):
        with running(CloudConfig(project=PROJECT, state=tmp_path), lambda _: deployment) as cloud:
            assert len(list(bucket_of(cloud).list_notifications())) == expected
            bucket_of(cloud).notification("news").create()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"topic": f"//pubsub.googleapis.com/projects/{PROJECT}/topics/none"}, "not found"),
        ({"topic": "news"}, "It should look like"),
        ({"payload_format": "XML"}, "payload_format"),
        ({"event_types": ["OBJECT_READ"]}, "event_types"),
        ({"object_name_prefix": 3}, "object_name_prefix"),
        ({"custom_attributes": {"k": "v" * 1025}}, "custom_attributes"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_a_malformed_configuration_is_refused(
    whole: LocalCloud, bucket: gcs.Bucket, change: dict[str, Any], message: str
) -> None:
    topic = f"//pubsub.googleapis.com/projects/{PROJECT}/topics/news"
    url = f"{whole.http_url}/storage/v1/b/{bucket.name}/notificationConfigs"
    answer = requests.post(url, json={"topic": topic, "payload_format": "NONE", **change}, timeout=10)

    assert (answer.status_code, message in answer.json()["error"]["message"]) == (400, True)


def test_one_event_has_ten_configurations_at_most(bucket: gcs.Bucket) -> None:
    for _ in range(10):
        bucket.notification("news", event_types=["OBJECT_DELETE"]).create()
    with pytest.raises(api.BadRequest, match="10 notification configurations"):
        bucket.notification("news").create()


def test_a_topic_that_is_gone_does_no_harm(whole: LocalCloud, bucket: gcs.Bucket) -> None:
    whole.call(whole.pubsub.create_topic, "short-lived")
    bucket.notification("short-lived").create()
    whole.call(whole.pubsub.delete_topic, f"projects/{PROJECT}/topics/short-lived")
    bucket.blob("x").upload_from_string("1")

    assert bucket.blob("x").exists()
