"""Which subscriptions are there, which of them get what is published to a topic, and which are being pushed?"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from localcloud.context import Context
from localcloud.pubsub import checks
from localcloud.pubsub.errors import AlreadyExists, FailedPrecondition, NotFound, shown
from localcloud.pubsub.push import Encoder
from localcloud.pubsub.pushers import Pushers
from localcloud.pubsub.resources import DELETED_TOPIC, message_type, short_name
from localcloud.pubsub.subscription import Subscription, Surroundings

SUBSCRIPTIONS = "pubsub.subscriptions"
FAULT_POINT = "pubsub.messages.deliver"


class Subscriptions:
    """The subscriptions by full name. Settings come complete and checked."""

    def __init__(self, context: Context, surroundings: Surroundings) -> None:
        """Load what the store holds; nothing is delivered before `start`."""
        self.pushers = Pushers(context)
        self._context = context
        self._surroundings = surroundings
        self._fault_points: dict[str, tuple[str, str]] = {}
        self._relays: dict[str, str] = {}  # topic -> the one subscription that gets what is published here
        self._by_topic: dict[str, dict[str, Subscription]] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._is_started = False
        for _, row in context.store.items(SUBSCRIPTIONS):
            self._open(message_type("Subscription").FromString(row))

    def __contains__(self, name: str) -> bool:
        return name in self._subscriptions

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self._subscriptions.values())

    def start(self) -> None:
        """Begin to deliver; needs a running event loop."""
        self._is_started = True
        self.pushers.open()
        for subscription in tuple(self):
            self._run(subscription)

    async def stop(self) -> None:
        """Stop delivering. Open requests are broken off, and their messages delivered again after the next start."""
        self._is_started = False
        for subscription in self:
            subscription.stop()
        await self.pushers.close()

    def get(self, name: str) -> Subscription:
        """A subscription. Raises NotFound."""
        try:
            return self._subscriptions[name]
        except KeyError:
            raise NotFound(f"Resource not found (resource={short_name(name)}).") from None

    def attached(self, name: str) -> Subscription:
        """A subscription that gets messages. Raises NotFound; FailedPrecondition when it is detached."""
        subscription = self.get(name)
        if subscription.closed:
            raise FailedPrecondition(f"subscription {shown(name)} is detached")
        return subscription

    def below(self, project: str) -> list[Any]:
        """The resources of the subscriptions of `projects/<id>` by name."""
        return [
            self._subscriptions[name].resource for name in sorted(self._subscriptions) if name.startswith(f"{project}/")
        ]

    def of_topic(self, topic: str) -> Collection[Subscription]:
        """The subscriptions attached to a topic."""
        return tuple(self._by_topic.get(topic, {}).values())

    def targets(self, topic: str) -> Collection[Subscription]:
        """Those that get what is published to a topic."""
        relay = self._relays.get(topic)
        return self._by_topic.get(topic, {}).values() if relay is None else (self._subscriptions[relay],)

    def relay(self, topic: str, subscription: str) -> None:
        """Have what is published to a topic reach this subscription alone."""
        self._relays[topic] = subscription

    def insert(self, resource: Any) -> None:
        """Begin a subscription; `check_new` says whether there may be one."""
        self._context.store.put(SUBSCRIPTIONS, resource.name, resource.SerializeToString())
        self._run(self._open(resource))
        self._context.activity.emit("pubsub", short_name(resource.name), "subscription created")

    def check_new(self, name: str) -> None:
        """Raises AlreadyExists, or ResourceExhausted when its project has as many as it may have."""
        if name in self._subscriptions:
            raise AlreadyExists(f"Resource already exists in the project (resource={short_name(name)}).")
        checks.check_room("subscriptions", name, self._subscriptions)

    def replace(self, resource: Any) -> None:
        """Give a subscription other settings; pushes that are open are broken off when it is about them."""
        subscription = self._subscriptions[resource.name]
        pushes_differently = subscription.resource.push_config != resource.push_config
        subscription.reconfigure(resource)
        self._save(subscription)
        if pushes_differently:
            self.pushers.stop(resource.name)
            self._run(subscription)
        subscription.notify()

    def delete(self, name: str) -> None:
        """Remove a subscription and its backlog. Raises NotFound."""
        subscription = self.get(name)
        with self._context.store.transaction():
            self._context.store.delete(SUBSCRIPTIONS, name)
            self._close(subscription)
        del self._subscriptions[name]
        self._context.activity.emit("pubsub", short_name(name), "subscription deleted")

    def detach(self, name: str) -> None:
        """Cut a subscription from its topic; its backlog is dropped. Raises NotFound."""
        subscription = self.get(name)
        with self._context.store.transaction():
            subscription.resource.detached = True
            self._save(subscription)
            self._close(subscription)

    def topic_deleted(self, topic: str) -> None:
        """The subscriptions of a topic outlive it, and keep their messages for as long as they say themselves."""
        for subscription in self._by_topic.pop(topic, {}).values():
            subscription.resource.topic = DELETED_TOPIC
            subscription.resource.ClearField("topic_message_retention_duration")
            subscription.reconfigure(subscription.resource)
            self._save(subscription)
            subscription.notify()  # what the topic kept may be too old now

    def set_encoder(self, name: str, encoder: Encoder, fault_point: tuple[str, str]) -> None:
        """Have a push subscription (it need not exist yet) send other requests and take its faults elsewhere."""
        self.pushers.set_encoder(name, encoder)
        self._fault_points[name] = fault_point
        if name in self._subscriptions:
            self._subscriptions[name].fault_point = fault_point

    def _open(self, resource: Any) -> Subscription:
        fault_point = self._fault_points.get(resource.name, (FAULT_POINT, short_name(resource.name)))
        subscription = Subscription(self._context, resource, fault_point, self._surroundings)
        subscription.closed = resource.detached
        self._subscriptions[resource.name] = subscription
        if resource.topic != DELETED_TOPIC and not resource.detached:
            self._by_topic.setdefault(resource.topic, {})[resource.name] = subscription
        return subscription

    def _run(self, subscription: Subscription) -> None:
        """Start delivering, if the whole is started."""
        if not self._is_started or subscription.closed:
            return
        subscription.start()
        if subscription.is_push:
            self.pushers.start(subscription)

    def _close(self, subscription: Subscription) -> None:
        subscription.close()
        self.pushers.stop(subscription.name)
        self._by_topic.get(subscription.resource.topic, {}).pop(subscription.name, None)

    def _save(self, subscription: Subscription) -> None:
        self._context.store.put(SUBSCRIPTIONS, subscription.name, subscription.resource.SerializeToString())
