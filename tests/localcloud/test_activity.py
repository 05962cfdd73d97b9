"""Does the log of events say what happened, and does a slow reader find out what it missed?"""

from __future__ import annotations

import asyncio

import pytest
from google.cloud import pubsub_v1, storage

from localcloud.activity import KEPT, Activity, Event
from localcloud.clock import Clock
from localcloud.cloud import LocalCloud
from localcloud.faults import Fault
from localcloud.pubsub.resources import SubscriptionSpec
from localcloud.pytest_plugin import LocalCloudOfATest


@pytest.fixture
def cloud(localcloud: LocalCloudOfATest) -> LocalCloud:
    localcloud.deploy(
        buckets=("uploads",), topics=("orders",), subscriptions=(SubscriptionSpec("orders-pull", "orders"),)
    )
    return localcloud.cloud


def said(cloud: LocalCloud, since: int) -> list[tuple[str, str, str]]:
    events = cloud.call(cloud.context.activity.after, since)
    return [(event.service, event.resource, event.action) for event in events]


def test_what_clients_do_to_objects_is_noted(cloud: LocalCloud):
    since = cloud.context.activity.latest
    cloud.faults.add(Fault("storage.objects.delete", action="fail_after"))

    blob = storage.Client().bucket("uploads").blob("a/b.txt")
    blob.upload_from_string(b"four")
    with pytest.raises(Exception, match="Fault ordered"):
        blob.delete(retry=None)

    assert said(cloud, since) == [
        ("storage", "uploads/a/b.txt", "finalized"),
        ("faults", "storage.objects.delete", "fail_after"),
        ("storage", "uploads/a/b.txt", "deleted"),
    ]


def test_a_message_is_followed_by_its_id(cloud: LocalCloud):
    since = cloud.context.activity.latest
    with pubsub_v1.SubscriberClient() as subscriber:
        path = "projects/local/subscriptions/orders-pull"
        id_ = pubsub_v1.PublisherClient().publish("projects/local/topics/orders", b"1").result()
        received = subscriber.pull(subscription=path, max_messages=1).received_messages
        subscriber.acknowledge(subscription=path, ack_ids=[each.ack_id for each in received])

    events: list[Event] = cloud.call(cloud.context.activity.after, since)
    assert [event.action for event in events if event.ref == id_] == ["published", "delivered", "acknowledged"]


def test_a_reader_that_fell_behind_is_told_how_much_it_missed():
    activity = Activity(Clock(frozen=True))
    for number in range(KEPT + 5):
        activity.emit("storage", "bucket", "finalized", "%d bytes", number)

    assert activity.missed(2) == 3
    assert [event.detail for event in activity.after(2, limit=2)] == ["5 bytes", "6 bytes"]
    assert activity.missed(activity.latest) == 0
    assert activity.after(activity.latest) == []


def test_a_reader_waits_until_something_happens():
    async def scenario() -> int:
        activity = Activity(Clock(frozen=True))
        waiting = asyncio.ensure_future(activity.follow(0))
        await asyncio.sleep(0)
        assert not waiting.done()
        activity.emit("storage", "bucket", "bucket created")
        await waiting
        return activity.latest

    assert asyncio.run(scenario()) == 1


def test_nobody_waits_for_a_log_that_is_closed():
    async def scenario() -> None:
        activity = Activity(Clock(frozen=True))
        waiting = asyncio.ensure_future(activity.follow(0))
        await asyncio.sleep(0)
        activity.close()
        await waiting
        await activity.follow(0)

    asyncio.run(asyncio.wait_for(scenario(), 10))
