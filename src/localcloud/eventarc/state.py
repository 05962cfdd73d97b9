"""Which trigger takes an event, and what does its service get?

https://cloud.google.com/eventarc/docs/event-driven-architectures, https://cloud.google.com/eventarc/docs/retry-events
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from localcloud.context import Context
from localcloud.eventarc import events
from localcloud.eventarc.errors import InvalidTrigger, TriggerNotFound
from localcloud.pubsub.deliveries import Delivery
from localcloud.pubsub.errors import NotFound, shown
from localcloud.pubsub.push import Encoder, PushRequest
from localcloud.pubsub.resources import BACKOFF_S as BACKOFF_LIMITS_S
from localcloud.pubsub.resources import (
    DELIVERY_ATTEMPTS,
    PublishedMessage,
    SubscriptionSpec,
    full_name,
)
from localcloud.pubsub.resources import RETENTION_S as RETENTION_LIMITS_S
from localcloud.pubsub.state import PubSub

TRIGGERS = "eventarc.trigger-records"
FAULT_POINT = "eventarc.events.deliver"
# A trigger's subscription: https://cloud.google.com/eventarc/docs/retry-events
ACK_DEADLINE_S = 600
RETENTION_S = 86_400

log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Trigger:
    """Events of `event_type` that match all `filters` are POSTed to `path` of a Cloud Run service, or start a workflow.

    `filters` is {"bucket": name} for storage events and {"topic": name} for Pub/Sub messages; without one, such a
    trigger has a topic of its own. The call is made by `service_account` (short name or email). After `max_attempts`
    (5 to 100) an event goes to `<name>-dead-letter`.
    """

    name: str
    event_type: str
    filters: Mapping[str, str] = field(default_factory=dict)
    service: str = ""
    path: str = "/"
    workflow: str = ""  # instead of a service; it gets the event as its argument
    service_account: str = "eventarc"
    max_attempts: int = 20
    backoff_s: tuple[float, float] = (10.0, 600.0)  # shortest and longest wait between attempts
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_storage(self) -> bool:
        """Does it take events of a bucket?"""
        return self.event_type in events.STORAGE_TYPES

    def changed_as(self, wanted: Trigger) -> Trigger:
        """`wanted` with the settings that the API doesn't know as they are."""
        return replace(wanted, max_attempts=self.max_attempts, backoff_s=self.backoff_s)

    @property
    def has_own_topic(self) -> bool:
        """Do its events travel by a topic that comes and goes with it?"""
        return "topic" not in self.filters

    @property
    def dead_letter(self) -> str:
        """Short name of the topic, and of its subscription, where events end that no attempt got through."""
        return f"{self.name}-dead-letter"


@dataclass(frozen=True)
class Record:
    """A trigger, and what is kept about it. Times are in ISO 8601."""

    trigger: Trigger
    uid: str
    created: str
    updated: str


