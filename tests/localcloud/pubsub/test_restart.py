"""What was published survives the process, and is part of the transaction it was published in."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localcloud.pubsub.resources import PublishedMessage, SubscriptionSpec
from tests.localcloud.pubsub.pubsub_cloud import START, Cloud, Receiver, subscription_path, topic_path

WORKERS = subscription_path("workers")

PUBLISH_AND_DIE = """
import os, sys
from pathlib import Path
from localcloud.clock import Clock
from localcloud.context import Context
from localcloud.faults import Faults
from localcloud.identity import Identity
from localcloud.pubsub.resources import PublishedMessage, SubscriptionSpec
from localcloud.pubsub.state import PubSub
from localcloud.store import Store

clock = Clock(start=float(sys.argv[3]), frozen=True)
store = Store(Path(sys.argv[1]))
pubsub = PubSub(Context("demo-project", "here", clock, store, Faults(), Identity(clock), "http://127.0.0.1", ""))
pubsub.create_topic("jobs")
pubsub.create_subscription(SubscriptionSpec("pusher", "jobs", push_endpoint=sys.argv[2]))
print(*pubsub.publish("jobs", [PublishedMessage(b"one"), PublishedMessage(b"two")]), flush=True)
os.kill(os.getpid(), 9)
"""


def test_what_was_published_before_kill_9_is_delivered_by_the_next_process(tmp_path: Path, receiver: Receiver) -> None:
    arguments = [sys.executable, "-c", PUBLISH_AND_DIE, str(tmp_path), f"{receiver.url}/", str(START)]
    died = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert died.returncode == -signal.SIGKILL, died.stderr
    published = died.stdout.split()

    cloud = Cloud(tmp_path)
    try:
        receiver.wait_for(2)
        cloud.wait_until(cloud.pubsub.is_idle)
        later = cloud.call(lambda: cloud.pubsub.publish("jobs", [PublishedMessage(b"three")]))
    finally:
        cloud.close()

    assert sorted(each.json["message"]["messageId"] for each in receiver.requests[:2]) == sorted(published)
    assert not set(later) & set(published)


def test_a_restart_keeps_the_backlog_and_the_delivery_attempts(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    for name in ("jobs", "dead"):
        cloud.call(lambda name=name: cloud.pubsub.create_topic(name))
    spec = SubscriptionSpec("workers", "jobs", dead_letter_topic="dead", filter="attributes:keep")
    cloud.call(lambda: cloud.pubsub.create_subscription(spec))
    cloud.call(lambda: cloud.pubsub.publish("jobs", [PublishedMessage(b"a", {"keep": "1"}), PublishedMessage(b"b")]))
    pulled = cloud.subscriber().pull(subscription=WORKERS, max_messages=10)
    assert [each.delivery_attempt for each in pulled.received_messages] == [1]
    cloud.close()

    again = Cloud(tmp_path)
    pulled = again.subscriber().pull(subscription=WORKERS, max_messages=10)
    again.close()

    assert [(each.message.data, each.delivery_attempt) for each in pulled.received_messages] == [(b"a", 2)]


def test_a_restart_knows_that_a_lease_taken_back_for_an_earlier_message_was_no_attempt(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    cloud.call(lambda: cloud.pubsub.create_topic("jobs"))
    cloud.call(lambda: cloud.pubsub.create_topic("dead"))
    spec = SubscriptionSpec("workers", "jobs", dead_letter_topic="dead", ordered=True)
    cloud.call(lambda: cloud.pubsub.create_subscription(spec))
    keyed = [PublishedMessage(data, ordering_key="k") for data in (b"a", b"b")]
    cloud.call(lambda: cloud.pubsub.publish("jobs", keyed))
    first, _ = cloud.subscriber().pull(subscription=WORKERS, max_messages=10).received_messages
    cloud.subscriber().modify_ack_deadline(subscription=WORKERS, ack_ids=[first.ack_id], ack_deadline_seconds=0)
    cloud.close()

    again = Cloud(tmp_path)
    pulled = again.subscriber().pull(subscription=WORKERS, max_messages=10)
    again.close()

    assert [(each.message.data, each.delivery_attempt) for each in pulled.received_messages] == [(b"a", 2), (b"b", 1)]


def test_an_ack_id_of_before_a_restart_is_worth_nothing_once_its_message_is_out_again(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    cloud.call(lambda: cloud.pubsub.create_topic("jobs"))
    cloud.call(lambda: cloud.pubsub.create_subscription(SubscriptionSpec("workers", "jobs")))
    cloud.call(lambda: cloud.pubsub.publish("jobs", [PublishedMessage(b"a")]))
    [stale] = cloud.subscriber().pull(subscription=WORKERS, max_messages=1).received_messages
    cloud.close()

    again = Cloud(tmp_path)
    [leased] = again.subscriber().pull(subscription=WORKERS, max_messages=1).received_messages
    again.subscriber().acknowledge(subscription=WORKERS, ack_ids=[stale.ack_id])
    left = again.call(lambda: again.pubsub.backlog("workers"))
    again.close()

    assert leased.message.message_id == stale.message.message_id
    assert left == 1


def test_a_message_of_a_transaction_that_is_rolled_back_is_never_delivered(cloud: Cloud, receiver: Receiver) -> None:
    cloud.call(lambda: cloud.pubsub.create_topic("jobs"))
    spec = SubscriptionSpec("workers", "jobs", push_endpoint=f"{receiver.url}/")
    cloud.call(lambda: cloud.pubsub.create_subscription(spec))

    def publish_and_fail() -> None:
        with cloud.context.store.transaction():
            cloud.pubsub.publish("jobs", [PublishedMessage(b"never")])
            raise RuntimeError("the object could not be written")

    with pytest.raises(RuntimeError):
        cloud.call(publish_and_fail)
    cloud.publisher().publish(topic_path("jobs"), b"sentinel").result()
    cloud.wait_until(cloud.pubsub.is_idle)

    assert [each.json["message"]["data"] for each in receiver.requests] == ["c2VudGluZWw="]


def test_delivery_starts_only_after_the_transaction(cloud: Cloud) -> None:
    cloud.call(lambda: cloud.pubsub.create_topic("jobs"))
    cloud.call(lambda: cloud.pubsub.create_subscription(SubscriptionSpec("workers", "jobs")))

    def publish_and_look() -> tuple[int, bool, int]:
        with cloud.context.store.transaction():
            cloud.pubsub.publish("jobs", [PublishedMessage(b"x")])
            deliverable = len(cloud.pubsub.subscription(WORKERS).backlog)
            return deliverable, cloud.pubsub.is_idle(), cloud.pubsub.backlog("workers")

    assert cloud.call(publish_and_look) == (0, False, 1)
    cloud.wait_until(lambda: len(cloud.pubsub.subscription(WORKERS).backlog) == 1)
