"""Which topics and subscriptions are there, what waits in them, and what may a person do about it?"""

from __future__ import annotations

import base64

import msgspec

from localcloud.pubsub.errors import FailedPrecondition, NotFound, shown
from localcloud.pubsub.resources import PublishedMessage, backoff_s, full_name, retention_s, short_name
from localcloud.pubsub.state import PubSub
from localcloud.pubsub.subscription import Subscription

SHOWN_BYTES = 4096  # of a message's data
DEAD_LETTER_ATTRIBUTE = "CloudPubSubDeadLetterSource"


class SubscriptionView(msgspec.Struct):
    """A subscription by its short name. Times are virtual, in seconds since the epoch."""

    name: str
    topic: str
    is_push: bool
    endpoint: str
    filter: str
    is_ordered: bool
    is_detached: bool
    is_exactly_once: bool
    ack_deadline_s: int
    retention_s: float
    retry_s: tuple[float, float] | None  # shortest and longest backoff, if it has a policy
    dead_letter_topic: str
    max_attempts: int
    backlog: int
    leased: int
    oldest: float | None


class TopicView(msgspec.Struct):
    """A topic and its subscriptions, by their short names."""

    name: str
    subscriptions: list[str]


class MessageView(msgspec.Struct):
    """A message that is not acknowledged. `data` is the start of it, as text where it is UTF-8."""

    id: str
    published: float
    size: int  # bytes
    attempts: int
    state: str
    due: float | None  # end of the lease or the backoff
    ordering_key: str
    attributes: dict[str, str]
    data: str
    is_text: bool
    is_cut: bool
    source: str  # for a dead letter, the subscription that gave it up


class Publish(msgspec.Struct, forbid_unknown_fields=True):
    """A message to publish, from the page."""

    topic: str
    data: str = ""
    attributes: dict[str, str] = {}
    ordering_key: str = ""


class Republish(msgspec.Struct, forbid_unknown_fields=True):
    """A dead letter to publish again where it came from."""

    subscription: str
    id: str


def topics(pubsub: PubSub) -> list[TopicView]:
    """All topics of the project by name."""
    return [
        TopicView(short_name(each.name), [short_name(name) for name in pubsub.subscriptions_of(each.name)])
        for each in pubsub.topics(f"projects/{pubsub.context.project}")
    ]


def subscriptions(pubsub: PubSub) -> list[SubscriptionView]:
    """All subscriptions of the project by name."""
    project = f"projects/{pubsub.context.project}"
    return [subscription_view(pubsub.subscription(each.name)) for each in pubsub.subscriptions(project)]


def subscription_view(subscription: Subscription) -> SubscriptionView:
    """One subscription."""
    resource = subscription.resource
    return SubscriptionView(
        name=short_name(subscription.name),
        topic=short_name(resource.topic),
        is_push=subscription.is_push,
        endpoint=resource.push_config.push_endpoint,
        filter=resource.filter,
        is_ordered=resource.enable_message_ordering,
        is_detached=resource.detached,
        is_exactly_once=resource.enable_exactly_once_delivery,
        ack_deadline_s=resource.ack_deadline_seconds,
        retention_s=retention_s(resource),
        retry_s=backoff_s(resource),
        dead_letter_topic=short_name(resource.dead_letter_policy.dead_letter_topic),
        max_attempts=resource.dead_letter_policy.max_delivery_attempts,
        backlog=len(subscription.backlog),
        leased=subscription.queue.leased,
        oldest=subscription.backlog.oldest(),
    )


def messages(pubsub: PubSub, name: str, limit: int) -> list[MessageView]:
    """The oldest messages of a subscription that are not acknowledged. Looking changes nothing. Raises NotFound."""
    views = []
    for entry, message in _subscription(pubsub, name).peek(limit):
        data, is_text = _text(message.data[:SHOWN_BYTES])
        views.append(
            MessageView(
                id=str(entry.id),
                published=entry.published,
                size=len(message.data),
                attempts=entry.attempts,
                state=entry.state.value,
                due=entry.due,
                ordering_key=message.ordering_key,
                attributes=dict(message.attributes),
                data=data,
                is_text=is_text,
                is_cut=len(message.data) > SHOWN_BYTES,
                source=message.attributes.get(f"{DEAD_LETTER_ATTRIBUTE}Subscription", ""),
            )
        )
    return views


def publish(pubsub: PubSub, wanted: Publish) -> str:
    """The id of the message published. Raises NotFound, InvalidArgument."""
    message = PublishedMessage(wanted.data.encode(), wanted.attributes, wanted.ordering_key)
    return pubsub.publish(wanted.topic, [message])[0]


def republish(pubsub: PubSub, wanted: Republish) -> str:
    """Move a dead letter back to the topic of the subscription that gave it up; its new id.

    All subscriptions of that topic get it.

    Raises:
        NotFound: the message, its subscription or its topic is gone.
        FailedPrecondition: it is no dead letter.
    """
    subscription = _subscription(pubsub, wanted.subscription)
    message = subscription.message(int(wanted.id))
    if message is None:
        raise NotFound(f"there is no message {shown(wanted.id)} in {shown(wanted.subscription)}")
    source = message.attributes.get(f"{DEAD_LETTER_ATTRIBUTE}Subscription", "")
    if not source:
        raise FailedPrecondition(f"message {shown(wanted.id)} is no dead letter")
    topic = _subscription(pubsub, source).resource.topic
    attributes = {k: v for k, v in message.attributes.items() if not k.startswith(DEAD_LETTER_ATTRIBUTE)}
    with pubsub.context.store.transaction():
        ids = pubsub.publish(topic, [PublishedMessage(message.data, attributes, message.ordering_key)])
        subscription.withdraw(int(wanted.id))
    return ids[0]


def _subscription(pubsub: PubSub, name: str) -> Subscription:
    return pubsub.subscription(full_name(pubsub.context.project, "subscriptions", name))


def _text(data: bytes) -> tuple[str, bool]:
    try:
        return data.decode(), True
    except UnicodeDecodeError as error:
        if error.end == len(data) and len(data) - error.start < 4:  # cut within a character
            return data[: error.start].decode(), True
        return base64.b64encode(data).decode(), False
