"""Triggers are made, read, changed and deleted with Eventarc's own client."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import eventarc_v1
from google.cloud.eventarc_v1 import types

from localcloud.eventarc.state import Trigger
from localcloud.pubsub.resources import PublishedMessage
from tests.localcloud.pubsub.pubsub_cloud import LOCATION, PROJECT, Cloud, Receiver, topic_path

PARENT = f"projects/{PROJECT}/locations/{LOCATION}"
NAME = f"{PARENT}/triggers/on-job"
MESSAGE = "google.cloud.pubsub.topic.v1.messagePublished"
FINALIZED = "google.cloud.storage.object.v1.finalized"


@pytest.fixture
def client(cloud: Cloud) -> eventarc_v1.EventarcClient:
    cloud.serve_http()
    cloud.call(lambda: cloud.pubsub.create_topic("jobs"))
    options = {"api_endpoint": cloud.http_url}
    return eventarc_v1.EventarcClient(credentials=AnonymousCredentials(), transport="rest", client_options=options)


def a_trigger(**settings: Any) -> types.Trigger:
    """On messages of the topic `jobs`."""
    described = {
        "event_filters": [{"attribute": "type", "value": MESSAGE}],
        "transport": {"pubsub": {"topic": topic_path("jobs")}},
        "destination": {"cloud_run": {"service": "work", "path": "/jobs", "region": LOCATION}},
        "service_account": "caller@example.com",
        "labels": {"team": "blue"},
        **settings,
    }
    return types.Trigger(described)


def create(client: eventarc_v1.EventarcClient, trigger: types.Trigger | None = None, name: str = "on-job") -> Any:
    request = {"parent": PARENT, "trigger": trigger or a_trigger(), "trigger_id": name}
    return client.create_trigger(request=request).result(timeout=10)


def test_a_trigger_that_is_made_is_the_one_that_is_read(client: eventarc_v1.EventarcClient) -> None:
    made = create(client)

    assert client.get_trigger(name=NAME) == made
    assert made.name == NAME
    assert made.destination == a_trigger().destination
    assert made.transport.pubsub.topic == topic_path("jobs")
    assert made.transport.pubsub.subscription == f"projects/{PROJECT}/subscriptions/eventarc-{LOCATION}-on-job-sub"
    assert (made.service_account, dict(made.labels)) == ("caller@example.com", {"team": "blue"})
    assert made.create_time == made.update_time == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert made.uid
    assert made.etag


def test_a_trigger_made_over_the_api_delivers(
    cloud: Cloud, client: eventarc_v1.EventarcClient, receiver: Receiver
) -> None:
    create(client)
    cloud.call(lambda: cloud.pubsub.publish("jobs", [PublishedMessage(b"x")]))

    [request] = receiver.wait_for(1)

    assert request.path == "/run/work/jobs"
    token = request.headers["authorization"]
    assert cloud.context.identity.verify(token, cloud.context.service_url("work")) == "caller@example.com"


def test_a_trigger_of_a_bucket_shows_it_in_its_filters(client: eventarc_v1.EventarcClient) -> None:
    filters = [{"attribute": "type", "value": FINALIZED}, {"attribute": "bucket", "value": "inputs"}]
    made = create(client, a_trigger(event_filters=filters, transport={}))

    assert {each.attribute: each.value for each in made.event_filters} == {"type": FINALIZED, "bucket": "inputs"}
    assert made.transport.pubsub.topic == topic_path(f"eventarc-{LOCATION}-on-job")


def test_the_fields_of_a_mask_are_changed_and_no_others(
    cloud: Cloud, client: eventarc_v1.EventarcClient, receiver: Receiver
) -> None:
    made = create(client)
    cloud.advance(minutes=1)
    moved = {"cloud_run": {"service": "elsewhere", "region": LOCATION}}
    wanted = types.Trigger(name=NAME, labels={"team": "red"}, destination=moved)

    client.update_trigger(trigger=wanted, update_mask={"paths": ["destination"]}).result(timeout=10)
    changed = client.get_trigger(name=NAME)
    cloud.call(lambda: cloud.pubsub.publish("jobs", [PublishedMessage(b"x")]))

    assert dict(changed.labels) == {"team": "blue"}
    assert changed.destination.cloud_run.service == "elsewhere"
    assert (changed.uid, changed.create_time) == (made.uid, made.create_time)
    assert changed.update_time > made.update_time
    assert changed.etag != made.etag
    assert receiver.wait_for(1)[0].path == "/run/elsewhere/"


def test_a_change_leaves_what_only_a_deployment_says(cloud: Cloud, client: eventarc_v1.EventarcClient) -> None:
    deployed = Trigger("on-job", MESSAGE, {"topic": "jobs"}, "work", max_attempts=7, backoff_s=(2.0, 30.0))
    cloud.call(lambda: cloud.eventarc.create_trigger(deployed))

    wanted = types.Trigger(name=NAME, labels={"team": "red"})
    client.update_trigger(trigger=wanted, update_mask={"paths": ["labels"]}).result(timeout=10)

    found = cloud.call(lambda: cloud.eventarc.trigger("on-job"))
    assert (found.max_attempts, found.backoff_s, found.labels) == (7, (2.0, 30.0), {"team": "red"})


def test_triggers_are_listed_in_pages(client: eventarc_v1.EventarcClient) -> None:
    for number in range(3):
        create(client, name=f"trigger-{number}")

    pages = list(client.list_triggers(request={"parent": PARENT, "page_size": 2}).pages)

    names = [[trigger.name.rpartition("/")[2] for trigger in page.triggers] for page in pages]
    assert names == [["trigger-0", "trigger-1"], ["trigger-2"]]


def test_a_deleted_trigger_is_gone_and_answered_once_more(client: eventarc_v1.EventarcClient) -> None:
    made = create(client)

    deleted = client.delete_trigger(name=NAME).result(timeout=10)

    assert deleted == made
    with pytest.raises(exceptions.NotFound):
        client.get_trigger(name=NAME)
    client.delete_trigger(request={"name": NAME, "allow_missing": True}).result(timeout=10)


def test_a_delete_with_another_etag_changes_nothing(client: eventarc_v1.EventarcClient) -> None:
    made = create(client)
    with pytest.raises(exceptions.Conflict, match="etag"):
        client.delete_trigger(request={"name": NAME, "etag": '"another"'})

    client.delete_trigger(request={"name": NAME, "etag": made.etag}).result(timeout=10)


def test_a_call_that_only_validates_has_no_effect(client: eventarc_v1.EventarcClient) -> None:
    request = {"parent": PARENT, "trigger": a_trigger(), "trigger_id": "on-job", "validate_only": True}
    client.create_trigger(request=request).result(timeout=10)

    assert list(client.list_triggers(parent=PARENT)) == []


def test_a_second_trigger_of_a_name_is_refused(client: eventarc_v1.EventarcClient) -> None:
    create(client)
    with pytest.raises(exceptions.Conflict, match="exists"):
        create(client)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no-type": ({"event_filters": []}, "event_type is ''"),
    "pattern": (
        {
            "event_filters": [
                {"attribute": "type", "value": FINALIZED},
                {"attribute": "bucket", "value": "in*", "operator": "match-path-pattern"},
            ]
        },
        "operator is 'match-path-pattern'",
    ),
    "twice": ({"event_filters": [{"attribute": "type", "value": MESSAGE}] * 2}, "has 'type' twice"),
    "no-destination": ({"destination": {}}, "expected either cloud_run or workflow"),
    "function": ({"destination": {"cloud_function": "f"}}, "expected either cloud_run or workflow"),
    "region": ({"destination": {"cloud_run": {"service": "s", "region": "mars-north1"}}}, "region is 'mars-north1'"),
    "workflow": ({"destination": {"workflow": "w"}}, "workflow is 'w'; expected projects/"),
    "channel": ({"channel": "c"}, "not emulated"),
    "protobuf": ({"event_data_content_type": "application/protobuf"}, "expected application/json"),
    "no-topic": ({"transport": {"pubsub": {"topic": topic_path("absent")}}}, "absent"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_the_field(client: eventarc_v1.EventarcClient, case: str) -> None:
    settings, message = REFUSED[case]
    with pytest.raises((exceptions.BadRequest, exceptions.NotFound), match=message):
        create(client, a_trigger(**settings))

    assert list(client.list_triggers(parent=PARENT)) == []
