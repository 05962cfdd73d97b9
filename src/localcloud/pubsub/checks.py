"""What is a valid topic, subscription, snapshot or message, and what are the defaults?

Limits: https://cloud.google.com/pubsub/quotas#resource_limits
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from localcloud.pubsub import filters
from localcloud.pubsub.errors import InvalidArgument, ResourceExhausted, Unimplemented, shown
from localcloud.pubsub.resources import (
    ACK_DEADLINE_S,
    BACKOFF_S,
    BINARY,
    DEFAULT_BACKOFF_S,
    DEFAULT_EXPIRES_AFTER_S,
    DEFAULT_RETENTION_S,
    DELIVERY_ATTEMPTS,
    EXPIRES_AFTER_S,
    JSON,
    RETENTION_S,
    PublishedMessage,
    message_type,
    seconds,
)

MAX_MESSAGES_PER_PUBLISH = 1000
MAX_PUBLISH_BYTES = 10_000_000
MAX_ATTRIBUTES, MAX_KEY_BYTES, MAX_VALUE_BYTES = 100, 256, 1024
MAX_ORDERING_KEY_BYTES = 1024
MAX_ACK_IDS_BYTES = 512 * 1024  # of one acknowledge or modifyAckDeadline request
MAX_LABELS = 64
MOST_PER_PROJECT = {"topics": 10_000, "subscriptions": 10_000, "snapshots": 5_000, "schemas": 10_000}
PUSH_VERSIONS = ("", "v1beta1", "v1beta2", "v1")  # of the attribute x-goog-version; all look the same

_NAME = re.compile(r"projects/[a-zA-Z][-a-zA-Z0-9.:]*/(?P<kind>topics|subscriptions|snapshots|schemas)/(?P<id>[^/]+)")
_PROJECT = re.compile(r"projects/[a-zA-Z][-a-zA-Z0-9.:]*")
_ID = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")
# https://cloud.google.com/pubsub/docs/create-topic#labels
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
# What the service does elsewhere: with these set, it would be silently missing here.
_ELSEWHERE = {
    "topics": ("ingestion_data_source_settings", "message_transforms"),
    "subscriptions": ("bigquery_config", "cloud_storage_config", "bigtable_config", "message_transforms"),
}


def check_name(name: str, kind: str, field: str = "name") -> None:
    """Raises InvalidArgument for a name that cannot be created; `kind` is topics, subscriptions, ..."""
    match = _NAME.fullmatch(name)
    if match is None or match["kind"] != kind:
        raise InvalidArgument(f"{field} is {shown(name)}; expected projects/<project>/{kind}/<id>")
    if not _ID.fullmatch(match["id"]):
        raise InvalidArgument(
            f"{field} is {shown(name)}; an id has 3 to 255 of A-Z a-z 0-9 - _ . ~ + %, begins with a letter"
            " and not with goog"
        )


def check_project(name: str, field: str = "project") -> None:
    """Raises InvalidArgument for what is no `projects/<project>`."""
    if not _PROJECT.fullmatch(name):
        raise InvalidArgument(f"{field} is {shown(name)}; expected projects/<project>")


def check_room(kind: str, name: str, others: Iterable[str]) -> None:
    """Raises ResourceExhausted when the project of `name` has as many of that kind as it may have."""
    project = name.split("/")[1]
    most = MOST_PER_PROJECT[kind]
    if sum(other.startswith(f"projects/{project}/") for other in others) >= most:
        raise ResourceExhausted(f"project {shown(project)} has {most} {kind}; more are not allowed")


def check_labels(labels: Mapping[str, str]) -> None:
    """Raises InvalidArgument for labels that break a rule."""
    if len(labels) > MAX_LABELS:
        raise InvalidArgument(f"labels has {len(labels)} entries; at most {MAX_LABELS} are allowed")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise InvalidArgument(f"labels has the key {shown(key)}; expected 1 to 63 of a-z 0-9 _ -, a letter first")
        if not _LABEL_VALUE.fullmatch(value):
            raise InvalidArgument(f"labels[{shown(key)}] is {shown(value)}; expected up to 63 of a-z 0-9 _ -")


def check_topic(resource: Any) -> None:
    """Raises InvalidArgument for a topic that breaks a rule; Unimplemented for what is not emulated."""
    check_name(resource.name, "topics")
    _check_here(resource, "topics")
    check_labels(resource.labels)
    if resource.HasField("message_retention_duration"):
        _check_range("message_retention_duration", seconds(resource.message_retention_duration), RETENTION_S)
    if resource.HasField("schema_settings"):
        settings = resource.schema_settings
        if settings.encoding not in (JSON, BINARY):
            raise InvalidArgument("schema_settings.encoding is not set; expected JSON or BINARY")


def complete_subscription(resource: Any) -> None:
    """Fill in the defaults of a subscription, in place.

    Raises:
        InvalidArgument: naming the field that breaks a rule.
        Unimplemented: for what is not emulated.
    """
    check_name(resource.name, "subscriptions")
    _check_here(resource, "subscriptions")
    check_labels(resource.labels)
    resource.ack_deadline_seconds = resource.ack_deadline_seconds or ACK_DEADLINE_S[0]
    _check_range("ack_deadline_seconds", resource.ack_deadline_seconds, ACK_DEADLINE_S)
    if not resource.HasField("message_retention_duration"):
        resource.message_retention_duration.FromSeconds(DEFAULT_RETENTION_S)
    _check_range("message_retention_duration", seconds(resource.message_retention_duration), RETENTION_S)
    if not resource.HasField("expiration_policy"):
        resource.expiration_policy.ttl.FromSeconds(DEFAULT_EXPIRES_AFTER_S)
    elif resource.expiration_policy.HasField("ttl"):
        _check_range("expiration_policy.ttl", seconds(resource.expiration_policy.ttl), EXPIRES_AFTER_S)
    filters.parse(resource.filter)
    _check_push(resource)
    if resource.HasField("dead_letter_policy"):
        policy = resource.dead_letter_policy
        check_name(policy.dead_letter_topic, "topics", "dead_letter_policy.dead_letter_topic")
        policy.max_delivery_attempts = policy.max_delivery_attempts or DELIVERY_ATTEMPTS[0]
        _check_range("dead_letter_policy.max_delivery_attempts", policy.max_delivery_attempts, DELIVERY_ATTEMPTS)
    if resource.HasField("retry_policy"):
        _complete_retry_policy(resource.retry_policy)
    resource.state = message_type("Subscription").ACTIVE


def check_ack_ids(ack_ids: Sequence[str]) -> None:
    """Raises InvalidArgument for a list of ack ids that is empty or too large."""
    if not ack_ids:
        raise InvalidArgument("ack_ids is empty; expected at least one")
    size = sum(map(len, ack_ids))
    if size > MAX_ACK_IDS_BYTES:
        raise InvalidArgument(f"Request payload size exceeds the limit: {MAX_ACK_IDS_BYTES} bytes; ack_ids has {size}")


def check_messages(messages: Sequence[PublishedMessage]) -> None:
    """Raises InvalidArgument for a publish request that breaks a limit."""
    if not 1 <= len(messages) <= MAX_MESSAGES_PER_PUBLISH:
        raise InvalidArgument(f"messages has {len(messages)} entries; expected 1 to {MAX_MESSAGES_PER_PUBLISH}")
    size = sum(_check_message(f"messages[{index}]", message) for index, message in enumerate(messages))
    if size > MAX_PUBLISH_BYTES:
        raise InvalidArgument(f"the request is {size} bytes; at most {MAX_PUBLISH_BYTES} are allowed")


def _check_message(where: str, message: PublishedMessage) -> int:
    """The message's size in bytes."""
    if not message.data and not message.attributes:
        raise InvalidArgument(f"{where} is empty; expected data or at least one attribute")
    if len(message.attributes) > MAX_ATTRIBUTES:
        raise InvalidArgument(f"{where} has {len(message.attributes)} attributes; at most {MAX_ATTRIBUTES} are allowed")
    size = len(message.data)
    for key, value in message.attributes.items():
        key_bytes, value_bytes = len(key.encode()), len(value.encode())
        # Client libraries have attributes of their own; the rest of goog* is the service's.
        reserved = key.startswith("goog") and not key.startswith("googclient_")
        if not 1 <= key_bytes <= MAX_KEY_BYTES or reserved:
            raise InvalidArgument(
                f"{where} has the attribute key {shown(key)};"
                f" expected 1 to {MAX_KEY_BYTES} bytes, not beginning with goog"
            )
        if value_bytes > MAX_VALUE_BYTES:
            raise InvalidArgument(
                f"{where}.attributes[{shown(key)}] is {value_bytes} bytes; at most {MAX_VALUE_BYTES} are allowed"
            )
        size += key_bytes + value_bytes
    if len(message.ordering_key.encode()) > MAX_ORDERING_KEY_BYTES:
        raise InvalidArgument(f"{where}.ordering_key is longer than {MAX_ORDERING_KEY_BYTES} bytes")
    return size


