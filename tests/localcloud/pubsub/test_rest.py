"""Everything over HTTP is what it is over gRPC: the same clients, on their other transport."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.api_core import exceptions
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf import field_mask_pb2, timestamp_pb2
from google.pubsub_v1 import PublisherClient, SchemaServiceClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherRestTransport
from google.pubsub_v1.services.schema_service.transports import SchemaServiceRestTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberRestTransport
from google.pubsub_v1.types import Encoding, Schema

from localcloud.faults import Fault
from localcloud.pubsub import rest as rest_module
from localcloud.pubsub.api import METHODS
from tests.localcloud.pubsub.pubsub_cloud import PATIENCE_S, PROJECT, Cloud, subscription_path, topic_path

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

PARENT = f"projects/{PROJECT}"
JOBS, WORKERS = topic_path("jobs"), subscription_path("workers")
SNAPSHOT, STATES = f"{PARENT}/snapshots/before", f"{PARENT}/schemas/states"
STATE = Schema(type_=Schema.Type.AVRO, definition='{"type": "record", "name": "State", "fields": []}')


class Clients:
    def __init__(self, cloud: Cloud) -> None:
        self.publisher = cloud.over_rest(PublisherClient, PublisherRestTransport)
        self.subscriber = cloud.over_rest(SubscriberClient, SubscriberRestTransport)
        self.schemas = cloud.over_rest(SchemaServiceClient, SchemaServiceRestTransport)

    def prepare(self, **settings: Any) -> None:
        self.publisher.create_topic(name=JOBS)
        self.subscriber.create_subscription(request={"name": WORKERS, "topic": JOBS, **settings})

    def pull(self) -> list[Any]:
        request = {"subscription": WORKERS, "max_messages": 10, "return_immediately": True}
        return list(self.subscriber.pull(request, timeout=PATIENCE_S).received_messages)


@pytest.fixture
def rest(cloud: Cloud) -> Iterator[Clients]:
    return Clients(cloud)


def test_messages_travel(rest: Clients, cloud: Cloud) -> None:
    rest.prepare()
    message = {"data": b"\0\xff", "attributes": {"a": "b"}, "ordering_key": "k"}
    [id_] = rest.publisher.publish(topic=JOBS, messages=[message]).message_ids
    [received] = rest.pull()

    assert (received.message.message_id, received.message.data) == (id_, b"\0\xff")
    assert (received.message.attributes, received.message.ordering_key) == ({"a": "b"}, "k")
    rest.subscriber.modify_ack_deadline(subscription=WORKERS, ack_ids=[received.ack_id], ack_deadline_seconds=0)
    [again] = rest.pull()
    rest.subscriber.acknowledge(subscription=WORKERS, ack_ids=[again.ack_id])
    assert rest.pull() == []


def test_topics_and_subscriptions_are_changed_and_listed(rest: Clients) -> None:
    rest.prepare(labels={"a": "b"})
    mask = field_mask_pb2.FieldMask(paths=["ack_deadline_seconds", "push_config.push_endpoint"])
    wanted = {"name": WORKERS, "ack_deadline_seconds": 99, "push_config": {"push_endpoint": "http://127.0.0.1:1/"}}
    changed = rest.subscriber.update_subscription(subscription=wanted, update_mask=mask)
    rest.publisher.update_topic(
        topic={"name": JOBS, "labels": {"c": "d"}}, update_mask=field_mask_pb2.FieldMask(paths=["labels"])
    )

    assert (changed.ack_deadline_seconds, changed.labels) == (99, {"a": "b"})
    assert [each.labels for each in rest.publisher.list_topics(project=PARENT)] == [{"c": "d"}]
    assert list(rest.publisher.list_topic_subscriptions(topic=JOBS)) == [WORKERS]
    rest.subscriber.modify_push_config(subscription=WORKERS, push_config={})
    assert not rest.subscriber.get_subscription(subscription=WORKERS).push_config.push_endpoint
    rest.publisher.detach_subscription(request={"subscription": WORKERS})
    assert [each.detached for each in rest.subscriber.list_subscriptions(project=PARENT)] == [True]
    rest.subscriber.delete_subscription(subscription=WORKERS)
    rest.publisher.delete_topic(topic=JOBS)
    with pytest.raises(exceptions.NotFound, match="resource=jobs"):
        rest.publisher.get_topic(topic=JOBS)


def test_lists_come_in_pages(rest: Clients) -> None:
    names = [topic_path(f"topic-{number}") for number in range(5)]
    for name in names:
        rest.publisher.create_topic(name=name)

    pager = rest.publisher.list_topics(request={"project": PARENT, "page_size": 2})

    assert [[topic.name for topic in page.topics] for page in pager.pages] == [names[:2], names[2:4], names[4:]]


def test_snapshots_are_made_and_sought(rest: Clients, cloud: Cloud) -> None:
    rest.prepare()
    rest.publisher.publish(topic=JOBS, messages=[{"data": b"a"}])
    rest.subscriber.create_snapshot(name=SNAPSHOT, subscription=WORKERS)
    rest.subscriber.acknowledge(subscription=WORKERS, ack_ids=[rest.pull()[0].ack_id])

    rest.subscriber.seek(request={"subscription": WORKERS, "snapshot": SNAPSHOT})
    assert [each.message.data for each in rest.pull()] == [b"a"]
    rest.subscriber.seek(request={"subscription": WORKERS, "time": cloud.clock.now()})
    mask = field_mask_pb2.FieldMask(paths=["labels"])
    rest.subscriber.update_snapshot(request={"snapshot": {"name": SNAPSHOT, "labels": {"a": "b"}}, "update_mask": mask})
    assert rest.subscriber.get_snapshot(snapshot=SNAPSHOT).labels == {"a": "b"}
    assert [each.name for each in rest.subscriber.list_snapshots(project=PARENT)] == [SNAPSHOT]
    assert list(rest.publisher.list_topic_snapshots(topic=JOBS)) == [SNAPSHOT]
    rest.subscriber.delete_snapshot(snapshot=SNAPSHOT)


def test_schemas_and_their_revisions(rest: Clients) -> None:
    first = rest.schemas.create_schema(parent=PARENT, schema=STATE, schema_id="states")
    second = rest.schemas.commit_schema(name=STATES, schema=STATE)
    rest.schemas.rollback_schema(name=STATES, revision_id=first.revision_id)
    rest.schemas.delete_schema_revision(request={"name": f"{STATES}@{second.revision_id}"})

    assert len(list(rest.schemas.list_schema_revisions(name=STATES))) == 2
    assert [each.name for each in rest.schemas.list_schemas(parent=PARENT)] == [STATES]
    assert rest.schemas.get_schema(name=f"{STATES}@{first.revision_id}").type_ == Schema.Type.AVRO
    rest.schemas.validate_schema(parent=PARENT, schema=STATE)
    message = {"parent": PARENT, "name": STATES, "message": b"", "encoding": Encoding.BINARY}
    rest.schemas.validate_message(request=message)
    with pytest.raises(exceptions.BadRequest, match="failed schema validation"):
        rest.schemas.validate_message(request={**message, "message": b"more"})
    rest.schemas.delete_schema(name=STATES)


def test_policies_are_kept_and_nobody_is_refused(rest: Clients, cloud: Cloud) -> None:
    rest.prepare()
    binding = policy_pb2.Binding(role="roles/pubsub.publisher", members=["user:a@example.com"])
    request = iam_policy_pb2.SetIamPolicyRequest(resource=JOBS, policy=policy_pb2.Policy(bindings=[binding]))
    kept = rest.publisher.set_iam_policy(request=request)

    found = cloud.publisher().get_iam_policy(request={"resource": JOBS})
    assert found.bindings[0].members == ["user:a@example.com"]
    asked = {"resource": WORKERS, "permissions": ["pubsub.subscriptions.consume"]}
    assert rest.subscriber.test_iam_permissions(request=asked).permissions == asked["permissions"]
    request.policy.etag = b"another"
    with pytest.raises(exceptions.Aborted):
        cloud.publisher().set_iam_policy(request=request)
    request.policy.etag = kept.etag
    cloud.publisher().set_iam_policy(request=request)
    with pytest.raises(exceptions.NotFound):
        rest.publisher.get_iam_policy(request={"resource": topic_path("absent")})


def test_an_invalid_ack_id_of_an_exactly_once_subscription_is_told_in_the_details(rest: Clients) -> None:
    rest.prepare(enable_exactly_once_delivery=True)

    with pytest.raises(exceptions.BadRequest) as refused:
        rest.subscriber.acknowledge(subscription=WORKERS, ack_ids=["1-2"])

    assert (refused.value.reason, refused.value.metadata) == (
        "EXACTLY_ONCE_ACKID_FAILURE",
        {"1-2": "PERMANENT_FAILURE_INVALID_ACK_ID"},
    )


def test_a_body_that_is_too_large_is_refused(cloud: Cloud, rest: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    rest.prepare()
    monkeypatch.setattr(rest_module, "MAX_REQUEST_BYTES", 1000)

    with pytest.raises(exceptions.BadRequest, match="larger than 1000 bytes"):
        rest.publisher.publish(topic=JOBS, messages=[{"data": b"x" * 1000}])


def test_a_pull_whose_caller_hangs_up_takes_no_message(rest: Clients, cloud: Cloud) -> None:
    rest.prepare()
    address = urlsplit(cloud.http_url)
    with socket.create_connection((address.hostname, address.port)) as caller:
        body = b'{"maxMessages": 1}'
        head = f"POST /v1/{WORKERS}:pull HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
        caller.sendall(head.encode() + body)
        cloud.wait_until(lambda: cloud.pubsub.subscription(WORKERS).listeners)
    cloud.wait_until(lambda: not cloud.pubsub.subscription(WORKERS).listeners)

    rest.publisher.publish(topic=JOBS, messages=[{"data": b"a"}])

    assert [each.message.data for each in rest.pull()] == [b"a"]


def test_every_method_has_a_fault_point_of_its_own() -> None:
    points = [method.point for method in METHODS]

    assert len(set(points)) == len(points) == 37
    assert all(point.startswith("pubsub.") for point in points)


FAULTS = {
    "pubsub.topics.create": lambda c: c.publisher.create_topic(name=topic_path("more"), retry=None),
    "pubsub.topics.delete": lambda c: c.publisher.delete_topic(topic=JOBS, retry=None),
    "pubsub.subscriptions.seek": lambda c: c.subscriber.seek(
        request={"subscription": WORKERS, "time": timestamp_pb2.Timestamp()}, retry=None
    ),
    "pubsub.snapshots.create": lambda c: c.subscriber.create_snapshot(name=SNAPSHOT, subscription=WORKERS, retry=None),
    "pubsub.schemas.create": lambda c: c.schemas.create_schema(
        parent=PARENT, schema=STATE, schema_id="states", retry=None
    ),
}


@pytest.mark.parametrize("point", FAULTS)
def test_a_fault_hits_a_method_before_its_effect_or_after(rest: Clients, cloud: Cloud, point: str) -> None:
    rest.prepare()
    count = lambda: len(cloud.call(lambda: list(cloud.context.store.items(f"pubsub.{point.split('.')[1]}"))))  # noqa: E731
    before = count()
    cloud.context.faults.add(Fault(point, action="fail", status=503))
    cloud.context.faults.add(Fault(point, action="fail_after", status=500))

    with pytest.raises(exceptions.ServiceUnavailable):
        FAULTS[point](rest)
    assert count() == before
    with pytest.raises(exceptions.InternalServerError):
        FAULTS[point](rest)

    if point.endswith(("create", "delete")):
        assert count() != before
    assert not cloud.context.faults.standing()
