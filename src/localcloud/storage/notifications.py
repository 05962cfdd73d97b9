"""What does a bucket tell Pub/Sub about its objects?

https://cloud.google.com/storage/docs/pubsub-notifications
https://cloud.google.com/storage/docs/json_api/v1/notifications#resource
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from localcloud.storage.errors import StorageError, invalid, printable
from localcloud.storage.resources import etag
from localcloud.storage.times import timestamp
from localcloud.store import Store

FINALIZE, DELETE = "OBJECT_FINALIZE", "OBJECT_DELETE"
ARCHIVE, METADATA_UPDATE = "OBJECT_ARCHIVE", "OBJECT_METADATA_UPDATE"
EVENT_TYPES = (FINALIZE, DELETE, ARCHIVE, METADATA_UPDATE)
JSON_PAYLOAD, NO_PAYLOAD = "JSON_API_V1", "NONE"
MAX_CONFIGS = 100
MAX_CONFIGS_OF_ONE_EVENT = 10
MAX_CUSTOM_ATTRIBUTES = 90  # a message has 100, the last ten are ours
MAX_KEY_BYTES, MAX_VALUE_BYTES = 256, 1024  # Pub/Sub's limits
_TABLE = "storage.notifications"
_TOPIC = re.compile(r"(?://pubsub\.googleapis\.com/)?(projects/[^/]+/topics/[^/]+)")  # gcloud leaves the host out


class Topics(Protocol):
    """Pub/Sub as a bucket sees it; topics by full name (`projects/p/topics/t`)."""

    def has_topic(self, topic: str) -> bool:
        """Is there such a topic?"""

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> None:
        """Publish a message, as part of the store's open transaction."""


class NotificationConfig(msgspec.Struct, frozen=True):
    """A rule of a bucket: what is told to which topic."""

    bucket: str
    id: int
    topic: str  # full name
    payload_format: str
    event_types: tuple[str, ...] = ()  # none: all
    prefix: str = ""
    attributes: dict[str, str] = {}

    @property
    def key(self) -> str:
        """Of its row."""
        return f"{self.bucket}/{self.id}"

    def takes(self, event_type: str, name: str) -> bool:
        """Whether it tells of this event of the object `name`."""
        return (not self.event_types or event_type in self.event_types) and name.startswith(self.prefix)

    def resource(self, base: str) -> dict[str, Any]:
        """The rule as JSON."""
        shown: dict[str, Any] = {
            "kind": "storage#notification",
            "id": str(self.id),
            "selfLink": f"{base}/storage/v1/b/{self.bucket}/notificationConfigs/{self.id}",
            "topic": f"//pubsub.googleapis.com/{self.topic}",
            "payload_format": self.payload_format,
            "etag": etag(self.id),
        }
        if self.event_types:
            shown["event_types"] = list(self.event_types)
        if self.prefix:
            shown["object_name_prefix"] = self.prefix
        if self.attributes:
            shown["custom_attributes"] = self.attributes
        return shown