def _check_here(resource: Any, kind: str) -> None:
    for field in resource.DESCRIPTOR.fields:
        if field.name in _ELSEWHERE[kind] and (
            getattr(resource, field.name) if field.is_repeated else resource.HasField(field.name)
        ):
            raise Unimplemented(f"{field.name} is set; this emulator of Pub/Sub has none and would ignore it")


def _check_push(resource: Any) -> None:
    config = resource.push_config
    if not config.push_endpoint:
        return
    _check_endpoint(config.push_endpoint)
    if resource.enable_exactly_once_delivery:
        raise InvalidArgument(
            "enable_exactly_once_delivery is set and so is push_config.push_endpoint;"
            " exactly-once delivery is for pull subscriptions only"
        )
    version = config.attributes.get("x-goog-version", "")
    if version not in PUSH_VERSIONS:
        raise InvalidArgument(f"push_config.attributes['x-goog-version'] is {shown(version)}; expected v1")


def _complete_retry_policy(policy: Any) -> None:
    for name, default in zip(("minimum_backoff", "maximum_backoff"), DEFAULT_BACKOFF_S, strict=True):
        if not policy.HasField(name):
            getattr(policy, name).FromSeconds(default)
        _check_range(f"retry_policy.{name}", seconds(getattr(policy, name)), BACKOFF_S)
    if policy.minimum_backoff.ToNanoseconds() > policy.maximum_backoff.ToNanoseconds():
        raise InvalidArgument("retry_policy.minimum_backoff is longer than maximum_backoff")


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise InvalidArgument(f"push_config.push_endpoint is {shown(endpoint)}; expected an http or https URL")


def _check_range(name: str, value: float, bounds: tuple[int, int]) -> None:
    if not bounds[0] <= value <= bounds[1]:
        raise InvalidArgument(f"{name} is {value:g}; expected {bounds[0]} to {bounds[1]}")
