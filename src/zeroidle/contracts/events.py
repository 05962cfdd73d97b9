"""What happened, as Eventarc tells it? CloudEvents become typed values here and nowhere else.

Only `event.data` is read: extension attributes differ between sources. Nothing here imports the cloudevents library, so
a new major version of it (2.x has other names) changes this module at most.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta as Bounds
from msgspec import field

from zeroidle.contracts import codec, names
from zeroidle.contracts.services import BucketName, ObjectName, ObjectRef
from zeroidle.errors import InvalidMessage, printable


class Event(Protocol):
    """What is used of a CloudEvent."""

    @property
    def data(self) -> Any:
        """The payload: a dictionary, or JSON as bytes or text."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One version of an object was written. `created` is in seconds since the epoch."""

    ref: ObjectRef  # with its generation
    size: int
    content_type: str
    metadata: Mapping[str, str]
    created: float

    @property
    def job_id(self) -> str:
        """The job this makes, unless it is nobody's."""
        return names.job_id_for_upload(self.ref.bucket, self.ref.name, self.ref.generation or "")


@dataclass(frozen=True, slots=True)
class PubSubMessage:
    """A delivered message; `message_id` and `publish_time` (seconds since the epoch) are the same in a redelivery."""

    data: bytes
    attributes: Mapping[str, str]
    message_id: str
    publish_time: float

    @property
    def job_id(self) -> str:
        """The job it is about, as far as its attributes say."""
        return self.attributes.get("job_id", "")


class _StorageObject(msgspec.Struct, frozen=True, rename="camel"):
    # The object resource; numbers come as strings.
    # https://cloud.google.com/storage/docs/json_api/v1/objects#resource
    bucket: BucketName
    name: ObjectName
    generation: Annotated[int, Bounds(ge=1)]
    time_created: datetime
    size: Annotated[int, Bounds(ge=0)] = 0
    content_type: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


class _Message(msgspec.Struct, frozen=True, rename="camel"):
    # https://cloud.google.com/pubsub/docs/reference/rest/v1/PubsubMessage
    message_id: Annotated[str, Bounds(min_length=1, max_length=200)]
    publish_time: datetime
    data: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


class _Delivery(msgspec.Struct, frozen=True):
    message: _Message


def uploaded(event: Event) -> Upload:
    """A `google.cloud.storage.object.v1.finalized` event. Raises InvalidMessage naming the field."""
    found: _StorageObject = codec.convert(_data(event), _StorageObject, what="storage event", strict=False)
    if not _is_unicode(found.name):
        raise InvalidMessage(f"storage event: field name: not valid Unicode (it is {printable(found.name)!r})")
    return Upload(
        ref=ObjectRef(bucket=found.bucket, name=found.name, generation=str(found.generation)),
        size=found.size,
        content_type=found.content_type,
        metadata=found.metadata,
        created=found.time_created.timestamp(),
    )


def message(event: Event) -> PubSubMessage:
    """A `google.cloud.pubsub.topic.v1.messagePublished` event. Raises InvalidMessage naming the field."""
    found: _Message = codec.convert(_data(event), _Delivery, what="Pub/Sub event").message
    try:
        data = base64.b64decode(found.data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidMessage(f"Pub/Sub event: field message.data: not base64: {error}") from error
    return PubSubMessage(data, found.attributes, found.message_id, found.publish_time.timestamp())


def _data(event: Event) -> Any:
    data = event.data
    return codec.decode(data, dict[str, Any], what="event data") if isinstance(data, bytes | str) else data


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
