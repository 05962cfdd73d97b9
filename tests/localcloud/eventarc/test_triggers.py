"""An event reaches the service of every matching trigger, as a CloudEvent, until it is answered or dead-lettered."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import functions_framework
import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.serving import make_server

from localcloud.eventarc import events
from localcloud.eventarc.errors import InvalidTrigger
from localcloud.eventarc.state import Trigger
from localcloud.faults import Fault
from localcloud.pubsub.errors import NotFound
from localcloud.pubsub.resources import PublishedMessage
from tests.localcloud.pubsub.pubsub_cloud import PATIENCE_S, Cloud, Receiver, subscription_path

FINALIZED = "google.cloud.storage.object.v1.finalized"
DELETED = "google.cloud.storage.object.v1.deleted"
ON_UPLOAD = Trigger("on-upload", FINALIZED, {"bucket": "inputs"}, "ingest", max_attempts=5)


def an_object(name: str = "reviews.jsonl", bucket: str = "inputs") -> dict[str, object]:
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "generation": "1700000000000001",
        "metageneration": "1",
        "size": "12",
        "contentType": "application/json",
    }


def with_trigger(cloud: Cloud, trigger: Trigger = ON_UPLOAD) -> None:
    cloud.call(lambda: cloud.eventarc.create_trigger(trigger))


def upload(cloud: Cloud, resource: dict[str, object], event_type: str = FINALIZED) -> None:
    cloud.call(lambda: cloud.eventarc.storage_event(event_type, resource))


def backlog(cloud: Cloud, name: str) -> int:
    return cloud.call(lambda: cloud.pubsub.backlog(name))


def wait_for_delays(cloud: Cloud, trigger: str = "on-upload") -> None:
    name = subscription_path(f"eventarc-{cloud.context.location}-{trigger}-sub")
    queue = cloud.call(lambda: cloud.pubsub.subscription(name).queue)
    cloud.wait_until(lambda: all(entry.state.value == "delayed" for entry in queue.entries()))


def test_an_upload_is_posted_as_a_binary_cloud_event_with_a_token_for_the_service(
    cloud: Cloud, receiver: Receiver
) -> None:
    with_trigger(cloud)
    upload(cloud, an_object())

    [request] = receiver.wait_for(1)

    assert request.path == "/run/ingest/"
    assert request.json == an_object()
    event = {name: value for name, value in request.headers.items() if name.startswith("ce-")}
    assert event.pop("ce-id").isdecimal()
    assert event == {
        "ce-specversion": "1.0",
        "ce-type": FINALIZED,
        "ce-source": "//storage.googleapis.com/projects/_/buckets/inputs",
        "ce-subject": "objects/reviews.jsonl",
        "ce-bucket": "inputs",
        "ce-time": "2027-01-15T08:00:00Z",
    }
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    caller = cloud.context.identity.verify(request.headers["authorization"], cloud.context.service_url("ingest"))
    assert caller == "eventarc@demo-project.iam.gserviceaccount.com"
    cloud.wait_until(cloud.pubsub.is_idle)


def test_a_message_is_posted_as_a_binary_cloud_event(cloud: Cloud, receiver: Receiver) -> None:
    cloud.call(lambda: cloud.pubsub.create_topic("jobs-start"))
    with_trigger(cloud, Trigger("on-job-start", events.MESSAGE_PUBLISHED, {"topic": "jobs-start"}, "start", "/jobs"))
    message = PublishedMessage(b"{}", {"job_id": "j1"}, "k")
    [message_id] = cloud.call(lambda: cloud.pubsub.publish("jobs-start", [message]))

    [request] = receiver.wait_for(1)

    assert request.path == "/run/start/jobs"
    assert request.headers["ce-id"] == message_id
    assert request.headers["ce-type"] == "google.cloud.pubsub.topic.v1.messagePublished"
    assert request.headers["ce-source"] == "//pubsub.googleapis.com/projects/demo-project/topics/jobs-start"
    assert request.json == {
        "subscription": "projects/demo-project/subscriptions/eventarc-europe-west4-on-job-start-sub",
        "message": {
            "attributes": {"job_id": "j1"},
            "data": "e30=",
            "messageId": message_id,
            "message_id": message_id,
            "orderingKey": "k",
            "publishTime": "2027-01-15T08:00:00Z",
            "publish_time": "2027-01-15T08:00:00Z",
        },
    }


def test_only_events_of_the_trigger_s_bucket_and_type_are_delivered(cloud: Cloud, receiver: Receiver) -> None:
    with_trigger(cloud)
    with_trigger(cloud, Trigger("on-delete", DELETED, {"bucket": "inputs"}, "sweep"))
    upload(cloud, an_object(bucket="outputs"))
    upload(cloud, an_object("gone"), DELETED)

    [request] = receiver.wait_for(1)

    cloud.wait_until(cloud.pubsub.is_idle)
    assert [each.path for each in receiver.requests] == ["/run/sweep/"]
    assert request.json["name"] == "gone"


def test_a_failed_event_is_retried_with_backoff_and_ends_in_the_dead_letter_subscription(
    cloud: Cloud, receiver: Receiver
) -> None:
    with_trigger(cloud)
    receiver.answers = [500] * 5
    upload(cloud, an_object())
    waits = []
    for number in range(1, 5):
        receiver.wait_for(number)
        wait_for_delays(cloud)
        queue = cloud.call(
            lambda: cloud.pubsub.subscription(subscription_path("eventarc-europe-west4-on-upload-sub")).queue
        )
        waits.append(round(cloud.call(queue.next_due) - cloud.clock.time()))
        cloud.advance(seconds=waits[-1])

    cloud.wait_until(lambda: cloud.pubsub.backlog("on-upload-dead-letter") == 1)
    assert waits == [10, 20, 40, 80]
    assert len(receiver.requests) == 5
    assert len({each.headers["ce-id"] for each in receiver.requests}) == 1
    assert cloud.call(cloud.pubsub.is_idle)


def test_faults_duplicate_drop_and_delay_events_of_one_trigger(cloud: Cloud, receiver: Receiver) -> None:
    with_trigger(cloud)
    point = "eventarc.events.deliver"
    cloud.context.faults.add(Fault(point, "on-upload", action="duplicate"))
    cloud.context.faults.add(Fault(point, "on-upload", action="delay", delay_s=30))
    cloud.context.faults.add(Fault(point, "on-upload", action="drop"))
    for name in ("twice", "late", "lost", "plain"):
        upload(cloud, an_object(name))

    receiver.wait_for(3)
    assert sorted(each.json["name"] for each in receiver.requests) == ["plain", "twice", "twice"]
    cloud.advance(seconds=30)
    assert receiver.wait_for(4)[3].json["name"] == "late"
    cloud.advance(seconds=570)
    wait_for_delays(cloud)
    cloud.advance(seconds=10)
    assert receiver.wait_for(5)[4].json["name"] == "lost"


def test_an_event_is_part_of_the_transaction_that_caused_it(cloud: Cloud, receiver: Receiver) -> None:
    with_trigger(cloud)

    def fail() -> None:
        with cloud.context.store.transaction():
            cloud.eventarc.storage_event(FINALIZED, an_object("rolled-back"))
            raise RuntimeError("the object could not be written")

    with pytest.raises(RuntimeError):
        cloud.call(fail)
    upload(cloud, an_object("written"))
    cloud.wait_until(cloud.pubsub.is_idle)

    assert [each.json["name"] for each in receiver.requests] == ["written"]


def test_events_that_were_not_delivered_survive_a_restart_and_a_move_of_the_services(
    tmp_path: Path, receiver: Receiver
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    cloud = Cloud(tmp_path, service_base=f"http://127.0.0.1:{port}")
    with_trigger(cloud)
    upload(cloud, an_object())
    wait_for_delays(cloud)
    cloud.close()

    again = Cloud(tmp_path, service_base=receiver.url)
    try:
        [request] = receiver.wait_for(1)
        again.wait_until(again.pubsub.is_idle)
    finally:
        again.close()

    assert request.headers["ce-subject"] == "objects/reviews.jsonl"


HOSTILE = [
    "über straße.txt",
    'a"b%20c',
    "x\r\nce-type: evil\r\n\r\n",
    "../../etc/passwd",
    "\u202egpj.exe",
    "a" * 1024,
    "💥",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_any_object_name_travels_unharmed(cloud: Cloud, receiver: Receiver, name: str) -> None:
    with_trigger(cloud)
    upload(cloud, an_object(name))

    [request] = receiver.wait_for(1)

    assert request.json["name"] == name
    assert unquote(request.headers["ce-subject"]) == f"objects/{name}"
    assert request.headers["ce-type"] == FINALIZED


@given(st.text())
def test_header_values_are_visible_ascii_and_decode_to_the_text(text: str) -> None:
    encoded = events.header_value(text)

    assert all(0x21 <= ord(character) <= 0x7E for character in encoded)
    assert unquote(encoded) == text


@pytest.mark.parametrize(
    ("trigger", "message"),
    [
        (Trigger("Bad_Name", FINALIZED, {"bucket": "b"}, "s"), "name is"),
        (Trigger("t", "google.cloud.audit.log.v1.written", {"bucket": "b"}, "s"), "event_type is"),
        (Trigger("t", FINALIZED, {}, "s"), "takes bucket and no other"),
        (Trigger("t", FINALIZED, {"bucket": "b", "prefix": "x"}, "s"), "takes bucket and no other"),
        (Trigger("t", events.MESSAGE_PUBLISHED, {"bucket": "b"}, "s"), "takes topic and no other"),
        (Trigger("t", FINALIZED, {"bucket": "b"}), "service is '' and workflow is ''"),
        (Trigger("t", FINALIZED, {"bucket": "b"}, "s", workflow="w"), "service is 's' and workflow is 'w'"),
        (Trigger("t", FINALIZED, {"bucket": "b"}, "s", path="x"), "path is"),
        (Trigger("t", FINALIZED, {"bucket": "b"}, "s", max_attempts=4), "max_attempts is 4"),
        (Trigger("t", FINALIZED, {"bucket": "b"}, "s", backoff_s=(10.0, 601.0)), "backoff_s is"),
        (Trigger("t", FINALIZED, {"bucket": "b"}, "s", backoff_s=(20.0, 10.0)), "backoff_s is"),
    ],
    ids=[
        *["name", "type", "no-filter", "more-filters", "wrong-filter", "service", "both", "path", "attempts"],
        *["long-backoff", "falling-backoff"],
    ],
)
def test_a_trigger_that_cannot_work_is_refused(cloud: Cloud, trigger: Trigger, message: str) -> None:
    with pytest.raises(InvalidTrigger, match=message):
        with_trigger(cloud, trigger)
    assert cloud.call(cloud.eventarc.triggers) == []


def test_a_trigger_that_takes_other_events_sends_them_as_what_they_are(cloud: Cloud, receiver: Receiver) -> None:
    with_trigger(cloud)
    with_trigger(cloud, replace(ON_UPLOAD, event_type=DELETED))
    upload(cloud, an_object("gone"), DELETED)

    [request] = receiver.wait_for(1)

    assert request.headers["ce-type"] == DELETED


def test_a_trigger_on_a_topic_that_is_not_there_leaves_nothing_behind(cloud: Cloud) -> None:
    with pytest.raises(NotFound, match="absent"):
        with_trigger(cloud, Trigger("t", events.MESSAGE_PUBLISHED, {"topic": "absent"}, "s"))

    assert cloud.call(cloud.eventarc.triggers) == []
    assert list(cloud.context.store.items("eventarc.trigger-records")) == []


def test_a_deleted_trigger_delivers_nothing_and_keeps_its_dead_letters(cloud: Cloud, receiver: Receiver) -> None:
    with_trigger(cloud)
    cloud.call(lambda: cloud.eventarc.delete_trigger("on-upload"))
    upload(cloud, an_object())

    cloud.wait_until(cloud.pubsub.is_idle)
    assert receiver.requests == []
    assert backlog(cloud, "on-upload-dead-letter") == 0
    assert cloud.call(cloud.eventarc.triggers) == []


def test_a_trigger_without_a_topic_gets_one_that_goes_with_it(cloud: Cloud, receiver: Receiver) -> None:
    trigger = Trigger("on-note", events.MESSAGE_PUBLISHED, {}, "notes")
    with_trigger(cloud, trigger)
    topic = cloud.call(lambda: cloud.eventarc.topic(trigger))
    cloud.call(lambda: cloud.pubsub.publish(topic, [PublishedMessage(b"note")]))
    [request] = receiver.wait_for(1)
    assert request.headers["ce-source"].endswith("/topics/eventarc-europe-west4-on-note")

    cloud.wait_until(cloud.pubsub.is_idle)
    cloud.call(lambda: cloud.eventarc.delete_trigger("on-note"))
    with pytest.raises(NotFound):
        cloud.call(lambda: cloud.pubsub.publish(topic, [PublishedMessage(b"note")]))


def test_an_event_that_nobody_takes_is_dropped_after_a_day(cloud: Cloud, receiver: Receiver) -> None:
    with_trigger(cloud, replace(ON_UPLOAD, max_attempts=100, backoff_s=(600.0, 600.0)))
    receiver.answers = [500] * 1000
    upload(cloud, an_object())
    receiver.wait_for(1)
    wait_for_delays(cloud)

    cloud.advance(hours=23)
    receiver.wait_for(2)
    wait_for_delays(cloud)
    cloud.advance(hours=1)

    cloud.wait_until(cloud.pubsub.is_idle)
    assert backlog(cloud, "on-upload-dead-letter") == 0


FUNCTION = """
import functions_framework

@functions_framework.cloud_event
def on_upload(event):
    with open({log!r}, "a") as log:
        print(event["type"], event["source"], event["subject"], event.data["name"], event.data["generation"], file=log)
"""


@pytest.fixture
def function_url(tmp_path: Path) -> Iterator[str]:
    """A function under functions-framework; it writes what it is called with to `calls`."""
    source = tmp_path / "main.py"
    source.write_text(FUNCTION.format(log=str(tmp_path / "calls")))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, functions_framework.create_app("on_upload", str(source)), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join(PATIENCE_S)
    server.server_close()


def test_a_function_under_functions_framework_is_called_with_the_event(function_url: str, tmp_path: Path) -> None:
    cloud = Cloud(service_base=function_url)
    try:
        with_trigger(cloud)
        upload(cloud, an_object("a ü.txt"))
        cloud.wait_until(cloud.pubsub.is_idle)
    finally:
        cloud.close()

    source = "//storage.googleapis.com/projects/_/buckets/inputs"
    called = (tmp_path / "calls").read_text()
    # cloudevents 1.12 does not decode header values: the name is to be read from the data.
    assert called == f"{FINALIZED} {source} objects/a%20%C3%BC.txt a ü.txt 1700000000000001\n"
