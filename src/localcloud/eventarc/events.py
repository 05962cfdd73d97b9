"""What does a CloudEvent from Eventarc look like on the wire?

Binary mode of the HTTP binding: the context attributes are `ce-*` headers, the body is the event's data.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
https://cloud.google.com/eventarc/docs/cloudevents
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.pubsub.push import PushRequest, message_json

MESSAGE_PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
# CloudEvents type -> eventType of the Cloud Storage notification that it comes from, and back.
STORAGE_TYPES = {
    "google.cloud.storage.object.v1.finalized": "OBJECT_FINALIZE",
    "google.cloud.storage.object.v1.deleted": "OBJECT_DELETE",
    "google.cloud.storage.object.v1.archived": "OBJECT_ARCHIVE",
    "google.cloud.storage.object.v1.metadataUpdated": "OBJECT_METADATA_UPDATE",
}
_TYPE_OF_NOTIFICATION = {notification: event_type for event_type, notification in STORAGE_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Event:
    """Context attributes by name, and the data as JSON."""

    attributes: Mapping[str, str]
    data: bytes


def of_storage(message: Any) -> Event:
    """The event of a storage notification; its data is the object's resource."""
    bucket = message.attributes["bucketId"]
    return _event(
        message,
        message.data,
        type=_TYPE_OF_NOTIFICATION[message.attributes["eventType"]],
        source=f"//storage.googleapis.com/projects/_/buckets/{bucket}",
        subject=f"objects/{message.attributes['objectId']}",
        bucket=bucket,
    )


def of_topic(subscription: str, message: Any, topic: str) -> Event:
    """The event of a message of `topic`, names in full; its data is what a push subscription would carry."""
    data = {"subscription": subscription, "message": message_json(message)}
    return _event(message, json.dumps(data).encode(), type=MESSAGE_PUBLISHED, source=f"//pubsub.googleapis.com/{topic}")


def _event(message: Any, data: bytes, **attributes: str) -> Event:
    time = message.publish_time.ToJsonString()
    return Event({"id": message.message_id, "specversion": "1.0", "time": time, **attributes}, data)


def http_request(url: str, event: Event) -> PushRequest:
    """The event in binary mode."""
    headers = {f"ce-{name}": header_value(value) for name, value in event.attributes.items()}
    headers["Content-Type"] = "application/json; charset=utf-8"
    headers["User-Agent"] = "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)"
    return PushRequest(url, headers, event.data)


def workflow_request(url: str, event: Event) -> PushRequest:
    """An execution whose argument is the event: https://cloud.google.com/eventarc/docs/workflows/cloudevents"""
    argument = {**event.attributes, "datacontenttype": "application/json", "data": json.loads(event.data)}
    body = json.dumps({"argument": json.dumps(argument, ensure_ascii=False)}).encode()
    return PushRequest(url, {"Content-Type": "application/json"}, body)


def header_value(text: str) -> str:
    """Percent-encoded as the HTTP binding wants it (3.1.3.2): space, `"`, `%` and all but printable ASCII."""
    return "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte not in b'"%' else f"%{byte:02X}" for byte in text.encode()
    )
