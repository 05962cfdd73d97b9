"""What was acknowledged comes back where it was kept: by a seek to a time, or to a snapshot."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.protobuf import duration_pb2, field_mask_pb2

from localcloud.pubsub.resources import PublishedMessage
from tests.localcloud.pubsub.pubsub_cloud import PATIENCE_S, PROJECT, Cloud, subscription_path, topic_path

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

JOBS, WORKERS, OTHERS = topic_path("jobs"), subscription_path("workers"), subscription_path("others")
SNAPSHOT = f"projects/{PROJECT}/snapshots/before"
HOUR_S, DAY_S = 3600, 86_400


def seconds(number: int) -> duration_pb2.Duration:
    return duration_pb2.Duration(seconds=number)


def with_topic(cloud: Cloud, **settings: Any) -> pubsub_v1.SubscriberClient:
    cloud.publisher().create_topic(request={"name": JOBS, **settings})
    return cloud.subscriber()


def subscribe(cloud: Cloud, name: str = WORKERS, **settings: Any) -> None:
    cloud.subscriber().create_subscription(request={"name": name, "topic": JOBS, **settings})


def publish(cloud: Cloud, *texts: str, **attributes: str) -> None:
    messages = [PublishedMessage(text.encode(), attributes) for text in texts]
    cloud.call(lambda: cloud.pubsub.publish("jobs", messages))


def pull(cloud: Cloud, name: str = WORKERS) -> list[str]:
    """The payloads of what is there, all acknowledged."""
    request = {"subscription": name, "max_messages": 100, "return_immediately": True}
    received = cloud.subscriber().pull(request, timeout=PATIENCE_S).received_messages
    if received:
        cloud.subscriber().acknowledge(subscription=name, ack_ids=[each.ack_id for each in received])
    return [each.message.data.decode() for each in received]


def seek_back(cloud: Cloud, name: str = WORKERS, **ago: float) -> None:
    cloud.subscriber().seek(request={"subscription": name, "time": cloud.clock.now() - datetime.timedelta(**ago)})


def test_acknowledged_messages_that_were_retained_come_back_from_that_time_on(cloud: Cloud) -> None:
    with_topic(cloud)
    subscribe(cloud, retain_acked_messages=True)
    publish(cloud, "early")
    cloud.advance(minutes=10)
    publish(cloud, "late")
    assert pull(cloud) == ["early", "late"]

    seek_back(cloud, minutes=5)
    assert pull(cloud) == ["late"]
    seek_back(cloud, hours=1)
    assert pull(cloud) == ["early", "late"]


def test_without_retention_acknowledged_messages_are_gone(cloud: Cloud) -> None:
    with_topic(cloud)
    subscribe(cloud)
    publish(cloud, "a")
    assert pull(cloud) == ["a"]

    seek_back(cloud, hours=1)

    assert pull(cloud) == []


def test_a_seek_to_the_future_purges_what_may_come_back_with_another_seek(cloud: Cloud) -> None:
    with_topic(cloud)
    subscribe(cloud, retain_acked_messages=True)
    publish(cloud, "a")

    seek_back(cloud, hours=-1)
    assert pull(cloud) == []
    seek_back(cloud, hours=1)
    assert pull(cloud) == ["a"]


def test_acknowledged_messages_are_retained_for_the_retention_time_only(cloud: Cloud) -> None:
    with_topic(cloud)
    subscribe(cloud, retain_acked_messages=True, message_retention_duration=seconds(HOUR_S))
    publish(cloud, "old")
    pull(cloud)
    cloud.advance(minutes=50)
    publish(cloud, "new")
    pull(cloud)
    cloud.advance(minutes=20)

    seek_back(cloud, days=1)

    assert pull(cloud) == ["new"]


@pytest.mark.parametrize("holder", ["topic", "subscription"])
def test_the_store_lets_go_of_what_is_retained_no_longer(cloud: Cloud, holder: str) -> None:
    kept = {"message_retention_duration": seconds(600)}
    with_topic(cloud, **(kept if holder == "topic" else {}))
    subscribe(cloud, **({**kept, "retain_acked_messages": True} if holder == "subscription" else {}))
    for text in ("old", "recent", "young"):
        publish(cloud, text)
        pull(cloud)
        cloud.advance(minutes=6)

    assert cloud.call(lambda: cloud.context.store.count("pubsub.retained")) == 2


def test_what_was_retained_is_dropped_once_it_need_not_be(cloud: Cloud) -> None:
    subscriber = with_topic(cloud)
    subscribe(cloud, retain_acked_messages=True)
    publish(cloud, "a")
    pull(cloud)

    subscriber.update_subscription(
        subscription={"name": WORKERS, "retain_acked_messages": False},
        update_mask=field_mask_pb2.FieldMask(paths=["retain_acked_messages"]),
    )
    seek_back(cloud, hours=1)

    assert pull(cloud) == []
    assert not list(cloud.context.store.items("pubsub.retained"))


def test_a_subscription_made_anew_has_nothing_of_the_one_before(cloud: Cloud) -> None:
    subscriber = with_topic(cloud)
    subscribe(cloud, retain_acked_messages=True)
    publish(cloud, "acknowledged")
    pull(cloud)
    publish(cloud, "not yet")
    subscriber.delete_subscription(subscription=WORKERS)

    subscribe(cloud, retain_acked_messages=True)
    seek_back(cloud, hours=1)

    assert pull(cloud) == []


def test_a_topic_replays_what_it_keeps_to_a_subscription_made_later(cloud: Cloud) -> None:
    subscriber = with_topic(cloud, message_retention_duration=seconds(DAY_S))
    publish(cloud, "dropped", cluster="a100")
    cloud.advance(hours=1)
    publish(cloud, "kept", cluster="l4")
    publish(cloud, "filtered", cluster="a100")
    cloud.advance(hours=23, minutes=30)
    subscribe(cloud, message_retention_duration=seconds(600), filter='attributes.cluster = "l4"')
    assert pull(cloud) == []

    seek_back(cloud, days=2)

    assert pull(cloud) == ["kept"]
    assert subscriber.get_subscription(subscription=WORKERS).topic_message_retention_duration == datetime.timedelta(1)


def test_a_topic_replays_nothing_older_than_it_keeps(cloud: Cloud) -> None:
    with_topic(cloud, message_retention_duration=seconds(600))
    publish(cloud, "old")
    cloud.advance(minutes=10)
    subscribe(cloud)

    seek_back(cloud, hours=1)

    assert pull(cloud) == []


def test_what_a_topic_kept_goes_with_it(cloud: Cloud) -> None:
    with_topic(cloud, message_retention_duration=seconds(DAY_S))
    subscribe(cloud, message_retention_duration=seconds(600))
    publish(cloud, "a")
    cloud.publisher().delete_topic(topic=JOBS)
    cloud.advance(minutes=10)

    assert pull(cloud) == []
    found = cloud.subscriber().get_subscription(subscription=WORKERS)
    assert "topic_message_retention_duration" not in found


def test_a_topic_that_keeps_no_longer_forgets(cloud: Cloud) -> None:
    with_topic(cloud, message_retention_duration=seconds(DAY_S))
    subscribe(cloud)
    publish(cloud, "a")
    pull(cloud)

    mask = field_mask_pb2.FieldMask(paths=["message_retention_duration"])
    cloud.publisher().update_topic(topic={"name": JOBS}, update_mask=mask)
    seek_back(cloud, hours=1)

    assert pull(cloud) == []
    found = cloud.subscriber().get_subscription(subscription=WORKERS)
    assert not found.topic_message_retention_duration


def test_a_snapshot_brings_back_what_was_open_then_and_came_since_to_any_subscription(cloud: Cloud) -> None:
    subscriber = with_topic(cloud)
    subscribe(cloud)
    subscribe(cloud, OTHERS)
    publish(cloud, "done")
    pull(cloud)
    publish(cloud, "open")
    subscriber.create_snapshot(name=SNAPSHOT, subscription=WORKERS)
    publish(cloud, "since")
    assert pull(cloud) == ["open", "since"]

    for name in (WORKERS, OTHERS):
        subscriber.seek(request={"subscription": name, "snapshot": SNAPSHOT})
        assert pull(cloud, name) == ["open", "since"]
        assert pull(cloud, name) == []


def test_a_snapshot_brings_back_nothing_older_than_the_subscription_keeps(cloud: Cloud) -> None:
    subscriber = with_topic(cloud)
    subscribe(cloud, message_retention_duration=seconds(600))
    publish(cloud, "old")
    subscriber.create_snapshot(name=SNAPSHOT, subscription=WORKERS)
    cloud.advance(minutes=5)
    publish(cloud, "young")
    cloud.advance(minutes=5)

    def sought() -> int:
        cloud.pubsub.seek_to_snapshot(WORKERS, SNAPSHOT)
        return cloud.pubsub.backlog("workers")

    assert cloud.call(sought) == 1
    assert pull(cloud) == ["young"]


def test_a_seek_brings_back_nothing_older_than_the_subscription_keeps(cloud: Cloud) -> None:
    with_topic(cloud)
    subscribe(cloud, message_retention_duration=seconds(600), retain_acked_messages=True)
    publish(cloud, "old")
    pull(cloud)
    cloud.advance(minutes=10)

    def sought() -> int:
        cloud.pubsub.seek(WORKERS, 0.0)
        return cloud.pubsub.backlog("workers")

    assert cloud.call(sought) == 0


def test_a_seek_acknowledges_what_the_snapshot_does_not_hold(cloud: Cloud) -> None:
    subscriber = with_topic(cloud)
    subscribe(cloud)
    subscribe(cloud, OTHERS)
    publish(cloud, "a", "b")
    assert pull(cloud) == ["a", "b"]
    subscriber.create_snapshot(name=SNAPSHOT, subscription=WORKERS)

    subscriber.seek(request={"subscription": OTHERS, "snapshot": SNAPSHOT})

    assert pull(cloud, OTHERS) == []


def test_snapshots_are_created_found_listed_updated_and_deleted(cloud: Cloud) -> None:
    subscriber = with_topic(cloud)
    subscribe(cloud)
    created = subscriber.create_snapshot(request={"name": SNAPSHOT, "subscription": WORKERS, "labels": {"a": "b"}})
    chosen = subscriber.create_snapshot(subscription=WORKERS)

    assert created.expire_time.timestamp() == cloud.clock.time() + 7 * DAY_S
    assert (created.topic, created.labels) == (JOBS, {"a": "b"})
    assert [each.name for each in subscriber.list_snapshots(project=f"projects/{PROJECT}")] == [SNAPSHOT, chosen.name]
    assert list(cloud.publisher().list_topic_snapshots(topic=JOBS)) == [SNAPSHOT, chosen.name]
    with pytest.raises(exceptions.AlreadyExists):
        subscriber.create_snapshot(name=SNAPSHOT, subscription=WORKERS)
    mask = field_mask_pb2.FieldMask(paths=["labels"])
    subscriber.update_snapshot(request={"snapshot": {"name": SNAPSHOT, "labels": {"c": "d"}}, "update_mask": mask})
    assert subscriber.get_snapshot(snapshot=SNAPSHOT).labels == {"c": "d"}
    subscriber.delete_snapshot(snapshot=SNAPSHOT)
    with pytest.raises(exceptions.NotFound, match="before"):
        subscriber.seek(request={"subscription": WORKERS, "snapshot": SNAPSHOT})


def test_a_snapshot_lives_seven_days_less_the_age_of_its_oldest_message(cloud: Cloud) -> None:
    subscriber = with_topic(cloud)
    subscribe(cloud)
    publish(cloud, "old")
    cloud.advance(hours=5 * 24)
    snapshot = subscriber.create_snapshot(name=SNAPSHOT, subscription=WORKERS)
    assert snapshot.expire_time.timestamp() == pytest.approx(cloud.clock.time() + 2 * DAY_S, abs=1e-3)

    cloud.advance(hours=47)
    cloud.advance(seconds=1)
    with pytest.raises(exceptions.FailedPrecondition, match="expire in 3599 s"):
        subscriber.create_snapshot(name=f"{SNAPSHOT}-2", subscription=WORKERS)
    assert subscriber.get_snapshot(snapshot=SNAPSHOT)
    cloud.advance(hours=1)

    with pytest.raises(exceptions.NotFound):
        subscriber.get_snapshot(snapshot=SNAPSHOT)
    assert not list(cloud.context.store.items("pubsub.retained"))


def test_a_snapshot_of_another_topic_is_refused(cloud: Cloud) -> None:
    subscriber = with_topic(cloud)
    subscribe(cloud)
    subscriber.create_snapshot(name=SNAPSHOT, subscription=WORKERS)
    cloud.publisher().create_topic(name=topic_path("elsewhere"))
    subscriber.create_subscription(name=OTHERS, topic=topic_path("elsewhere"))

    with pytest.raises(exceptions.InvalidArgument, match="elsewhere"):
        subscriber.seek(request={"subscription": OTHERS, "snapshot": SNAPSHOT})


def test_a_seek_has_a_target_and_a_subscription_that_is_attached(cloud: Cloud) -> None:
    subscriber = with_topic(cloud)
    subscribe(cloud)
    with pytest.raises(exceptions.InvalidArgument, match="target"):
        subscriber.seek(request={"subscription": WORKERS})
    cloud.publisher().detach_subscription(request={"subscription": WORKERS})

    with pytest.raises(exceptions.FailedPrecondition, match="detached"):
        seek_back(cloud, hours=1)


def test_what_is_out_when_a_seek_comes_is_delivered_again_and_its_ack_ids_are_void(cloud: Cloud) -> None:
    subscriber = with_topic(cloud)
    subscribe(cloud)
    publish(cloud, "a")
    request = {"subscription": WORKERS, "max_messages": 1, "return_immediately": True}
    [stale] = subscriber.pull(request).received_messages

    seek_back(cloud, hours=1)
    subscriber.acknowledge(subscription=WORKERS, ack_ids=[stale.ack_id])

    assert pull(cloud) == ["a"]
