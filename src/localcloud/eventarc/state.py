"""Which trigger takes an event, and what does its service get?

https://cloud.google.com/eventarc/docs/event-driven-architectures, https://cloud.google.com/eventarc/docs/retry-events
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from localcloud.context import Context
from localcloud.eventarc import events
from localcloud.eventarc.errors import InvalidTrigger, TriggerNotFound
from localcloud.pubsub.errors import NotFound, shown
from localcloud.pubsub.push import Encoder
from localcloud.pubsub.resources import BACKOFF_S as BACKOFF_LIMITS_S
from localcloud.pubsub.resources import (
    DELIVERY_ATTEMPTS,
    PublishedMessage,
    SubscriptionSpec,
    full_name,
)
from localcloud.pubsub.resources import RETENTION_S as RETENTION_LIMITS_S
from localcloud.pubsub.state import PubSub

TRIGGERS = "eventarc.triggers"
FAULT_POINT = "eventarc.events.deliver"
# A trigger's subscription: https://cloud.google.com/eventarc/docs/retry-events
ACK_DEADLINE_S = 600
RETENTION_S = 86_400

log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Trigger:
    """Events of `event_type` that match all `filters` are POSTed to `path` of a Cloud Run service.

    `filters` is {"bucket": name} for storage events and {"topic": short name} for Pub/Sub messages. The call is made by
    `service_account` (short name). After `max_attempts` (5 to 100) an event goes to `<name>-dead-letter`.
    """

    name: str
    event_type: str
    filters: Mapping[str, str] = field(default_factory=dict)
    service: str = ""
    path: str = "/"
    service_account: str = "eventarc"
    max_attempts: int = 20
    backoff_s: tuple[float, float] = (10.0, 600.0)  # shortest and longest wait between attempts

    @property
    def is_storage(self) -> bool:
        """Does it take events of a bucket?"""
        return self.event_type in events.STORAGE_TYPES

    @property
    def dead_letter(self) -> str:
        """Short name of the topic, and of its subscription, where events end that no attempt got through."""
        return f"{self.name}-dead-letter"


class Eventarc:
    """The triggers of one location. Make it before Pub/Sub is started: it says how their events are sent."""

    def __init__(self, context: Context, pubsub: PubSub) -> None:
        """Load the triggers that the store holds."""
        self.context = context
        self._pubsub = pubsub
        self._triggers: dict[str, Trigger] = {}
        for _, row in context.store.items(TRIGGERS):
            trigger = msgspec.json.decode(row, type=Trigger)
            self._keep(trigger)
            self._readdress(trigger)

    async def start(self) -> None:
        """Nothing to do: events travel with Pub/Sub."""

    async def stop(self) -> None:
        """Nothing to do: events travel with Pub/Sub."""

    def create_trigger(self, trigger: Trigger) -> str:
        """Make sure there is a trigger like this one, with its topics and subscriptions; its full name.

        Raises:
            InvalidTrigger: naming the field that is wrong.
            localcloud.pubsub.errors.NotFound: the topic of a Pub/Sub trigger does not exist.
        """
        _check(trigger)
        if not trigger.is_storage:
            self._pubsub.topic(full_name(self.context.project, "topics", self.topic(trigger)))
        with self.context.store.transaction():
            self.context.store.put(TRIGGERS, trigger.name, msgspec.json.encode(trigger))
            self._keep(trigger)
            self._pubsub.create_topic(trigger.dead_letter)
            self._pubsub.create_subscription(
                SubscriptionSpec(trigger.dead_letter, trigger.dead_letter, retention_s=RETENTION_LIMITS_S[1])
            )
            if trigger.is_storage:
                self._pubsub.create_topic(self.topic(trigger))
            self._pubsub.create_subscription(self._subscription_spec(trigger))
        return self.full_name(trigger)

    def delete_trigger(self, name: str) -> None:
        """Remove a trigger and what it had not delivered; its dead letters stay. Raises TriggerNotFound."""
        trigger = self.trigger(name)
        project = self.context.project
        with self.context.store.transaction():
            self.context.store.delete(TRIGGERS, name)
            with contextlib.suppress(NotFound):  # somebody removed it through Pub/Sub
                self._pubsub.delete_subscription(full_name(project, "subscriptions", self.subscription(trigger)))
            if trigger.is_storage:
                with contextlib.suppress(NotFound):
                    self._pubsub.delete_topic(full_name(project, "topics", self.topic(trigger)))
        del self._triggers[name]

    def triggers(self) -> list[Trigger]:
        """All triggers by name."""
        return [self._triggers[name] for name in sorted(self._triggers)]

    def trigger(self, name: str) -> Trigger:
        """A trigger by short name. Raises TriggerNotFound."""
        try:
            return self._triggers[name]
        except KeyError:
            raise TriggerNotFound(f"there is no trigger {shown(name)}") from None

    def full_name(self, trigger: Trigger) -> str:
        """`projects/<project>/locations/<location>/triggers/<name>`."""
        return f"projects/{self.context.project}/locations/{self.context.location}/triggers/{trigger.name}"

    def topic(self, trigger: Trigger) -> str:
        """Short name of the topic that a trigger listens to."""
        if trigger.is_storage:
            return f"eventarc-{self.context.location}-{trigger.name}"
        return trigger.filters["topic"]

    def subscription(self, trigger: Trigger) -> str:
        """Short name of the subscription that pushes to the trigger's service."""
        return f"eventarc-{self.context.location}-{trigger.name}-sub"

    def storage_event(self, event_type: str, resource: Mapping[str, Any]) -> None:
        """Something happened to an object: persist it for every trigger that takes it.

        `event_type` is a CloudEvents type (`google.cloud.storage.object.v1.finalized`), `resource` the object's JSON
        resource. In an open transaction of the store it is stored, or not, with whatever else that writes.
        """
        for trigger in self._triggers.values():
            if trigger.event_type == event_type and trigger.filters["bucket"] == resource["bucket"]:
                self._pubsub.publish(self.topic(trigger), [_notification(event_type, resource)])

    def _keep(self, trigger: Trigger) -> None:
        self._triggers[trigger.name] = trigger
        self._pubsub.set_encoder(self.subscription(trigger), self._encoder(trigger), (FAULT_POINT, trigger.name))

    def _readdress(self, trigger: Trigger) -> None:
        """The services may have moved since the last process."""
        wanted = self._subscription_spec(trigger).resource(self.context.project)
        try:
            self._pubsub.update_subscription(wanted, ["push_config"])
        except NotFound as error:
            log.error("trigger %s has lost its transport; deploy it again: %s", trigger.name, error)

    def _encoder(self, trigger: Trigger) -> Encoder:
        if trigger.is_storage:
            return lambda resource, delivery: events.storage_request(resource, delivery.message)
        topic = full_name(self.context.project, "topics", self.topic(trigger))
        return lambda resource, delivery: events.pubsub_request(resource, delivery.message, topic)

    def _subscription_spec(self, trigger: Trigger) -> SubscriptionSpec:
        service_url = self.context.service_url(trigger.service)
        return SubscriptionSpec(
            name=self.subscription(trigger),
            topic=self.topic(trigger),
            ack_deadline_s=ACK_DEADLINE_S,
            push_endpoint=service_url + trigger.path,
            push_service_account=self.context.service_account(trigger.service_account),
            push_audience=service_url,
            dead_letter_topic=trigger.dead_letter,
            max_delivery_attempts=trigger.max_attempts,
            backoff_s=trigger.backoff_s,
            retention_s=RETENTION_S,
        )


