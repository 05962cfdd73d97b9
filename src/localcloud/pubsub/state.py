"""Which subscriptions are there, and where does a published message go?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from localcloud.context import Context
from localcloud.pubsub import checks
from localcloud.pubsub.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, shown
from localcloud.pubsub.iam import Policies
from localcloud.pubsub.intake import COUNTERS, Intake
from localcloud.pubsub.masks import merged
from localcloud.pubsub.push import Encoder
from localcloud.pubsub.pushers import Pushers
from localcloud.pubsub.queue import Entry
from localcloud.pubsub.resources import (
    DELETED_TOPIC,
    PublishedMessage,
    SubscriptionSpec,
    full_name,
    message_type,
    short_name,
)
from localcloud.pubsub.schemas import Schemas
from localcloud.pubsub.snapshots import Snapshots
from localcloud.pubsub.subscription import Subscription, Surroundings
from localcloud.pubsub.topics import Topics

SUBSCRIPTIONS = "pubsub.subscriptions"
STARTS = "starts"
FAULT_POINT = "pubsub.messages.deliver"
_SERIALS_PER_START = 2**40  # more leases than a process can make
_SETTLED_FIELDS = ("name", "topic", "filter", "enable_message_ordering", "detached")
_FIXED_FIELDS = (
    *_SETTLED_FIELDS,
    "state",
    "topic_message_retention_duration",
    "analytics_hub_subscription_info",
    "tags",
)
_DEAD_LETTER_ATTRIBUTE = "CloudPubSubDeadLetterSource"

log = logging.getLogger(__name__)


class PubSub:
    """Topics, subscriptions and their messages. Everything happens on the event loop that runs `start`.

    What is written in a transaction of the store that is already open joins it; deliveries start once it has ended.
    """

    def __init__(self, context: Context) -> None:
        """Load what the store holds; nothing is delivered before `start`."""
        self.context = context
        self.snapshots = Snapshots(context)
        self.schemas = Schemas(context)
        self.policies = Policies(context)
        self._topics = Topics(context)
        self.pushers = Pushers(context)
        self._fault_points: dict[str, tuple[str, str]] = {}
        self._by_topic: dict[str, dict[str, Subscription]] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._relays: dict[str, str] = {}  # topic -> the one subscription that gets what is published here
        self._intake = Intake(context)
        self._is_started = False
        starts = int(context.store.get(COUNTERS, STARTS) or 0) + 1
        context.store.put(COUNTERS, STARTS, str(starts).encode())
        self._surroundings = Surroundings(self._dead_letter, self._expired, starts * _SERIALS_PER_START)
        for _, row in context.store.items(SUBSCRIPTIONS):
            self._open(message_type("Subscription").FromString(row))

    async def start(self) -> None:
        """Begin to deliver, also what an earlier process left."""
        self._is_started = True
        self.pushers.open()
        self._intake.start()
        for subscription in tuple(self._subscriptions.values()):
            self._run(subscription)

    async def stop(self) -> None:
        """Stop delivering. Open requests are broken off, and their messages delivered again after the next start."""
        self._is_started = False
        self._intake.stop()
        for subscription in self._subscriptions.values():
            subscription.stop()
        await self.pushers.close()

    # Topics

    def create_topic(self, name: str) -> str:
        """Make sure there is a topic of that short or full name; its full name."""
        name = full_name(self.context.project, "topics", name)
        if name not in self._topics:
            self.insert_topic(message_type("Topic")(name=name))
        return name

    def insert_topic(self, resource: Any) -> Any:
        """Create a topic. Raises InvalidArgument, AlreadyExists, NotFound, ResourceExhausted, Unimplemented."""
        self._check_schema(resource)
        return self._topics.create(resource)

    def topic(self, name: str) -> Any:
        """A topic's resource by full name. Raises NotFound."""
        return self._topics.get(name)

    def topics(self, project: str) -> list[Any]:
        """All topics of `projects/<id>` by name."""
        return self._topics.below(project)

    def update_topic(self, resource: Any, paths: Sequence[str]) -> Any:
        """Change the fields named by an update mask. Raises NotFound, InvalidArgument, Unimplemented."""
        changed = self._topics.changed(resource, paths)
        self._check_schema(changed)
        with self.context.store.transaction():
            self._topics.replace(changed)
            for subscription in self._by_topic.get(changed.name, {}).values():
                self._complete(subscription.resource)
                self._replace(subscription, subscription.resource)
        return changed

    def delete_topic(self, name: str) -> None:
        """Remove a topic; its subscriptions and snapshots keep their messages and belong to `_deleted-topic_`."""
        with self.context.store.transaction():
            self._topics.delete(name)
            self.policies.delete(name)
            self.snapshots.topic_deleted(name)
            for subscription in self._by_topic.pop(name, {}).values():
                subscription.resource.topic = DELETED_TOPIC
                self._complete(subscription.resource)
                subscription.reconfigure(subscription.resource)
                self._save(subscription)

    def subscriptions_of(self, topic: str) -> list[str]:
        """The names of a topic's subscriptions. Raises NotFound."""
        self.topic(topic)
        return sorted(self._by_topic.get(topic, {}))

    def delete_schema(self, name: str) -> None:
        """Remove a schema; the topics that used it take no more messages. Raises NotFound."""
        with self.context.store.transaction():
            self.schemas.delete(name)
            self.policies.delete(name)
            self._topics.schema_deleted(name)

    def publish(self, topic: str, messages: Sequence[PublishedMessage]) -> list[str]:
        """Store the messages for every subscription whose filter they match; their ids.

        Raises:
            NotFound: there is no such topic.
            InvalidArgument: a limit is broken.
        """
        name = full_name(self.context.project, "topics", topic)
        settings = self.topic(name).schema_settings
        checks.check_messages(messages)
        if settings.schema:
            messages = self.schemas.checked(settings, messages)
        return self._publish(name, messages)

    def relay(self, topic: str, subscription: str) -> None:
        """Have what is published to `topic` reach this subscription of it alone; the others live of `hand_on`."""
        self._relays[full_name(self.context.project, "topics", topic)] = full_name(
            self.context.project, "subscriptions", subscription
        )

    def hand_on(self, subscription: str, messages: Sequence[PublishedMessage]) -> None:
        """Store messages that were published elsewhere, for one subscription. Raises NotFound."""
        target = self.subscription(full_name(self.context.project, "subscriptions", subscription))
        self._intake.accept([target], messages)

    def _publish(self, name: str, messages: Sequence[PublishedMessage]) -> list[str]:
        subscriptions = self._by_topic.get(name, {})
        relay = self._relays.get(name)
        targets = subscriptions.values() if relay is None else [subscriptions[relay]]
        with self.context.store.transaction():
            rows = self._intake.accept(targets, messages)
            for row in rows:
                self._topics.keep(name, row)
                self.snapshots.hold(name, row)
        ids = [str(row.id) for row in rows]
        self.context.activity.emit("pubsub", short_name(name), "published", "messages: %d", len(ids), ref=ids[-1])
        return ids

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
        self._complete(wanted)
        self._check_topics(wanted)
        existing = self._subscriptions.get(wanted.name)
        if existing is None:
            self.insert_subscription(wanted)
        elif any(getattr(existing.resource, name) != getattr(wanted, name) for name in _SETTLED_FIELDS):
            log.warning("%s is replaced: topic, filter or ordering changed, or it was detached", wanted.name)
            with self.context.store.transaction():
                self.delete_subscription(wanted.name)
                self.insert_subscription(wanted)
        elif existing.resource != wanted:
            self._replace(existing, wanted)
        return str(wanted.name)

    def insert_subscription(self, resource: Any) -> Any:
        """Create a subscription. Raises InvalidArgument, AlreadyExists, NotFound, ResourceExhausted, Unimplemented."""
        self._complete(resource)
        if resource.name in self._subscriptions:
            raise AlreadyExists(f"Resource already exists in the project (resource={short_name(resource.name)}).")
        checks.check_room("subscriptions", resource.name, self._subscriptions)
        self._check_topics(resource)
        resource.detached = False
        self.context.store.put(SUBSCRIPTIONS, resource.name, resource.SerializeToString())
        self._run(self._open(resource))
        self.context.activity.emit("pubsub", short_name(resource.name), "subscription created")
        return resource

    def subscription(self, name: str) -> Subscription:
        """A subscription by full name. Raises NotFound."""
        try:
            return self._subscriptions[name]
        except KeyError:
            raise NotFound(f"Resource not found (resource={short_name(name)}).") from None

    def subscriptions(self, project: str) -> list[Any]:
        """The resources of all subscriptions of `projects/<id>` by name."""
        return [
            self._subscriptions[name].resource for name in sorted(self._subscriptions) if name.startswith(f"{project}/")
        ]

    def update_subscription(self, resource: Any, paths: Sequence[str]) -> Any:
        """Change the fields named by an update mask. Raises NotFound, InvalidArgument, Unimplemented."""
        subscription = self.subscription(resource.name)
        changed = merged(subscription.resource, resource, paths, fixed=_FIXED_FIELDS)
        self._complete(changed)
        self._check_dead_letter(changed)
        subscription.touch()
        self._replace(subscription, changed)
        return changed

    def delete_subscription(self, name: str) -> None:
        """Remove a subscription and its backlog. Raises NotFound."""
        subscription = self.subscription(name)
        with self.context.store.transaction():
            self.context.store.delete(SUBSCRIPTIONS, name)
            self.policies.delete(name)
            subscription.close()
        self.pushers.stop(name)
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
        self.pushers.stop(name)
        self._by_topic.get(subscription.resource.topic, {}).pop(name, None)

    def pullable(self, name: str) -> Subscription:
        """A subscription to pull from. Raises NotFound; FailedPrecondition when it pushes or is detached."""
        subscription = self._attached(name)
        if subscription.is_push:
            raise FailedPrecondition(f"subscription {shown(name)} is a push subscription")
        return subscription

    def seek(self, name: str, moment: float) -> None:
        """Acknowledge what was published before that moment (epoch seconds), and nothing published after it.

        What was acknowledged comes back as far as the subscription or its topic kept it.

        Raises:
            NotFound; FailedPrecondition when it is detached.
        """
        subscription = self._attached(name)
        subscription.seek(moment, self._topics.kept(subscription.resource.topic))
        self.context.activity.emit("pubsub", short_name(name), "sought")

    def create_snapshot(self, name: str, subscription: str, labels: dict[str, str]) -> Any:
        """Hold what a subscription has to acknowledge; an empty name is chosen. Raises as `Snapshots.create`."""
        source = self._attached(subscription)
        self._intake.admit()
        name = (
            name
            or f"{subscription.rpartition('/subscriptions/')[0]}/snapshots/snapshot-{self._intake.last_message + 1}"
        )
        return self.snapshots.create(name, source, labels)

    def seek_to_snapshot(self, name: str, snapshot: str) -> None:
        """Acknowledge all but what a snapshot of the same topic holds.

        Raises:
            NotFound; FailedPrecondition when it is detached; InvalidArgument for a snapshot of another topic.
        """
        subscription = self._attached(name)
        topic = self.snapshots.get(snapshot).topic
        if topic != subscription.resource.topic:
            raise InvalidArgument(f"snapshot {shown(snapshot)} is of {topic}, not of {subscription.resource.topic}")
        self._intake.admit()
        subscription.seek_to(self.snapshots.rows(snapshot))
        self.context.activity.emit("pubsub", short_name(name), "sought", "to %s", short_name(snapshot))

    def _attached(self, name: str) -> Subscription:
        subscription = self.subscription(name)
        if subscription.closed:
            raise FailedPrecondition(f"subscription {shown(name)} is detached")
        return subscription

    def set_encoder(self, subscription: str, encoder: Encoder, fault_point: tuple[str, str]) -> None:
        """Have a push subscription (it need not exist yet) send other requests and take its faults elsewhere."""
        name = full_name(self.context.project, "subscriptions", subscription)
        self.pushers.set_encoder(name, encoder)
        self._fault_points[name] = fault_point
        if name in self._subscriptions:
            self._subscriptions[name].fault_point = fault_point

    # Looking in

    def backlog(self, subscription: str) -> int:
        """How many messages are not acknowledged. Raises NotFound."""
        target = self.subscription(full_name(self.context.project, "subscriptions", subscription))
        return len(target.backlog) + self._intake.on_the_way(target)

    def is_idle(self) -> bool:
        """Is nothing on its way? Push subscriptions are empty and no pulled message is leased."""
        return not self._intake.on_the_way() and not any(
            len(each.backlog) if each.is_push else each.queue.leased for each in self._subscriptions.values()
        )

    # How it is kept

    def _open(self, resource: Any) -> Subscription:
        fault_point = self._fault_points.get(resource.name, (FAULT_POINT, short_name(resource.name)))
        subscription = Subscription(self.context, resource, fault_point, self._surroundings)
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

    def _replace(self, subscription: Subscription, resource: Any) -> None:
        """Give a subscription other settings; pushes that are open are broken off when it is about them."""
        pushes_differently = subscription.resource.push_config != resource.push_config
        subscription.reconfigure(resource)
        self._save(subscription)
        if pushes_differently:
            self.pushers.stop(resource.name)
            self._run(subscription)
        subscription.notify()

    def _save(self, subscription: Subscription) -> None:
        self.context.store.put(SUBSCRIPTIONS, subscription.name, subscription.resource.SerializeToString())

    def _complete(self, resource: Any) -> None:
        """Fill in the defaults of a subscription, and what its topic says. Raises InvalidArgument, Unimplemented."""
        checks.complete_subscription(resource)
        resource.ClearField("topic_message_retention_duration")
        if resource.topic in self._topics:
            topic = self.topic(resource.topic)
            if topic.HasField("message_retention_duration"):
                resource.topic_message_retention_duration.CopyFrom(topic.message_retention_duration)

    def _check_topics(self, resource: Any) -> None:
        self.topic(resource.topic)
        self._check_dead_letter(resource)

    def _check_dead_letter(self, resource: Any) -> None:
        if resource.HasField("dead_letter_policy"):
            self.topic(resource.dead_letter_policy.dead_letter_topic)

    def _check_schema(self, topic: Any) -> None:
        settings = topic.schema_settings
        if topic.HasField("schema_settings"):
            for revision_id in ("", settings.first_revision_id, settings.last_revision_id):
                self.schemas.get(f"{settings.schema}@{revision_id}")

    def _expired(self, subscription: Subscription) -> None:
        self.delete_subscription(subscription.name)

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
