"""What does a CloudEvent from Eventarc look like on the wire?

Binary mode of the HTTP binding: the context attributes are `ce-*` headers, the body is the event's data.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
https://cloud.google.com/eventarc/docs/cloudevents
"""

from __future__ import annotations

import json
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


def storage_request(subscription: Any, message: Any) -> PushRequest:
    """A storage notification as a CloudEvent; the body is the object's resource."""
    bucket = message.attributes["bucketId"]
    return _request(
        subscription,
        message,
        message.data,
        {
            "type": _TYPE_OF_NOTIFICATION[message.attributes["eventType"]],
            "source": f"//storage.googleapis.com/projects/_/buckets/{bucket}",
            "subject": f"objects/{message.attributes['objectId']}",
            "bucket": bucket,
        },
    )


def pubsub_request(subscription: Any, message: Any, topic: str) -> PushRequest:
    """A message of `topic` (full name) as a CloudEvent; the body is what a push subscription would carry."""
    body = {"subscription": subscription.name, "message": message_json(message)}
    return _request(
        subscription,
        message,
        json.dumps(body).encode(),
        {"type": MESSAGE_PUBLISHED, "source": f"//pubsub.googleapis.com/{topic}"},
    )


def _request(subscription: Any, message: Any, body: bytes, attributes: dict[str, str]) -> PushRequest:
    context = {
        "id": message.message_id,
        "specversion": "1.0",
        "time": message.publish_time.ToJsonString(),
        **attributes,
    }
    headers = {f"ce-{name}": header_value(value) for name, value in context.items()}
    headers["Content-Type"] = "application/json; charset=utf-8"
    headers["User-Agent"] = "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)"
    return PushRequest(subscription.push_config.push_endpoint, headers, body)


def header_value(text: str) -> str:
    """Percent-encoded as the HTTP binding wants it (3.1.3.2): space, `"`, `%` and all but printable ASCII."""
    return "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte not in b'"%' else f"%{byte:02X}" for byte in text.encode()
    )
