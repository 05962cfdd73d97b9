"""Ours and Google's own emulator get the same calls: they answer alike, or differ as listed here.

What is known to differ is asserted of both, so that an emulator that mends it is noticed. Where they differ, ours does
what the service documents. Skipped where Java or the emulator is missing.
"""

from __future__ import annotations

import asyncio
import base64
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.cloud import pubsub_v1
from google.protobuf import timestamp_pb2

from localcloud.official.errors import NotInstalled
from localcloud.official.process import Emulator, java_command
from tests.localcloud.pubsub import servers
from tests.localcloud.pubsub.pubsub_cloud import (
    PATIENCE_S,
    PROJECT,
    Receiver,
    subscription_path,
    topic_path,
    wait_until,
)
from tests.localcloud.pubsub.servers import PROJECT_PATH, SUBSCRIPTION, TOPIC, Server, seconds

pytestmark = [
    pytest.mark.official,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning"),
]

OTHER, ABSENT = subscription_path("other"), subscription_path("absent")
SNAPSHOTS = f"{PROJECT_PATH}/snapshots"
NOWHERE = "http://127.0.0.1:9/"
Call = Callable[[Server], object]


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Google's emulator, one for all tests."""
    try:
        java_command(os.environ)
    except NotInstalled as missing:
        pytest.skip(str(missing))
    emulator = Emulator(0, tmp_path_factory.mktemp("emulator"))
    asyncio.run(emulator.start())
    yield emulator.address
    asyncio.run(emulator.stop())


@pytest.fixture
def ours(address: str) -> Iterator[Server]:
    with servers.ours() as server:
        yield server


@pytest.fixture
def theirs(address: str) -> Iterator[Server]:
    with servers.official(address) as server:
        yield server


