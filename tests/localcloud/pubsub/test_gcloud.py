"""gcloud pubsub works against the local cloud as it is. Each call takes a second or two, so a test makes few."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from localcloud.cloud import CloudConfig, LocalCloud, running
from tests.localcloud.gcloud import gcloud, thorough

pytestmark = [pytest.mark.slow, thorough]


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with running(CloudConfig()) as cloud:
        yield cloud


def pubsub(cloud: LocalCloud, *arguments: object) -> Any:
    return json.loads(gcloud(cloud, "pubsub", *arguments, "--format=json").stdout or "null")


def test_messages_are_published_pulled_acknowledged_and_replayed(cloud: LocalCloud) -> None:
    pubsub(cloud, "topics", "create", "jobs", "--message-retention-duration=1d")
    options = ("--topic=jobs", "--enable-message-ordering", "--ack-deadline=60", "--labels=team=a")
    pubsub(cloud, "subscriptions", "create", "workers", *options)
    sent = ("--message=hello", "--attribute=cluster=l4", "--ordering-key=k")
    [message_id] = pubsub(cloud, "topics", "publish", "jobs", *sent)["messageIds"]

    [received] = pubsub(cloud, "subscriptions", "pull", "workers", "--auto-ack")
    pubsub(cloud, "subscriptions", "seek", "workers", "--time=-P1D")
    [again] = pubsub(cloud, "subscriptions", "pull", "workers")

    for each in (received["message"], again["message"]):
        assert (each["messageId"], each["attributes"], each["orderingKey"]) == (message_id, {"cluster": "l4"}, "k")
        assert base64.b64decode(each["data"]) == b"hello"
    found = pubsub(cloud, "subscriptions", "describe", "workers")
    assert (found["ackDeadlineSeconds"], found["labels"], found["state"]) == (60, {"team": "a"}, "ACTIVE")
    assert pubsub(cloud, "subscriptions", "list") == [found]


def test_a_topic_with_a_schema_refuses_what_does_not_fit(cloud: LocalCloud) -> None:
    definition = '{"type": "record", "name": "State", "fields": [{"name": "name", "type": "string"}]}'
    pubsub(cloud, "schemas", "create", "states", "--type=avro", f"--definition={definition}")
    pubsub(cloud, "topics", "create", "checked", "--schema=states", "--message-encoding=json")

    refused = gcloud(cloud, "pubsub", "topics", "publish", "checked", "--message=Iowa", expect=1)

    assert "failed schema validation" in refused.stderr