class Eventarc:
    """The triggers of one location. Make it before Pub/Sub is started: it says how their events are sent."""

    def __init__(self, context: Context, pubsub: PubSub) -> None:
        """Load the triggers that the store holds."""
        self.context = context
        self._pubsub = pubsub
        self._records: dict[str, Record] = {}
        for _, row in context.store.items(TRIGGERS):
            record = msgspec.json.decode(row, type=Record)
            self._keep(record)
            self._readdress(record.trigger)

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
        self.check(trigger)
        with self.context.store.transaction():
            self._keep(self._recorded(trigger))
            self._pubsub.create_topic(trigger.dead_letter)
            self._pubsub.create_subscription(
                SubscriptionSpec(trigger.dead_letter, trigger.dead_letter, retention_s=RETENTION_LIMITS_S[1])
            )
            if trigger.has_own_topic:
                self._pubsub.create_topic(self.topic(trigger))
            self._pubsub.create_subscription(self._subscription_spec(trigger))
        return self.full_name(trigger)

    def check(self, trigger: Trigger) -> None:
        """Raises what `create_trigger` would."""
        _check(trigger)
        if not trigger.has_own_topic:
            self._pubsub.topic(full_name(self.context.project, "topics", self.topic(trigger)))

    def delete_trigger(self, name: str) -> None:
        """Remove a trigger and what it had not delivered; its dead letters stay. Raises TriggerNotFound."""
        trigger = self.trigger(name)
        project = self.context.project
        with self.context.store.transaction():
            self.context.store.delete(TRIGGERS, name)
            with contextlib.suppress(NotFound):  # somebody removed it through Pub/Sub
                self._pubsub.delete_subscription(full_name(project, "subscriptions", self.subscription(trigger)))
            if trigger.has_own_topic:
                with contextlib.suppress(NotFound):
                    self._pubsub.delete_topic(full_name(project, "topics", self.topic(trigger)))
        del self._records[name]
        self.context.activity.emit("eventarc", name, "trigger deleted")

    def triggers(self) -> list[Trigger]:
        """All triggers by name."""
        return [self._records[name].trigger for name in sorted(self._records)]

    def trigger(self, name: str) -> Trigger:
        """A trigger by short name. Raises TriggerNotFound."""
        return self.record(name).trigger

    def record(self, name: str) -> Record:
        """A trigger with what is kept about it. Raises TriggerNotFound."""
        try:
            return self._records[name]
        except KeyError:
            raise TriggerNotFound(f"there is no trigger {shown(name)}") from None

    def has_trigger(self, name: str) -> bool:
        """Is there a trigger of this short name?"""
        return name in self._records

    def full_name(self, trigger: Trigger) -> str:
        """`projects/<project>/locations/<location>/triggers/<name>`."""
        return f"projects/{self.context.project}/locations/{self.context.location}/triggers/{trigger.name}"

    def email(self, trigger: Trigger) -> str:
        """The email of the account that makes the calls."""
        account = trigger.service_account
        return account if "@" in account else self.context.service_account(account)

    def topic(self, trigger: Trigger) -> str:
        """Name of the topic that a trigger listens to, as the trigger gives it."""
        return trigger.filters.get("topic", f"eventarc-{self.context.location}-{trigger.name}")

    def subscription(self, trigger: Trigger) -> str:
        """Short name of the subscription that pushes to the trigger's service."""
        return f"eventarc-{self.context.location}-{trigger.name}-sub"

    def storage_event(self, event_type: str, resource: Mapping[str, Any]) -> None:
        """Something happened to an object: persist it for every trigger that takes it.

        `event_type` is a CloudEvents type (`google.cloud.storage.object.v1.finalized`), `resource` the object's JSON
        resource. In an open transaction of the store it is stored, or not, with whatever else that writes.
        """
        for trigger in self.triggers():
            if trigger.event_type == event_type and trigger.filters["bucket"] == resource["bucket"]:
                self._pubsub.publish(self.topic(trigger), [_notification(event_type, resource)])

    def _recorded(self, trigger: Trigger) -> Record:
        """Persist a trigger; deploying it again as it is leaves its record alone."""
        now = self.context.clock.now().isoformat()
        known = self._records.get(trigger.name)
        if known is None:
            record = Record(trigger, str(uuid.uuid4()), now, now)
        elif known.trigger == trigger:
            return known
        else:
            record = replace(known, trigger=trigger, updated=now)
        self.context.store.put(TRIGGERS, trigger.name, msgspec.json.encode(record))
        self.context.activity.emit("eventarc", trigger.name, "trigger saved")
        return record

    def _keep(self, record: Record) -> None:
        trigger = record.trigger
        self._records[trigger.name] = record
        self._pubsub.set_encoder(self.subscription(trigger), self._encoder(trigger), (FAULT_POINT, trigger.name))

    def _readdress(self, trigger: Trigger) -> None:
        """The services may have moved since the last process."""
        wanted = self._subscription_spec(trigger).resource(self.context.project)
        try:
            self._pubsub.update_subscription(wanted, ["push_config"])
        except NotFound as error:
            log.error("trigger %s has lost its transport; deploy it again: %s", trigger.name, error)

    def _encoder(self, trigger: Trigger) -> Encoder:
        topic = full_name(self.context.project, "topics", self.topic(trigger))
        request = events.workflow_request if trigger.workflow else events.http_request

        def encoder(resource: Any, delivery: Delivery) -> PushRequest:
            message = delivery.message
            event = events.of_storage(message) if trigger.is_storage else events.of_topic(resource.name, message, topic)
            return request(resource.push_config.push_endpoint, event)

        return encoder

    def _subscription_spec(self, trigger: Trigger) -> SubscriptionSpec:
        context = self.context
        if trigger.workflow:
            audience = f"{context.http_url}/v1/projects/{context.project}/locations/{context.location}"
            endpoint = f"{audience}/workflows/{trigger.workflow}/executions"
        else:
            audience = context.service_url(trigger.service)
            endpoint = audience + trigger.path
        return SubscriptionSpec(
            name=self.subscription(trigger),
            topic=self.topic(trigger),
            ack_deadline_s=ACK_DEADLINE_S,
            push_endpoint=endpoint,
            push_service_account=self.email(trigger),
            push_audience=audience,
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
    if not trigger.is_storage and trigger.event_type != events.MESSAGE_PUBLISHED:
        known = ", ".join([*events.STORAGE_TYPES, events.MESSAGE_PUBLISHED])
        raise InvalidTrigger(f"event_type is {shown(trigger.event_type)}; expected one of {known}")
    wanted = "bucket" if trigger.is_storage else "topic"
    if set(trigger.filters) != {wanted} and (trigger.is_storage or trigger.filters):
        raise InvalidTrigger(
            f"filters has {shown(sorted(trigger.filters))}; {trigger.event_type} takes {wanted} and no other"
        )
    if bool(trigger.service) == bool(trigger.workflow):
        raise InvalidTrigger(
            f"service is {shown(trigger.service)} and workflow is {shown(trigger.workflow)};"
            " expected the name of a Cloud Run service, or of a workflow"
        )
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
