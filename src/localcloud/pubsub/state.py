"""Which subscriptions are there, and where does a published message go?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from localcloud.context import Context
from localcloud.pubsub import checks
from localcloud.pubsub.errors import FailedPrecondition, InvalidArgument, shown
from localcloud.pubsub.iam import Policies
from localcloud.pubsub.intake import COUNTERS, Intake
from localcloud.pubsub.masks import merged
from localcloud.pubsub.push import Encoder
from localcloud.pubsub.queue import Entry
from localcloud.pubsub.resources import PublishedMessage, SubscriptionSpec, full_name, message_type, short_name
from localcloud.pubsub.schemas import Schemas
from localcloud.pubsub.snapshots import Snapshots
from localcloud.pubsub.subscription import Subscription, Surroundings
from localcloud.pubsub.subscriptions import Subscriptions
from localcloud.pubsub.topics import Topics

STARTS = "starts"
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
        self._intake = Intake(context)
        starts = int(context.store.get(COUNTERS, STARTS) or 0) + 1
        context.store.put(COUNTERS, STARTS, str(starts).encode())
        surroundings = Surroundings(self._dead_letter, self._expired, starts * _SERIALS_PER_START)
        self._subscriptions = Subscriptions(context, surroundings)
        self.pushers = self._subscriptions.pushers

    async def start(self) -> None:
        """Begin to deliver, also what an earlier process left."""
        self._intake.start()
        self._subscriptions.start()

    async def stop(self) -> None:
        """Stop delivering. Open requests are broken off, and their messages delivered again after the next start."""
        self._intake.stop()
        await self._subscriptions.stop()

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
            for subscription in self._subscriptions.of_topic(changed.name):
                self._complete(subscription.resource)
                self._subscriptions.replace(subscription.resource)
        return changed

    def delete_topic(self, name: str) -> None:
        """Remove a topic; its subscriptions and snapshots keep their messages and belong to `_deleted-topic_`."""
        with self.context.store.transaction():
            self._topics.delete(name)
            self.policies.delete(name)
            self.snapshots.topic_deleted(name)
            self._subscriptions.topic_deleted(name)

    def subscriptions_of(self, topic: str) -> list[str]:
        """The names of a topic's subscriptions. Raises NotFound."""
        self.topic(topic)
        return sorted(each.name for each in self._subscriptions.of_topic(topic))

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
        project = self.context.project
        self._subscriptions.relay(
            full_name(project, "topics", topic), full_name(project, "subscriptions", subscription)
        )

    def hand_on(self, subscription: str, messages: Sequence[PublishedMessage]) -> None:
        """Store messages that were published elsewhere, for one subscription. Raises NotFound."""
        target = self.subscription(full_name(self.context.project, "subscriptions", subscription))
        with self.context.store.transaction():
            self._intake.accept([target], messages)

    def _publish(self, name: str, messages: Sequence[PublishedMessage]) -> list[str]:
        with self.context.store.transaction():
            rows = self._intake.accept(self._subscriptions.targets(name), messages)
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
        if wanted.name not in self._subscriptions:
            self.insert_subscription(wanted)
            return str(wanted.name)
        existing = self.subscription(wanted.name).resource
        if any(getattr(existing, name) != getattr(wanted, name) for name in _SETTLED_FIELDS):
            log.warning("%s is replaced: topic, filter or ordering changed, or it was detached", wanted.name)
            with self.context.store.transaction():
                self.delete_subscription(wanted.name)
                self.insert_subscription(wanted)
        elif existing != wanted:
            self._subscriptions.replace(wanted)
        return str(wanted.name)

    def insert_subscription(self, resource: Any) -> Any:
        """Create a subscription. Raises InvalidArgument, AlreadyExists, NotFound, ResourceExhausted, Unimplemented."""
        self._complete(resource)
        self._subscriptions.check_new(resource.name)
        self._check_topics(resource)
        resource.detached = False
        self._subscriptions.insert(resource)
        return resource

    def subscription(self, name: str) -> Subscription:
        """A subscription by full name. Raises NotFound."""
        return self._subscriptions.get(name)

    def subscriptions(self, project: str) -> list[Any]:
        """The resources of all subscriptions of `projects/<id>` by name."""
        return self._subscriptions.below(project)

    def update_subscription(self, resource: Any, paths: Sequence[str]) -> Any:
        """Change the fields named by an update mask. Raises NotFound, InvalidArgument, Unimplemented."""
        subscription = self.subscription(resource.name)
        changed = merged(subscription.resource, resource, paths, fixed=_FIXED_FIELDS)
        self._complete(changed)
        self._check_dead_letter(changed)
        subscription.touch()
        self._subscriptions.replace(changed)
        return changed

    def delete_subscription(self, name: str) -> None:
        """Remove a subscription and its backlog. Raises NotFound."""
        with self.context.store.transaction():
            self._subscriptions.delete(name)
            self.policies.delete(name)

    def detach(self, name: str) -> None:
        """Cut a subscription from its topic; its backlog is dropped. Raises NotFound."""
        self._subscriptions.detach(name)

    def pullable(self, name: str) -> Subscription:
        """A subscription to pull from. Raises NotFound; FailedPrecondition when it pushes or is detached."""
        subscription = self._subscriptions.attached(name)
        if subscription.is_push:
            raise FailedPrecondition(f"subscription {shown(name)} is a push subscription")
        return subscription

    def seek(self, name: str, moment: float) -> None:
        """Acknowledge what was published before that moment (epoch seconds), and nothing published after it.

        What was acknowledged comes back as far as the subscription or its topic kept it.

        Raises:
            NotFound; FailedPrecondition when it is detached.
        """
        subscription = self._subscriptions.attached(name)
        subscription.seek(moment, self._topics.kept(subscription.resource.topic))
        self.context.activity.emit("pubsub", short_name(name), "sought")

    def create_snapshot(self, name: str, subscription: str, labels: dict[str, str]) -> Any:
        """Hold what a subscription has to acknowledge; an empty name is chosen. Raises as `Snapshots.create`."""
        source = self._subscriptions.attached(subscription)
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
        subscription = self._subscriptions.attached(name)
        topic = self.snapshots.get(snapshot).topic
        if topic != subscription.resource.topic:
            raise InvalidArgument(f"snapshot {shown(snapshot)} is of {topic}, not of {subscription.resource.topic}")
        self._intake.admit()
        subscription.seek_to(self.snapshots.rows(snapshot))
        self.context.activity.emit("pubsub", short_name(name), "sought", "to %s", short_name(snapshot))

    def set_encoder(self, subscription: str, encoder: Encoder, fault_point: tuple[str, str]) -> None:
        """Have a push subscription (it need not exist yet) send other requests and take its faults elsewhere."""
        name = full_name(self.context.project, "subscriptions", subscription)
        self._subscriptions.set_encoder(name, encoder, fault_point)

    # Looking in

    def backlog(self, subscription: str) -> int:
        """How many messages are not acknowledged. Raises NotFound."""
        target = self.subscription(full_name(self.context.project, "subscriptions", subscription))
        return len(target.backlog) + self._intake.on_the_way(target)

    def is_idle(self) -> bool:
        """Is nothing on its way? Push subscriptions are empty and no pulled message is leased."""
        return not self._intake.on_the_way() and not any(
            len(each.backlog) if each.is_push else each.queue.leased for each in self._subscriptions
        )

    # What is asked of its parts

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
