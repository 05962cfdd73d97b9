"""Which topics and subscriptions are there, and where does a published message go?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import aiohttp

from localcloud.context import Context
from localcloud.pubsub import push, resources
from localcloud.pubsub.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, shown
from localcloud.pubsub.push import Encoder, Pusher
from localcloud.pubsub.queue import Entry
from localcloud.pubsub.resources import (
    DELETED_TOPIC,
    MessageResource,
    PublishedMessage,
    SubscriptionResource,
    SubscriptionSpec,
    TopicResource,
    full_name,
    short_name,
)
from localcloud.pubsub.subscription import Subscription

TOPICS, SUBSCRIPTIONS, COUNTERS = "pubsub.topics", "pubsub.subscriptions", "pubsub.counters"
LAST_MESSAGE = "last-message"
FAULT_POINT = "pubsub.messages.deliver"
_FIXED_FIELDS = ("name", "topic", "filter", "enable_message_ordering", "detached")
_DEAD_LETTER_ATTRIBUTE = "CloudPubSubDeadLetterSource"

log = logging.getLogger(__name__)


class PubSub:
    """Topics, subscriptions and their messages. Everything happens on the event loop that runs `start`.

    What is written in a transaction of the store that is already open joins it; deliveries start once it has ended.
    """

    def __init__(self, context: Context) -> None:
        """Load what the store holds; nothing is delivered before `start`."""
        self.context = context
        self._topics: dict[str, Any] = {
            name: TopicResource.FromString(row) for name, row in context.store.items(TOPICS)
        }
        self._encoders: dict[str, tuple[Encoder, tuple[str, str]]] = {}
        self._by_topic: dict[str, dict[str, Subscription]] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._relays: dict[str, str] = {}  # topic -> the one subscription that gets what is published here
        self._pushers: dict[str, Pusher] = {}
        self._arrivals: list[tuple[Subscription, int]] = []
        self._last_message = int(context.store.get(COUNTERS, LAST_MESSAGE) or 0)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        for _, row in context.store.items(SUBSCRIPTIONS):
            self._open(SubscriptionResource.FromString(row))

    async def start(self) -> None:
        """Begin to deliver, also what an earlier process left."""
        self._loop = asyncio.get_running_loop()
        self._session = push.new_session()
        self._admit()
        for subscription in tuple(self._subscriptions.values()):
            self._run(subscription)

    async def stop(self) -> None:
        """Stop delivering. Open requests are broken off, and their messages delivered again after the next start."""
        self._loop = None
        for subscription in self._subscriptions.values():
            subscription.stop()
        await asyncio.gather(*(pusher.stop() for pusher in self._pushers.values()), *self._stopping)
        self._pushers.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    # Topics

    def create_topic(self, name: str) -> str:
        """Make sure there is a topic of that short or full name; its full name."""
        name = full_name(self.context.project, "topics", name)
        if name not in self._topics:
            self.insert_topic(TopicResource(name=name))
        return name

    def insert_topic(self, resource: Any) -> Any:
        """Create a topic. Raises InvalidArgument, AlreadyExists."""
        resources.check_topic(resource)
        if resource.name in self._topics:
            raise AlreadyExists(f"topic {shown(resource.name)} exists")
        return self._save_topic(resource)

    def topic(self, name: str) -> Any:
        """A topic's resource by full name. Raises NotFound."""
        try:
            return self._topics[name]
        except KeyError:
            raise NotFound(f"there is no topic {shown(name)}") from None

    def topics(self, project: str) -> list[Any]:
        """All topics of `projects/<id>` by name."""
        return _below(project, self._topics)

    def update_topic(self, resource: Any, paths: Sequence[str]) -> Any:
        """Change the fields named by an update mask. Raises NotFound, InvalidArgument."""
        changed = _merged(TopicResource, self.topic(resource.name), resource, paths, fixed=("name",))
        resources.check_topic(changed)
        return self._save_topic(changed)

    def delete_topic(self, name: str) -> None:
        """Remove a topic; its subscriptions keep their backlog and belong to `_deleted-topic_`."""
        self.topic(name)
        with self.context.store.transaction():
            self.context.store.delete(TOPICS, name)
            for subscription in self._by_topic.pop(name, {}).values():
                subscription.resource.topic = DELETED_TOPIC
                self._save(subscription)
            del self._topics[name]
        self.context.activity.emit("pubsub", short_name(name), "topic deleted")

    def subscriptions_of(self, topic: str) -> list[str]:
        """The names of a topic's subscriptions. Raises NotFound."""
        self.topic(topic)
        return sorted(self._by_topic.get(topic, {}))

    def publish(self, topic: str, messages: Sequence[PublishedMessage]) -> list[str]:
        """Store the messages for every subscription whose filter they match; their ids.

        Raises:
            NotFound: there is no such topic.
            InvalidArgument: a limit is broken.
        """
        name = full_name(self.context.project, "topics", topic)
        self.topic(name)
        resources.check_messages(messages)
        return self._publish(name, messages)

    def relay(self, topic: str, subscription: str) -> None:
        """Have what is published to `topic` reach this subscription of it alone; the others live of `hand_on`."""
        self._relays[full_name(self.context.project, "topics", topic)] = full_name(
            self.context.project, "subscriptions", subscription
        )

    def hand_on(self, subscription: str, messages: Sequence[PublishedMessage]) -> None:
        """Store messages that were published elsewhere, for one subscription. Raises NotFound."""
        target = self.subscription(full_name(self.context.project, "subscriptions", subscription))
        self._accept([target], messages)

    def _publish(self, name: str, messages: Sequence[PublishedMessage]) -> list[str]:
        subscriptions = self._by_topic.get(name, {})
        relay = self._relays.get(name)
        ids = self._accept(subscriptions.values() if relay is None else [subscriptions[relay]], messages)
        self.context.activity.emit("pubsub", short_name(name), "published", "messages: %d", len(ids), ref=ids[-1])
        return ids

    def _accept(self, subscriptions: Iterable[Subscription], messages: Sequence[PublishedMessage]) -> list[str]:
        published_us = int(self.context.clock.time() * 1e6)
        ids = []
        with self.context.store.transaction():
            for message in messages:
                self._last_message += 1
                ids.append(str(self._last_message))
                self._fan_out(subscriptions, message, self._last_message, published_us)
            self.context.store.put(COUNTERS, LAST_MESSAGE, ids[-1].encode())
        if self._loop is not None and self._arrivals:
            # Not before the transaction that this may be part of has ended.
            self._loop.call_soon(self._admit)
        return ids

    def _fan_out(
        self, subscriptions: Iterable[Subscription], message: PublishedMessage, id_: int, published_us: int
    ) -> None:
        resource = MessageResource(
            data=message.data,
            attributes=message.attributes,
            message_id=message.message_id or str(id_),
            ordering_key=message.ordering_key,
        )
        resource.publish_time.FromMicroseconds(published_us)
        for subscription in subscriptions:
            if subscription.matches(message.attributes):
                subscription.store(id_, resource)
                self._arrivals.append((subscription, id_))

    def _admit(self) -> None:
        if not self._arrivals:
            return
        arrivals, self._arrivals = self._arrivals, []
        reached = {}
        with self.context.store.transaction():  # reads are cheaper together
            for subscription, id_ in arrivals:
                if not subscription.closed and subscription.admit(id_):
                    reached[subscription.name] = subscription
        for subscription in reached.values():
            subscription.notify()

    # Subscriptions

    def create_subscription(self, spec: SubscriptionSpec) -> str:
        """Make sure there is a subscription like `spec`; its full name.

        One that differs is updated; where a fixed field differs (topic, filter, ordering) or it was detached, it is
        replaced and loses its backlog.

        Raises:
            NotFound: the topic or the dead-letter topic does not exist.
            InvalidArgument: naming the field.
        """
        wanted = spec.resource(self.context.project)
        resources.complete_subscription(wanted)
        self.topic(wanted.topic)
        self._check_dead_letter(wanted)
        existing = self._subscriptions.get(wanted.name)
        if existing is None:
            self.insert_subscription(wanted)
        elif any(getattr(existing.resource, name) != getattr(wanted, name) for name in _FIXED_FIELDS):
            log.warning("%s is replaced: topic, filter or ordering changed, or it was detached", wanted.name)
            with self.context.store.transaction():
                self.delete_subscription(wanted.name)
                self.insert_subscription(wanted)
        elif existing.resource != wanted:
            self._replace(existing, wanted)
        return str(wanted.name)

    def insert_subscription(self, resource: Any) -> Any:
        """Create a subscription. Raises InvalidArgument, AlreadyExists, NotFound."""
        resources.complete_subscription(resource)
        if resource.name in self._subscriptions:
            raise AlreadyExists(f"subscription {shown(resource.name)} exists")
        self.topic(resource.topic)
        self._check_dead_letter(resource)
        self.context.store.put(SUBSCRIPTIONS, resource.name, resource.SerializeToString())
        self._run(self._open(resource))
        self.context.activity.emit("pubsub", short_name(resource.name), "subscription created")
        return resource

    def subscription(self, name: str) -> Subscription:
        """A subscription by full name. Raises NotFound."""
        try:
            return self._subscriptions[name]
        except KeyError:
            raise NotFound(f"there is no subscription {shown(name)}") from None

    def subscriptions(self, project: str) -> list[Any]:
        """The resources of all subscriptions of `projects/<id>` by name."""
        return _below(project, {name: each.resource for name, each in self._subscriptions.items()})

    def update_subscription(self, resource: Any, paths: Sequence[str]) -> Any:
        """Change the fields named by an update mask. Raises NotFound, InvalidArgument."""
        subscription = self.subscription(resource.name)
        changed = _merged(SubscriptionResource, subscription.resource, resource, paths, fixed=_FIXED_FIELDS)
        resources.complete_subscription(changed)
        self._check_dead_letter(changed)
        self._replace(subscription, changed)
        return changed

    def delete_subscription(self, name: str) -> None:
        """Remove a subscription and its backlog. Raises NotFound."""
        subscription = self.subscription(name)
        with self.context.store.transaction():
            self.context.store.delete(SUBSCRIPTIONS, name)
            subscription.close()
        self._stop_pusher(name)
        self._by_topic.get(subscription.resource.topic, {}).pop(name, None)
        del self._subscriptions[name]
        self.context.activity.emit("pubsub", short_name(name), "subscription deleted")

    def detach(self, name: str) -> None:
        """Cut a subscription from its topic; its backlog is dropped. Raises NotFound."""
        subscription = self.subscription(name)
        with self.context.store.transaction():
            subscription.resource.detached = True
            self._save(subscription)
            subscription.close()
        self._stop_pusher(name)
        self._by_topic.get(subscription.resource.topic, {}).pop(name, None)

    def pullable(self, name: str) -> Subscription:
        """A subscription to pull from. Raises NotFound; FailedPrecondition when it pushes or is detached."""
        subscription = self.subscription(name)
        if subscription.is_push:
            raise FailedPrecondition(f"subscription {shown(name)} is a push subscription")
        if subscription.closed:
            raise FailedPrecondition(f"subscription {shown(name)} is detached")
        return subscription

    def set_encoder(self, subscription: str, encoder: Encoder, fault_point: tuple[str, str]) -> None:
        """Have a push subscription (it need not exist yet) send other requests and take its faults elsewhere."""
        name = full_name(self.context.project, "subscriptions", subscription)
        self._encoders[name] = encoder, fault_point
        if name in self._subscriptions:
            self._subscriptions[name].fault_point = fault_point

    # Looking in

    def backlog(self, subscription: str) -> int:
        """How many messages are not acknowledged. Raises NotFound."""
        target = self.subscription(full_name(self.context.project, "subscriptions", subscription))
        return len(target.queue) + sum(each is target for each, _ in self._arrivals)

    def is_idle(self) -> bool:
        """Is nothing on its way? Push subscriptions are empty and no pulled message is leased."""
        return not self._arrivals and not any(
            len(each.queue) if each.is_push else each.queue.leased for each in self._subscriptions.values()
        )

    # How it is kept

    def _open(self, resource: Any) -> Subscription:
        _, fault_point = self._encoders.get(resource.name, (None, (FAULT_POINT, short_name(resource.name))))
        subscription = Subscription(self.context, resource, fault_point, self._dead_letter)
        subscription.closed = resource.detached
        self._subscriptions[resource.name] = subscription
        if resource.topic != DELETED_TOPIC and not resource.detached:
            self._by_topic.setdefault(resource.topic, {})[resource.name] = subscription
        return subscription

    def _run(self, subscription: Subscription) -> None:
        """Start delivering, if the whole is started."""
        if self._loop is None or self._session is None or subscription.closed:
            return
        subscription.start()
        if subscription.is_push:
            encoder, _ = self._encoders.get(subscription.name, (push.encode, None))
            pusher = Pusher(self.context, subscription, self._session, encoder)
            self._pushers[subscription.name] = pusher
            pusher.start()

    def _replace(self, subscription: Subscription, resource: Any) -> None:
        """Give a subscription other settings; pushes that are open are broken off when it is about them."""
        pushes_differently = subscription.resource.push_config != resource.push_config
        subscription.reconfigure(resource)
        self._save(subscription)
        if pushes_differently:
            self._stop_pusher(resource.name)
            self._run(subscription)
        subscription.notify()

    def _save(self, subscription: Subscription) -> None:
        self.context.store.put(SUBSCRIPTIONS, subscription.name, subscription.resource.SerializeToString())

    def _save_topic(self, resource: Any) -> Any:
        self.context.store.put(TOPICS, resource.name, resource.SerializeToString())
        self._topics[resource.name] = resource
        self.context.activity.emit("pubsub", short_name(resource.name), "topic saved")
        return resource

    def _stop_pusher(self, name: str) -> None:
        pusher = self._pushers.pop(name, None)
        if pusher is not None and self._loop is not None:
            task = self._loop.create_task(pusher.stop())
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    def _check_dead_letter(self, resource: Any) -> None:
        if resource.HasField("dead_letter_policy"):
            self.topic(resource.dead_letter_policy.dead_letter_topic)

    def _dead_letter(self, subscription: Subscription, entry: Entry, message: Any) -> bool:
        topic = subscription.resource.dead_letter_policy.dead_letter_topic
        if topic not in self._topics:
            log.error("%s: the dead-letter topic %s is gone; message %d is kept", subscription.name, topic, entry.id)
            return False
        source = {
            "DeliveryCount": str(entry.attempts),
            "Subscription": short_name(subscription.name),
            "SubscriptionProject": subscription.name.split("/")[1],
            "TopicPublishTime": message.publish_time.ToJsonString(),
        }
        attributes = {f"{_DEAD_LETTER_ATTRIBUTE}{name}": value for name, value in source.items()}
        self._publish(
            topic, [PublishedMessage(message.data, {**message.attributes, **attributes}, message.ordering_key)]
        )
        return True


def _below(project: str, named: Mapping[str, Any]) -> list[Any]:
    return [named[name] for name in sorted(named) if name.startswith(f"{project}/")]


def _merged(kind: Any, old: Any, new: Any, paths: Sequence[str], *, fixed: Sequence[str]) -> Any:
    """`old` with the fields of the mask `paths` from `new`."""
    if not paths:
        raise InvalidArgument("update_mask is empty; expected the names of the fields to change")
    changed = kind.FromString(old.SerializeToString())
    for path in _roots(paths):
        if path not in kind.DESCRIPTOR.fields_by_name or path in fixed:
            raise InvalidArgument(f"update_mask names {shown(path)}, which cannot be changed")
        changed.ClearField(path)
        only = kind()
        if path in _set_fields(new):
            only.MergeFrom(new)
            for other in _set_fields(only):
                if other != path:
                    only.ClearField(other)
        changed.MergeFrom(only)
    return changed


def _roots(paths: Sequence[str]) -> Iterator[str]:
    """`push_config.push_endpoint` changes the whole push_config, as in the service's own emulator."""
    yield from dict.fromkeys(path.partition(".")[0] for path in paths)


def _set_fields(message: Any) -> list[str]:
    return [field.name for field, _ in message.ListFields()]