def _notification(event_type: str, resource: Mapping[str, Any]) -> PublishedMessage:
    """https://cloud.google.com/storage/docs/pubsub-notifications#format"""
    attributes = {
        "bucketId": str(resource["bucket"]),
        "objectId": str(resource["name"]),
        "objectGeneration": str(resource.get("generation", "")),
        "eventType": events.STORAGE_TYPES[event_type],
        "payloadFormat": "JSON_API_V1",
    }
    return PublishedMessage(json.dumps(resource, ensure_ascii=False).encode(), attributes)


def _check(trigger: Trigger) -> None:
    if not _NAME.fullmatch(trigger.name):
        raise InvalidTrigger(f"name is {shown(trigger.name)}; expected up to 63 of a-z 0-9 -, beginning with a letter")
    wanted = "bucket" if trigger.is_storage else "topic"
    if not trigger.is_storage and trigger.event_type != events.MESSAGE_PUBLISHED:
        known = ", ".join([*events.STORAGE_TYPES, events.MESSAGE_PUBLISHED])
        raise InvalidTrigger(f"event_type is {shown(trigger.event_type)}; expected one of {known}")
    if set(trigger.filters) != {wanted}:
        raise InvalidTrigger(
            f"filters has {shown(sorted(trigger.filters))}; {trigger.event_type} needs exactly {wanted}"
        )
    if not trigger.service:
        raise InvalidTrigger("service is empty; expected the name of a Cloud Run service")
    if not trigger.path.startswith("/"):
        raise InvalidTrigger(f"path is {shown(trigger.path)}; expected one that begins with /")
    low, high = DELIVERY_ATTEMPTS
    if not low <= trigger.max_attempts <= high:
        raise InvalidTrigger(f"max_attempts is {trigger.max_attempts}; expected {low} to {high}")
    shortest, longest = trigger.backoff_s
    if not BACKOFF_LIMITS_S[0] <= shortest <= longest <= BACKOFF_LIMITS_S[1]:
        raise InvalidTrigger(
            f"backoff_s is {shown(trigger.backoff_s)}; expected the shortest and the longest wait,"
            f" from {BACKOFF_LIMITS_S[0]} to {BACKOFF_LIMITS_S[1]} s"
        )