class Notifications:
    """The rules of all buckets. `topics` is None while there is no Pub/Sub to publish to."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        self.topics: Topics | None = None
        self._store = store
        self._now = now  # microseconds
        self._configs: dict[str, dict[int, NotificationConfig]] = {}
        for _, value in store.items(_TABLE):
            config = msgspec.json.decode(value, type=NotificationConfig)
            self._configs.setdefault(config.bucket, {})[config.id] = config

    def list(self, bucket: str) -> list[NotificationConfig]:
        """The rules of a bucket by id."""
        return [config for _, config in sorted(self._configs.get(bucket, {}).items())]

    def get(self, bucket: str, id_: str) -> NotificationConfig:
        """A rule. Raises StorageError 404."""
        config = (
            self._configs.get(bucket, {}).get(int(id_)) if id_.isascii() and id_.isdigit() and len(id_) < 9 else None
        )
        if config is None:
            raise StorageError(404, f"Notification {printable(id_)} of bucket {bucket} not found.")
        return config

    def insert(self, bucket: str, resource: Mapping[str, Any]) -> NotificationConfig:
        """A new rule. Raises StorageError 400."""
        known = self.list(bucket)
        config = _checked(bucket, 1 + max((config.id for config in known), default=0), resource)
        if self.topics is None or not self.topics.has_topic(config.topic):
            raise invalid(
                f"Cloud Pub/Sub topic '//pubsub.googleapis.com/{config.topic}' not found, or the service account of"
                " Cloud Storage does not have permission to it."
            )
        if len(known) >= MAX_CONFIGS:
            raise invalid(f"The bucket has {MAX_CONFIGS} notification configurations already.")
        for event_type in config.event_types or EVENT_TYPES:
            if sum(event_type in (other.event_types or EVENT_TYPES) for other in known) >= MAX_CONFIGS_OF_ONE_EVENT:
                raise invalid(
                    f"The bucket has {MAX_CONFIGS_OF_ONE_EVENT} notification configurations for {event_type}."
                )
        self._store.put(_TABLE, config.key, msgspec.json.encode(config))
        self._configs.setdefault(bucket, {})[config.id] = config
        return config

    def delete(self, config: NotificationConfig) -> None:
        """Remove a rule."""
        self._store.delete(_TABLE, config.key)
        del self._configs[config.bucket][config.id]

    def forget(self, bucket: str) -> None:
        """Remove the rules of a bucket that is gone."""
        self._store.delete_all(_TABLE, f"{bucket}/")
        self._configs.pop(bucket, None)

    def tell(self, event_type: str, resource: Mapping[str, Any], attributes: Mapping[str, str]) -> None:
        """Publish an event by every rule that takes it; `attributes` are those that only some events have."""
        bucket, name = resource["bucket"], resource["name"]
        for config in self.list(bucket):
            if self.topics is None or not config.takes(event_type, name) or not self.topics.has_topic(config.topic):
                continue
            has_payload = config.payload_format == JSON_PAYLOAD
            self.topics.publish(
                config.topic,
                msgspec.json.encode(resource) if has_payload else b"",
                {
                    **config.attributes,
                    **attributes,
                    "notificationConfig": f"projects/_/buckets/{bucket}/notificationConfigs/{config.id}",
                    "eventType": event_type,
                    "payloadFormat": config.payload_format,
                    "bucketId": bucket,
                    "objectId": name,
                    "objectGeneration": resource["generation"],
                    "eventTime": timestamp(self._now()),
                },
            )


def _checked(bucket: str, id_: int, resource: Mapping[str, Any]) -> NotificationConfig:
    topic = resource.get("topic")
    match = _TOPIC.fullmatch(topic) if isinstance(topic, str) else None
    if match is None:
        raise invalid(
            "Invalid Google Cloud Pub/Sub topic. It should look like '//pubsub.googleapis.com/projects/*/topics/*',"
            f" not {topic!r:.60}."
        )
    payload = resource.get("payload_format")
    if payload not in (JSON_PAYLOAD, NO_PAYLOAD):
        raise invalid(f"Invalid value for payload_format: {payload!r:.40}, expected {JSON_PAYLOAD} or {NO_PAYLOAD}.")
    events = resource.get("event_types") or []
    if not isinstance(events, list) or not all(event in EVENT_TYPES for event in events):
        raise invalid(f"Invalid value for event_types: {events!r:.60}, expected some of {', '.join(EVENT_TYPES)}.")
    prefix = resource.get("object_name_prefix") or ""
    if not isinstance(prefix, str):
        raise invalid(f"Invalid value for object_name_prefix: {prefix!r:.40}, expected a string.")
    attributes = resource.get("custom_attributes") or {}
    if not isinstance(attributes, dict) or len(attributes) > MAX_CUSTOM_ATTRIBUTES:
        raise invalid(
            f"Invalid value for custom_attributes, expected an object of up to {MAX_CUSTOM_ATTRIBUTES} members."
        )
    for key, value in attributes.items():
        _check_attribute(key, value)
    return NotificationConfig(bucket, id_, match[1], payload, tuple(events), prefix, attributes)


def _check_attribute(key: str, value: object) -> None:
    """Whether Pub/Sub will take it. Raises StorageError 400."""
    fits = isinstance(value, str) and len(value.encode()) <= MAX_VALUE_BYTES and 1 <= len(key.encode()) <= MAX_KEY_BYTES
    if not fits or key.startswith("goog"):
        raise invalid(
            f"Invalid value for custom_attributes.{key!s:.40}: {value!r:.40}, expected a string of up to"
            f" {MAX_VALUE_BYTES} bytes under a key of up to {MAX_KEY_BYTES} that does not begin with goog."
        )