@pytest.fixture(params=["ours", "theirs"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each in turn."""
    found: Server = request.getfixturevalue(request.param)
    return found


# What is refused


def publishing(**message: Any) -> Call:
    return lambda s: s.publisher.publish(topic=TOPIC, messages=[message])


def subscribing(**settings: Any) -> Call:
    return lambda s: s.subscribe(OTHER, **settings)


def creating(name: str, **settings: Any) -> Call:
    return lambda s: s.publisher.create_topic(request={"name": name, **settings})


def changing(field: str, **settings: Any) -> Call:
    return lambda s: s.update(field, **settings)


def changing_topic(*fields: str, name: str = TOPIC, **settings: Any) -> Call:
    return lambda s: s.publisher.update_topic(topic={"name": name, **settings}, update_mask={"paths": list(fields)})


def modifying(ack_id: str, deadline_s: int, subscription: str = SUBSCRIPTION) -> Call:
    return lambda s: s.subscriber.modify_ack_deadline(
        subscription=subscription, ack_ids=[ack_id], ack_deadline_seconds=deadline_s
    )


def pulling(subscription: str, limit: int = 1) -> Call:
    return lambda s: s.subscriber.pull(subscription=subscription, max_messages=limit, return_immediately=True)


ANSWERED_ALIKE: dict[str, tuple[str, Call]] = {
    "a second topic": ("AlreadyExists", creating(TOPIC)),
    "a second subscription": ("AlreadyExists", lambda s: s.subscribe(SUBSCRIPTION)),
    "getting no topic": ("NotFound", lambda s: s.publisher.get_topic(topic=topic_path("absent"))),
    "getting no subscription": ("NotFound", lambda s: s.subscriber.get_subscription(subscription=ABSENT)),
    "deleting no topic": ("NotFound", lambda s: s.publisher.delete_topic(topic=topic_path("absent"))),
    "deleting no subscription": ("NotFound", lambda s: s.subscriber.delete_subscription(subscription=ABSENT)),
    "changing no topic": ("NotFound", changing_topic("labels", name=topic_path("absent"))),
    "publishing to no topic": (
        "NotFound",
        lambda s: s.publisher.publish(topic=topic_path("absent"), messages=[{"data": b"x"}]),
    ),
    "subscribing to no topic": ("NotFound", subscribing(topic=topic_path("absent"))),
    "pulling from no subscription": ("NotFound", pulling(ABSENT)),
    "acknowledging to no subscription": (
        "NotFound",
        lambda s: s.subscriber.acknowledge(subscription=ABSENT, ack_ids=["1"]),
    ),
    "extending in no subscription": ("NotFound", modifying("1", 10, ABSENT)),
    "seeking no subscription": (
        "NotFound",
        lambda s: s.subscriber.seek(request={"subscription": ABSENT, "time": timestamp_pb2.Timestamp(seconds=1)}),
    ),
    "getting no snapshot": ("NotFound", lambda s: s.subscriber.get_snapshot(snapshot=f"{SNAPSHOTS}/absent")),
    "a snapshot of no subscription": (
        "NotFound",
        lambda s: s.subscriber.create_snapshot(name=f"{SNAPSHOTS}/snap", subscription=ABSENT),
    ),
    "seeking to no snapshot": (
        "NotFound",
        lambda s: s.subscriber.seek(request={"subscription": SUBSCRIPTION, "snapshot": f"{SNAPSHOTS}/absent"}),
    ),
    "a schema that is not there": (
        "NotFound",
        creating(topic_path("other"), schema_settings={"schema": f"{PROJECT_PATH}/schemas/absent", "encoding": "JSON"}),
    ),
    "a dead-letter topic that is not there": (
        "NotFound",
        subscribing(dead_letter_policy={"dead_letter_topic": topic_path("absent")}),
    ),
    "no messages": ("InvalidArgument", lambda s: s.publisher.publish(topic=TOPIC, messages=[])),
    "too many messages": (
        "InvalidArgument",
        lambda s: s.publisher.publish(topic=TOPIC, messages=[{"data": b"x"}] * 1001),
    ),
    "an empty message": ("InvalidArgument", publishing(data=b"")),
    "a message of a key alone": ("InvalidArgument", publishing(ordering_key="k")),
    "a reserved topic name": ("InvalidArgument", creating(topic_path("goog-things"))),
    "a short topic name": ("InvalidArgument", creating(topic_path("ab"))),
    "a long topic name": ("InvalidArgument", creating(topic_path("a" * 256))),
    "a topic name that begins with a digit": ("InvalidArgument", creating(topic_path("1abc"))),
    "a topic name with spaces": ("InvalidArgument", creating(topic_path("a b c"))),
    "a topic without a project": ("InvalidArgument", creating("jobs")),
    "a topic's short retention": (
        "InvalidArgument",
        creating(topic_path("other"), message_retention_duration=seconds(300)),
    ),
    "a topic's long retention": (
        "InvalidArgument",
        creating(topic_path("other"), message_retention_duration=seconds(32 * 86_400)),
    ),
    "a reserved subscription name": ("InvalidArgument", lambda s: s.subscribe(subscription_path("goog-things"))),
    "a subscription without a project": ("InvalidArgument", lambda s: s.subscribe("workers")),
    "a short retention": ("InvalidArgument", subscribing(message_retention_duration=seconds(300))),
    "a long retention": ("InvalidArgument", subscribing(message_retention_duration=seconds(32 * 86_400))),
    "a negative ack deadline": ("InvalidArgument", subscribing(ack_deadline_seconds=-1)),
    "a long ack deadline": ("InvalidArgument", subscribing(ack_deadline_seconds=601)),
    "a long backoff": ("InvalidArgument", subscribing(retry_policy={"maximum_backoff": seconds(601)})),
    "a negative backoff": ("InvalidArgument", subscribing(retry_policy={"minimum_backoff": seconds(-1)})),
    "a falling backoff": (
        "InvalidArgument",
        subscribing(retry_policy={"minimum_backoff": seconds(50), "maximum_backoff": seconds(20)}),
    ),
    "an endpoint that is no URL": ("InvalidArgument", subscribing(push_config={"push_endpoint": "nonsense"})),
    "pulling nothing": ("InvalidArgument", pulling(SUBSCRIPTION, 0)),
    "acknowledging nothing": (
        "InvalidArgument",
        lambda s: s.subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=[]),
    ),
    "acknowledging what is no ack id": (
        "InvalidArgument",
        lambda s: s.subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=["nonsense"]),
    ),
    "extending what is no ack id": ("InvalidArgument", modifying("nonsense", 20)),
    "extending for long": ("InvalidArgument", modifying("1-1", 601)),
    "extending backwards": ("InvalidArgument", modifying("1-1", -1)),
    "changing nothing": ("InvalidArgument", changing("")),
    "changing nothing of a topic": ("InvalidArgument", changing_topic()),
    "changing what is not there": ("InvalidArgument", changing("nonsense")),
    "another filter": ("InvalidArgument", changing("filter", filter="attributes:a")),
    "another topic": ("InvalidArgument", changing("topic", topic=topic_path("other"))),
    "ordering afterwards": ("InvalidArgument", changing("enable_message_ordering", enable_message_ordering=True)),
    "another deadline, too long": ("InvalidArgument", changing("ack_deadline_seconds", ack_deadline_seconds=700)),
    "another deadline": ("accepted", changing("ack_deadline_seconds", ack_deadline_seconds=20)),
    "another retention": (
        "accepted",
        changing("message_retention_duration", message_retention_duration=seconds(1200)),
    ),
    "another retention of a topic": (
        "accepted",
        changing_topic("message_retention_duration", message_retention_duration=seconds(1200)),
    ),
    "keeping what is acknowledged": ("accepted", changing("retain_acked_messages", retain_acked_messages=True)),
    "pushing from now on": ("accepted", changing("push_config", push_config={"push_endpoint": NOWHERE})),
    "exactly once from now on": (
        "accepted",
        changing("enable_exactly_once_delivery", enable_exactly_once_delivery=True),
    ),
    "dead letters from now on": (
        "accepted",
        changing("dead_letter_policy", dead_letter_policy={"dead_letter_topic": TOPIC}),
    ),
    "a retry policy from now on": ("accepted", changing("retry_policy", retry_policy={})),
}


@pytest.mark.parametrize("case", ANSWERED_ALIKE)
def test_both_answer_alike(server: Server, case: str) -> None:
    expected, call = ANSWERED_ALIKE[case]
    server.prepare()

    assert server.refusal(call) == expected


# case: what ours answers, as the service does; what theirs answers; the call
ANSWERED_OTHERWISE: dict[str, tuple[str, str, Call]] = {
    "a short ack deadline": ("InvalidArgument", "accepted", subscribing(ack_deadline_seconds=5)),
    "a filter that does not parse": ("InvalidArgument", "accepted", subscribing(filter="bogus ((")),
    "a filter longer than 256 bytes": (
        "InvalidArgument",
        "accepted",
        subscribing(filter=" OR ".join(["attributes:a"] * 20)),
    ),
    "few delivery attempts": (
        "InvalidArgument",
        "OutOfRange",
        subscribing(dead_letter_policy={"dead_letter_topic": TOPIC, "max_delivery_attempts": 4}),
    ),
    "many delivery attempts": (
        "InvalidArgument",
        "OutOfRange",
        subscribing(dead_letter_policy={"dead_letter_topic": TOPIC, "max_delivery_attempts": 101}),
    ),
    "an attribute key of 257 bytes": ("InvalidArgument", "accepted", publishing(attributes={"k" * 257: "v"})),
    "an attribute value of 1025 bytes": ("InvalidArgument", "accepted", publishing(attributes={"k": "v" * 1025})),
    "101 attributes": ("InvalidArgument", "accepted", publishing(attributes={f"k{n}": "v" for n in range(101)})),
    "a reserved attribute key": ("InvalidArgument", "accepted", publishing(attributes={"goog-x": "v"})),
    "an empty attribute key": ("InvalidArgument", "accepted", publishing(attributes={"": "v"})),
    "an ordering key of 1025 bytes": ("InvalidArgument", "accepted", publishing(data=b"x", ordering_key="k" * 1025)),
    "pulling from a push subscription": (
        "FailedPrecondition",
        "accepted",
        lambda s: (s.subscribe(OTHER, push_config={"push_endpoint": NOWHERE}), s.pull_now(OTHER)),
    ),
    "the subscriptions of no topic": (
        "NotFound",
        "accepted",
        lambda s: list(s.publisher.list_topic_subscriptions(topic=topic_path("absent"))),
    ),
    "pages of negative size": (
        "InvalidArgument",
        "accepted",
        lambda s: s.publisher.list_topics(request={"project": PROJECT_PATH, "page_size": -1}),
    ),
    "detaching": (
        "accepted",
        "MethodNotImplemented",
        lambda s: s.publisher.detach_subscription(request={"subscription": SUBSCRIPTION}),
    ),
    "other labels": ("accepted", "InvalidArgument", changing("labels", labels={"a": "b"})),
    "other labels of a topic": ("accepted", "InvalidArgument", changing_topic("labels", labels={"a": "b"})),
    "a short expiration": ("InvalidArgument", "accepted", subscribing(expiration_policy={"ttl": seconds(3600)})),
    "a label key in capitals": ("InvalidArgument", "accepted", creating(topic_path("other"), labels={"KEY": "v"})),
    "who may use a topic": (
        "accepted",
        "MethodNotImplemented",
        lambda s: s.publisher.get_iam_policy(request={"resource": TOPIC}),
    ),
    "another expiration": (
        "accepted",
        "InvalidArgument",
        changing("expiration_policy", expiration_policy={"ttl": seconds(2 * 86_400)}),
    ),
}


@pytest.mark.parametrize("case", ANSWERED_OTHERWISE)
def test_theirs_answers_otherwise_than_the_service(ours: Server, theirs: Server, case: str) -> None:
    as_the_service, as_known, call = ANSWERED_OTHERWISE[case]
    ours.prepare()
    theirs.prepare()

    assert (ours.refusal(call), theirs.refusal(call)) == (as_the_service, as_known)


# Resources


def test_a_subscription_has_the_same_defaults(server: Server) -> None:
    server.prepare(retry_policy={})
    found = server.subscriber.get_subscription(subscription=SUBSCRIPTION)

    assert found.topic == TOPIC
    assert found.ack_deadline_seconds == 10
    assert found.message_retention_duration.total_seconds() == 604_800


def test_a_deleted_topic_leaves_its_subscription_with_its_messages(server: Server) -> None:
    server.prepare()
    server.publish(b"kept")
    server.publisher.delete_topic(topic=TOPIC)

    assert server.subscriber.get_subscription(subscription=SUBSCRIPTION).topic == "_deleted-topic_"
    assert [each.message.data for each in server.pull()] == [b"kept"]


def test_lists_are_read_in_pages(server: Server) -> None:
    names = [topic_path(f"topic-{number}") for number in range(5)]
    for name in names:
        server.publisher.create_topic(name=name)

    pages = list(server.publisher.list_topics(request={"project": PROJECT_PATH, "page_size": 2}).pages)

    assert [len(page.topics) for page in pages] == [2, 2, 1]
    assert sorted(topic.name for page in pages for topic in page.topics) == names


# Messages


def test_messages_come_as_they_were_published(server: Server) -> None:
    server.prepare()
    ids = server.publish(b"\x00\xff", b"", name="ü", empty="")
    received = sorted(server.pull(), key=lambda each: ids.index(each.message.message_id))

    assert [each.message.data for each in received] == [b"\x00\xff", b""]
    assert [dict(each.message.attributes) for each in received] == [{"name": "ü", "empty": ""}] * 2
    assert [each.delivery_attempt for each in received] == [0, 0]
    assert len(set(ids)) == 2


def test_an_acknowledged_message_does_not_come_back(server: Server) -> None:
    server.prepare()
    server.publish(b"a")
    server.acknowledge(*server.pull())
    server.publish(b"b")

    assert [each.message.data for each in server.pull()] == [b"b"]


def test_a_message_given_back_comes_again_under_another_ack_id(server: Server) -> None:
    server.prepare()
    server.publish(b"a")
    [first] = server.pull()
    server.extend(first, seconds=0)
    [second] = server.pull()

    assert second.message.message_id == first.message.message_id
    assert second.ack_id != first.ack_id


def test_a_lease_ends_by_time_and_its_ack_id_is_worth_nothing_after(server: Server) -> None:
    server.prepare()
    server.publish(b"a")
    [first] = server.pull()
    server.extend(first, seconds=1)
    assert server.pull_now() == []
    server.pass_time(1)
    [second] = server.pull()
    server.acknowledge(first)
    server.extend(second, seconds=0)

    assert [each.message.data for each in server.pull()] == [b"a"]


def test_each_subscription_gets_its_own(server: Server) -> None:
    server.prepare()
    server.subscribe(OTHER)
    server.publish(b"a")
    server.acknowledge(*server.pull())

    assert [each.message.data for each in server.pull(OTHER)] == [b"a"]


def test_a_stream_brings_messages_to_a_callback(server: Server) -> None:
    server.prepare()
    seen: list[bytes] = []

    def callback(message: pubsub_v1.subscriber.message.Message) -> None:
        seen.append(message.data)
        message.ack()

    stream = server.subscriber.subscribe(SUBSCRIPTION, callback)
    server.publish(b"a", b"b")
    wait_until(lambda: len(seen) == 2, "both messages")
    stream.cancel()
    stream.result(PATIENCE_S)

    assert sorted(seen) == [b"a", b"b"]


def test_a_poison_message_ends_in_the_dead_letter_topic(server: Server) -> None:
    server.publisher.create_topic(name=topic_path("dead"))
    server.subscriber.create_subscription(name=subscription_path("dead"), topic=topic_path("dead"))
    server.prepare(dead_letter_policy={"dead_letter_topic": topic_path("dead"), "max_delivery_attempts": 5})
    [message_id] = server.publish(b"poison", color="red")
    attempts = []
    for _ in range(5):
        [received] = server.pull()
        attempts.append(received.delivery_attempt)
        server.extend(received, seconds=0)
    # Google's emulator gives a message up when it would deliver it once more.
    assert server.pull_now() == []
    [dead] = server.pull(subscription_path("dead"))

    assert attempts == [1, 2, 3, 4, 5]
    assert dead.message.message_id != message_id
    attributes = dict(dead.message.attributes)
    assert attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime")
    assert attributes == {
        "color": "red",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": "workers",
        "CloudPubSubDeadLetterSourceSubscriptionProject": PROJECT,
    }


def test_seeking_forward_acknowledges_everything(server: Server) -> None:
    server.prepare()
    server.publish(b"a", b"b")
    later = timestamp_pb2.Timestamp(seconds=2_000_000_000)
    server.subscriber.seek(request={"subscription": SUBSCRIPTION, "time": later})
    server.publish(b"c")

    assert [each.message.data for each in server.pull()] == [b"c"]


def test_seeking_to_a_snapshot_brings_back_what_it_holds(server: Server) -> None:
    server.prepare()
    server.publish(b"done", b"held")
    received = {each.message.data: each for each in server.pull()}
    server.acknowledge(received[b"done"])
    made = server.subscriber.create_snapshot(name=f"{SNAPSHOTS}/snap", subscription=SUBSCRIPTION)
    server.acknowledge(received[b"held"])
    server.publish(b"later")
    server.acknowledge(*server.pull())
    server.subscriber.seek(request={"subscription": SUBSCRIPTION, "snapshot": made.name})

    assert made.topic == TOPIC
    assert sorted(each.message.data for each in server.pull()) == [b"held", b"later"]


def test_seeking_back_brings_what_was_acknowledged_where_that_is_kept(server: Server) -> None:
    server.prepare(retain_acked_messages=True)
    server.publish(b"a")
    server.acknowledge(*server.pull())
    assert server.pull_now() == []
    server.subscriber.seek(request={"subscription": SUBSCRIPTION, "time": timestamp_pb2.Timestamp(seconds=1)})

    assert [each.message.data for each in server.pull()] == [b"a"]


def test_a_new_subscription_can_read_back_as_far_as_its_topic_keeps_messages(server: Server) -> None:
    topic = topic_path("keeping")  # of its own: what Google's emulator keeps for a topic, no reset takes from it
    server.publisher.create_topic(request={"name": topic, "message_retention_duration": seconds(3600)})
    server.publisher.publish(topic=topic, messages=[{"data": b"before"}])
    server.subscriber.create_subscription(name=OTHER, topic=topic)
    server.subscriber.seek(request={"subscription": OTHER, "time": timestamp_pb2.Timestamp(seconds=1)})

    assert [each.message.data for each in server.pull(OTHER)] == [b"before"]


def test_with_exactly_once_an_ack_id_is_refused_once_its_message_came_again(server: Server) -> None:
    server.prepare(enable_exactly_once_delivery=True)
    server.publish(b"a")
    [first] = server.pull()
    server.extend(first, seconds=1)
    server.pass_time(1)
    [second] = server.pull()

    assert server.refusal(lambda s: s.acknowledge(first)) == "InvalidArgument"
    assert server.refusal(lambda s: s.acknowledge(second)) == "accepted"


def test_ordered_messages_come_in_order(server: Server) -> None:
    server.prepare(enable_message_ordering=True)
    server.publish(*(str(number).encode() for number in range(5)), key="k")
    seen: list[bytes] = []
    while len(seen) < 5:
        received = server.pull()
        seen += [each.message.data for each in received]
        server.acknowledge(*received)

    assert seen == [b"0", b"1", b"2", b"3", b"4"]


def test_theirs_breaks_the_order_when_a_message_is_given_back(ours: Server, theirs: Server) -> None:
    def order(server: Server) -> list[bytes]:
        server.prepare(enable_message_ordering=True)
        server.publish(b"0", b"1", b"2", b"3", key="k")
        head, *behind = server.pull()
        server.acknowledge(head)
        second, *rest = behind or server.pull()
        server.extend(second, seconds=0)
        for received in rest:
            server.extend(received, seconds=1)
        server.pass_time(1)
        seen = [head.message.data]
        while len(seen) < 4:
            received = server.pull()
            seen += [each.message.data for each in received]
            server.acknowledge(*received)
        return seen

    assert order(ours) == [b"0", b"1", b"2", b"3"]
    assert order(theirs) == [b"0", b"2", b"3", b"1"]


def test_theirs_delivers_again_at_once_whatever_the_retry_policy(ours: Server, theirs: Server) -> None:
    def given_back(server: Server) -> list[bytes]:
        server.prepare(retry_policy={"minimum_backoff": seconds(100), "maximum_backoff": seconds(200)})
        server.publish(b"a")
        server.extend(*server.pull(), seconds=0)
        return [each.message.data for each in server.pull_now()]

    assert given_back(ours) == []
    assert given_back(theirs) == [b"a"]


def test_theirs_ignores_filters(ours: Server, theirs: Server) -> None:
    def passed(server: Server) -> list[bytes]:
        server.prepare(filter='attributes.color = "red"')
        server.publish(b"blue", color="blue")
        server.publish(b"red", color="red")
        received = server.pull()
        return sorted(each.message.data for each in received)

    assert passed(ours) == [b"red"]
    assert passed(theirs) == [b"blue", b"red"]


# Push


def pushed(server: Server, receiver: Receiver, *payloads: bytes, key: str = "", **settings: Any) -> None:
    """Publish to a push subscription of the receiver."""
    config = {"push_endpoint": f"{receiver.url}/push?token=1", **settings.pop("push_config", {})}
    server.prepare(push_config=config, ack_deadline_seconds=600, **settings)
    server.publish(*payloads, key=key, color="red")


def test_a_push_has_the_same_body(server: Server, receiver: Receiver) -> None:
    pushed(server, receiver, b"hello")
    [request] = receiver.wait_for(1)
    body = request.json

    message = body["message"]
    assert request.headers["content-type"] == "application/json"
    assert set(body) == {"message", "subscription"}
    assert body["subscription"] == SUBSCRIPTION
    assert set(message) == {"attributes", "data", "messageId", "message_id", "publishTime", "publish_time"}
    assert base64.b64decode(message["data"]) == b"hello"
    assert message["attributes"] == {"color": "red"}
    assert message["messageId"] == message["message_id"]
    assert message["publishTime"] == message["publish_time"]


def test_an_unwrapped_push_is_the_payload_with_metadata_in_headers(server: Server, receiver: Receiver) -> None:
    pushed(server, receiver, b"hello", push_config={"no_wrapper": {"write_metadata": True}})
    [request] = receiver.wait_for(1)

    assert request.body == b"hello"
    assert request.headers["x-goog-pubsub-subscription-name"] == SUBSCRIPTION
    assert request.headers["x-goog-pubsub-message-id"]
    assert request.headers["x-goog-pubsub-publish-time"]
    assert request.headers["color"] == "red"


def test_theirs_leaves_out_of_a_push_the_key_the_attempt_and_the_token(
    ours: Server, theirs: Server, receiver: Receiver
) -> None:
    def told(server: Server) -> set[str]:
        receiver.requests.clear()
        server.publisher.create_topic(name=topic_path("dead"))
        pushed(
            server,
            receiver,
            b"x",
            key="k",
            push_config={"oidc_token": {"service_account_email": "caller@example.com"}},
            dead_letter_policy={"dead_letter_topic": topic_path("dead")},
        )
        [request] = receiver.wait_for(1)
        return (
            {"authorization"} & set(request.headers)
            | {"deliveryAttempt"} & set(request.json)
            | ({"orderingKey"} & set(request.json["message"]))
        )

    assert told(ours) == {"authorization", "deliveryAttempt", "orderingKey"}
    assert told(theirs) == set()


@pytest.mark.parametrize(
    ("status", "as_the_service", "as_known"),
    [(200, 1, 1), (201, 1, 1), (204, 1, 1), (202, 1, 2), (203, 2, 1), (500, 2, 2), (404, 2, 2)],
)
def test_which_answers_acknowledge_a_push(
    ours: Server, theirs: Server, receiver: Receiver, status: int, as_the_service: int, as_known: int
) -> None:
    """How often a message is sent whose first sending is answered so."""

    def sent(server: Server) -> int:
        receiver.requests.clear()
        receiver.answers = [status, 500, 500]
        pushed(server, receiver, b"first")
        receiver.wait_for(1)
        server.publish(b"second")
        # Which is sent after the first and refused: the first would have been here again by now.
        server.wait_until(lambda: payloads(receiver).count("second") == 2, "the second message once more")
        return min(2, payloads(receiver).count("first"))

    assert (sent(ours), sent(theirs)) == (as_the_service, as_known)


def payloads(receiver: Receiver) -> list[str]:
    return [base64.b64decode(each.json["message"]["data"]).decode() for each in receiver.requests]


def test_theirs_has_two_pushes_of_a_subscription_open_at_most(ours: Server, theirs: Server, receiver: Receiver) -> None:
    hanging = [threading.Event() for _ in range(5)]

    def open_at_once(server: Server, enough: int) -> int:
        receiver.requests.clear()
        receiver.answers = list(hanging)
        pushed(server, receiver, *(str(number).encode() for number in range(5)))
        receiver.wait_for(enough)
        # Another subscription's push comes later than any that theirs would still begin.
        server.subscribe(OTHER, push_config={"push_endpoint": f"{receiver.url}/other"})
        server.publish(b"other")
        wait_until(lambda: any(each.path == "/other" for each in receiver.requests), "the other subscription's push")
        return sum(each.path == "/push" for each in receiver.requests)

    assert open_at_once(ours, 5) == 6  # and that of `other`
    assert open_at_once(theirs, 2) == 2


def test_ordered_pushes_wait_for_one_that_fails(server: Server, receiver: Receiver) -> None:
    receiver.answers = [204, 204, 500]
    pushed(server, receiver, *(str(number).encode() for number in range(5)), key="k", enable_message_ordering=True)
    server.wait_until(lambda: len(receiver.requests) == 6, "all pushes")

    assert payloads(receiver) == ["0", "1", "2", "2", "3", "4"]
