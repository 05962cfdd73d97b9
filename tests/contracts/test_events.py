from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cloudevents.http import CloudEvent

from zeroidle.contracts.events import message, uploaded
from zeroidle.contracts.services import ObjectRef
from zeroidle.errors import InvalidMessage

# As Cloud Storage sends it: https://github.com/googleapis/google-cloudevents (testdata)
OBJECT: dict[str, Any] = {
    "kind": "storage#object",
    "id": "input/in.txt/1600",
    "bucket": "input",
    "name": "folder/in.txt",
    "generation": "1600",
    "metageneration": "1",
    "size": "352",
    "contentType": "text/plain",
    "timeCreated": "2027-01-15T08:00:00.500Z",
    "updated": "2027-01-15T08:00:00.500Z",
    "storageClass": "STANDARD",
    "crc32c": "rTVTeQ==",
    "metadata": {"zeroidle-user": "me"},
}
DELIVERY: dict[str, Any] = {
    "subscription": "projects/p/subscriptions/s",
    "message": {
        "attributes": {"job_id": "job-1"},
        "data": base64.b64encode(b'{"a": 1}').decode(),
        "messageId": "77",
        "message_id": "77",
        "publishTime": "2027-01-15T08:00:00.5Z",
        "publish_time": "2027-01-15T08:00:00.5Z",
    },
}


def event(data: Any) -> CloudEvent:
    # The bucket extension names another bucket on purpose: only the data counts.
    return CloudEvent({"type": "t", "source": "//s", "bucket": "wrong", "subject": "objects/wrong"}, data)


@pytest.mark.parametrize(
    "form", [lambda d: d, json.dumps, lambda d: json.dumps(d).encode()], ids=["dict", "text", "bytes"]
)
def test_an_upload_is_read_from_the_data(form: Any) -> None:
    upload = uploaded(event(form(OBJECT)))

    assert upload.ref == ObjectRef(bucket="input", name="folder/in.txt", generation="1600")
    assert (upload.size, upload.content_type, upload.metadata) == (352, "text/plain", {"zeroidle-user": "me"})
    assert upload.created == 1_800_000_000.5


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"bucket": None}, "field bucket"),
        ({"name": ""}, "field name"),
        ({"name": "a\udcff"}, "field name"),
        ({"generation": "x"}, "field generation"),
        ({"generation": "0"}, "field generation"),
        ({"timeCreated": "yesterday"}, "field timeCreated"),
        ({"metadata": {"a": 1}}, "field metadata"),
    ],
    ids=str,
)
def test_a_malformed_upload_names_the_field(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidMessage, match=complaint):
        uploaded(event({**OBJECT, **change}))


@pytest.mark.parametrize("missing", ["bucket", "name", "generation", "timeCreated"])
def test_an_upload_without_a_field_names_it(missing: str) -> None:
    with pytest.raises(InvalidMessage, match=missing):
        uploaded(event({name: value for name, value in OBJECT.items() if name != missing}))


def test_a_message_is_unpacked() -> None:
    found = message(event(DELIVERY))

    assert (found.data, found.attributes) == (b'{"a": 1}', {"job_id": "job-1"})
    assert (found.message_id, found.publish_time) == ("77", 1_800_000_000.5)


def test_a_message_may_be_empty() -> None:
    found = message(event({"message": {"messageId": "1", "publishTime": "2027-01-15T08:00:00Z"}}))

    assert (found.data, found.attributes) == (b"", {})


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({}, "message"),
        ({"message": {}}, "messageId"),
        ({"message": {**DELIVERY["message"], "data": "*"}}, "field message.data"),
        ({"message": {**DELIVERY["message"], "attributes": {"a": 1}}}, "field message.attributes"),
        (b"{", "not JSON"),
        (b"[1]", "event data"),
        (None, "Pub/Sub event"),
        (7, "Pub/Sub event"),
    ],
    ids=str,
)
def test_a_malformed_delivery_names_the_field(data: Any, complaint: str) -> None:
    with pytest.raises(InvalidMessage, match=complaint):
        message(event(data))
