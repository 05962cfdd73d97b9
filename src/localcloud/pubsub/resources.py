"""What is a valid topic, subscription or message, and what are the defaults?

Limits: https://cloud.google.com/pubsub/quotas#resource_limits
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from google.pubsub_v1 import types

from localcloud.pubsub import filters
from localcloud.pubsub.errors import InvalidArgument, shown

# The plain protobuf classes below the client's wrappers: fast, and all fields are kept as sent.
TopicResource: Any = types.Topic.pb()
SubscriptionResource: Any = types.Subscription.pb()
MessageResource: Any = types.PubsubMessage.pb()

DELETED_TOPIC = "_deleted-topic_"
MAX_MESSAGES_PER_PUBLISH = 1000
MAX_PUBLISH_BYTES = 10_000_000
MAX_ATTRIBUTES, MAX_KEY_BYTES, MAX_VALUE_BYTES = 100, 256, 1024
MAX_ORDERING_KEY_BYTES = 1024
ACK_DEADLINE_S = (10, 600)
RETENTION_S = (600, 31 * 86_400)
DEFAULT_RETENTION_S = 7 * 86_400
BACKOFF_S = (0, 600)
DEFAULT_BACKOFF_S = (10, 600)
DELIVERY_ATTEMPTS = (5, 100)

_NAME = re.compile(r"projects/[a-zA-Z][-a-zA-Z0-9.:]*/(?P<kind>topics|subscriptions)/(?P<id>[^/]+)")
_ID = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")


@dataclass(frozen=True, slots=True)
class PublishedMessage:
    """A message as its publisher hands it in."""

    data: bytes = b""
    attributes: Mapping[str, str] = field(default_factory=dict)
    ordering_key: str = ""
    message_id: str = ""  # of a message that already has one


@dataclass(frozen=True, slots=True)
class SubscriptionSpec:
    """A subscription as a deployment describes it. Names may be short; times are seconds."""

    name: str
    topic: str
    ack_deadline_s: int = 10
    filter: str = ""
    push_endpoint: str = ""  # "": pull
    push_service_account: str = ""  # email for the OIDC token; "": none
    push_audience: str = ""  # "": the endpoint
    dead_letter_topic: str = ""
    max_delivery_attempts: int = 5  # with a dead-letter topic
    backoff_s: tuple[float, float] | None = None  # shortest and longest; None: no retry policy
    retention_s: int = DEFAULT_RETENTION_S
    ordered: bool = False

    def resource(self, project: str) -> Any:
        """The same as a protobuf Subscription, names in full."""
        resource = SubscriptionResource(
            name=full_name(project, "subscriptions", self.name),
            topic=full_name(project, "topics", self.topic),
            ack_deadline_seconds=self.ack_deadline_s,
            filter=self.filter,
            enable_message_ordering=self.ordered,
        )
        resource.message_retention_duration.FromNanoseconds(int(self.retention_s * 1e9))
        if self.push_endpoint:
            resource.push_config.push_endpoint = self.push_endpoint
        if self.push_service_account:
            resource.push_config.oidc_token.service_account_email = self.push_service_account
            resource.push_config.oidc_token.audience = self.push_audience
        if self.dead_letter_topic:
            resource.dead_letter_policy.dead_letter_topic = full_name(project, "topics", self.dead_letter_topic)
            resource.dead_letter_policy.max_delivery_attempts = self.max_delivery_attempts
        if self.backoff_s is not None:
            resource.retry_policy.minimum_backoff.FromNanoseconds(int(self.backoff_s[0] * 1e9))
            resource.retry_policy.maximum_backoff.FromNanoseconds(int(self.backoff_s[1] * 1e9))
        return resource


def full_name(project: str, kind: str, name: str) -> str:
    """`name` of a topic or subscription as `projects/<project>/<kind>/<id>`; a full one stays as it is."""
    return name if "/" in name else f"projects/{project}/{kind}/{name}"


def short_name(name: str) -> str:
    """The last part of a full name."""
    return name.rpartition("/")[2]


def check_name(name: str, kind: str) -> None:
    """Raises InvalidArgument for a name that cannot be created."""
    match = _NAME.fullmatch(name)
    if match is None or match["kind"] != kind:
        raise InvalidArgument(f"name is {shown(name)}; expected projects/<project>/{kind}/<id>")
    if not _ID.fullmatch(match["id"]):
        raise InvalidArgument(
            f"name is {shown(name)}; an id has 3 to 255 of A-Z a-z 0-9 - _ . ~ + %, begins with a letter"
            " and not with goog"
        )


def check_topic(resource: Any) -> None:
    """Raises InvalidArgument for a topic that breaks a rule."""
    check_name(resource.name, "topics")
    if resource.HasField("message_retention_duration"):
        _check_range("message_retention_duration", retention_s(resource), RETENTION_S)


def complete_subscription(resource: Any) -> None:
    """Fill in the defaults of a subscription, in place.

    Raises:
        InvalidArgument: naming the field that breaks a rule.
    """
    check_name(resource.name, "subscriptions")
    resource.ack_deadline_seconds = resource.ack_deadline_seconds or ACK_DEADLINE_S[0]
    _check_range("ack_deadline_seconds", resource.ack_deadline_seconds, ACK_DEADLINE_S)
    if not resource.HasField("message_retention_duration"):
        resource.message_retention_duration.FromSeconds(DEFAULT_RETENTION_S)
    _check_range("message_retention_duration", retention_s(resource), RETENTION_S)
    filters.parse(resource.filter)
    if resource.push_config.push_endpoint:
        _check_endpoint(resource.push_config.push_endpoint)
    if resource.HasField("dead_letter_policy"):
        policy = resource.dead_letter_policy
        check_name(policy.dead_letter_topic, "topics")
        policy.max_delivery_attempts = policy.max_delivery_attempts or DELIVERY_ATTEMPTS[0]
        _check_range("dead_letter_policy.max_delivery_attempts", policy.max_delivery_attempts, DELIVERY_ATTEMPTS)
    if resource.HasField("retry_policy"):
        _complete_retry_policy(resource.retry_policy)
    resource.state = types.Subscription.State.ACTIVE


def retention_s(resource: Any) -> float:
    """How long a subscription or topic keeps a message, in seconds."""
    return float(resource.message_retention_duration.ToNanoseconds() / 1e9)


def backoff_s(resource: Any) -> tuple[float, float] | None:
    """The retry policy of a subscription: shortest and longest backoff in seconds."""
    if not resource.HasField("retry_policy"):
        return None
    policy = resource.retry_policy
    return policy.minimum_backoff.ToNanoseconds() / 1e9, policy.maximum_backoff.ToNanoseconds() / 1e9


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
        if not 1 <= key_bytes <= MAX_KEY_BYTES or key.startswith("goog"):
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


def _complete_retry_policy(policy: Any) -> None:
    for name, default in zip(("minimum_backoff", "maximum_backoff"), DEFAULT_BACKOFF_S, strict=True):
        if not policy.HasField(name):
            getattr(policy, name).FromSeconds(default)
        _check_range(f"retry_policy.{name}", getattr(policy, name).ToNanoseconds() / 1e9, BACKOFF_S)
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
