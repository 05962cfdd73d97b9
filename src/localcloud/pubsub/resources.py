"""What are topics, subscriptions and messages made of, and how are they described?

Limits: https://cloud.google.com/pubsub/quotas#resource_limits
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

BASIC, FULL = 1, 2  # SchemaView
JSON, BINARY = 1, 2  # Encoding
PROTOBUF, AVRO = 1, 2  # Schema.Type
DELETED_TOPIC, DELETED_SCHEMA = "_deleted-topic_", "_deleted-schema_"
ACK_DEADLINE_S = (10, 600)
RETENTION_S = (600, 31 * 86_400)
DEFAULT_RETENTION_S = 7 * 86_400
BACKOFF_S = (0, 600)
DEFAULT_BACKOFF_S = (10, 600)
DELIVERY_ATTEMPTS = (5, 100)
DAY_S = 86_400
EXPIRES_AFTER_S = (DAY_S, 365 * DAY_S)
DEFAULT_EXPIRES_AFTER_S = 31 * DAY_S


@cache
def message_type(name: str) -> Any:
    """The plain protobuf class below the client's wrapper of this name: fast, and all fields are kept as sent.

    The classes are made when one is first asked for: a cloud without topics starts without them.
    """
    from google.pubsub_v1 import types

    return getattr(types, name).pb()


@dataclass(frozen=True, slots=True)
class PublishedMessage:
    """A message as its publisher hands it in."""

    data: bytes = b""
    attributes: Mapping[str, str] = field(default_factory=dict)
    ordering_key: str = ""
    message_id: str = ""  # of a message that already has one


@dataclass(frozen=True, slots=True)
class SubscriptionSpec:
    """A subscription as a deployment describes it. Names may be short; times are seconds. It never expires."""

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
        resource = message_type("Subscription")(
            name=full_name(project, "subscriptions", self.name),
            topic=full_name(project, "topics", self.topic),
            ack_deadline_seconds=self.ack_deadline_s,
            filter=self.filter,
            enable_message_ordering=self.ordered,
        )
        resource.message_retention_duration.FromNanoseconds(int(self.retention_s * 1e9))
        resource.expiration_policy.SetInParent()
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


def retention_s(subscription: Any) -> float:
    """How long a subscription keeps a message, in seconds: as long as its topic does, if that is longer."""
    durations = (subscription.message_retention_duration, subscription.topic_message_retention_duration)
    return max(seconds(duration) for duration in durations)


def expires_after_s(subscription: Any) -> float:
    """How long a subscription may go unused, in seconds; infinite where it never expires."""
    policy = subscription.expiration_policy
    return seconds(policy.ttl) if policy.HasField("ttl") else float("inf")


def seconds(duration: Any) -> float:
    """A protobuf Duration in seconds."""
    return float(duration.ToNanoseconds() / 1e9)


def backoff_s(resource: Any) -> tuple[float, float] | None:
    """The retry policy of a subscription: shortest and longest backoff in seconds."""
    if not resource.HasField("retry_policy"):
        return None
    policy = resource.retry_policy
    return policy.minimum_backoff.ToNanoseconds() / 1e9, policy.maximum_backoff.ToNanoseconds() / 1e9


def backoff_after_s(resource: Any, attempts: int) -> float:
    """Seconds until a message is delivered again after so many attempts."""
    shortest, longest = backoff_s(resource) or (0.0, 0.0)
    return min(longest, shortest * 2.0 ** min(attempts - 1, 64))
