"""What happens to the messages of one subscription between publish and acknowledgement?

Every unacknowledged message is a row (payload and all), so a restart goes on where the process died; the queue in
memory only knows numbers, times and sizes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from localcloud.activity import Level, Service
from localcloud.clock import Timer
from localcloud.context import Context
from localcloud.faults import Fault
from localcloud.pubsub import filters
from localcloud.pubsub.queue import EARLY_S, Entry, Queue, State
from localcloud.pubsub.resources import MessageResource, backoff_s, retention_s

MESSAGES, ATTEMPTS = "pubsub.messages", "pubsub.attempts"
# Where a push subscription has no retry policy. https://cloud.google.com/pubsub/docs/push#push_backoff
PUSH_BACKOFF_S = (0.1, 60.0)

_MAX_ACK_ID = 64  # ours are shorter

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Delivery:
    """One message on its way to a subscriber."""

    message: Any  # PubsubMessage
    ack_id: str
    attempt: int  # 0 without a dead-letter policy
    size: int
    response_lost: bool = False  # an injected fault: whatever the subscriber answers does not arrive


class Subscription:
    """The backlog of one subscription: persisted, leased by the clock, dead-lettered."""

    def __init__(
        self,
        context: Context,
        resource: Any,
        fault_point: tuple[str, str],
        dead_letter: Callable[[Subscription, Entry, Any], bool],
    ) -> None:
        """`dead_letter(subscription, entry, message)` publishes to the dead-letter topic, or says it cannot."""
        self.reconfigure(resource)
        self.fault_point = fault_point
        self.matches = filters.parse(resource.filter)
        self.queue = Queue()
        self.closed = False
        self.listeners: set[Callable[[], None]] = set()  # told when there may be something to lease
        self._context = context
        self._dead_letter = dead_letter
        self._running = False
        self._alarm: Timer | None = None
        self._load()

    def reconfigure(self, resource: Any) -> None:
        """Take over other settings; name, filter and ordering are the same."""
        self.resource = resource
        self.name = str(resource.name)
        self.has_dead_letter = bool(resource.HasField("dead_letter_policy"))
        self.is_push = bool(resource.push_config.push_endpoint)
        self._retention_s = retention_s(resource)

    def start(self) -> None:
        """Begin to keep time; needs a running event loop."""
        self._running = True
        self._tick()

    def stop(self) -> None:
        """Stop keeping time; rows stay."""
        self._running = False
        if self._alarm is not None:
            self._alarm.cancel()

    def close(self) -> None:
        """The subscription is deleted or detached: drop its backlog and let go of its subscribers."""
        self.stop()
        self.closed = True
        self.purge(float("inf"))
        self.notify()

    def store(self, id_: int, message: Any) -> None:
        """Persist a message in the transaction that is open; `admit` makes it deliverable."""
        self._context.store.put(MESSAGES, self._key(id_), message.SerializeToString())

    def admit(self, id_: int) -> bool:
        """Make a stored message deliverable; False when the transaction that stored it was rolled back."""
        row = self._context.store.get(MESSAGES, self._key(id_))
        if row is None:
            return False
        self.queue.add(self._entry(id_, MessageResource.FromString(row), len(row)))
        return True

    def notify(self) -> None:
        """Tell the listeners that something changed, and set the alarm."""
        self._set_alarm()
        for listener in tuple(self.listeners):
            listener()

    def take(
        self,
        limit: int,
        *,
        lease_s: float | None = None,
        max_bytes: float = float("inf"),
        on_end: Callable[[bool], None] | None = None,
    ) -> list[Delivery]:
        """Lease up to `limit` messages of `max_bytes` together (at least one, if one fits), faults applied.

        `on_end(ran_out)` is called when the lease of one of them ends.
        """
        deliveries: list[Delivery] = []
        seconds = lease_s or self.resource.ack_deadline_seconds
        while len(deliveries) < limit:
            entry = self.queue.lease(self._context.clock.time(), seconds, max_bytes)
            if entry is None:
                break
            fault = self._context.faults.take(*self.fault_point)
            self._say("delivered", "attempt %d", entry.attempts, ref=str(entry.id))
            for delivery in self._deliver(entry, fault):
                entry.on_end = on_end
                deliveries.append(delivery)
                max_bytes -= entry.size
        self._set_alarm()
        return deliveries

    def batch(self) -> AbstractContextManager[None]:
        """Several calls of `take` cost less inside."""
        return self._context.store.transaction()

    def acknowledge(self, ack_ids: Iterable[str]) -> None:
        """Messages are done with. A late acknowledgement counts until the message is leased again.

        Unknown ack ids are ignored, as the service does without exactly-once delivery.
        """
        with self._context.store.transaction():
            for ack_id in ack_ids:
                entry = self._leased_as(ack_id)
                if entry is not None:
                    self._remove(entry)
                    self._say("acknowledged", ref=str(entry.id))
        self.notify()

    def extend(self, ack_ids: Iterable[str], seconds: float) -> None:
        """Let the leases end `seconds` from now; 0 gives the messages back at once (a nack)."""
        for ack_id in ack_ids:
            entry = self._leased_as(ack_id)
            if entry is None or entry.state is not State.LEASED:
                continue
            if seconds > 0:
                self.queue.extend(entry, self._context.clock.time(), seconds)
            else:
                self._fail(entry)
        self.notify()

    def peek(self, limit: int) -> list[tuple[Entry, Any]]:
        """The first `limit` messages and where they stand, without leasing them."""
        return [(entry, self._message(entry)) for entry in self.queue.head(limit)]

    def message(self, id_: int) -> Any:
        """A message that is not acknowledged, or None."""
        entry = self.queue.find(id_)
        return None if entry is None else self._message(entry)

    def withdraw(self, id_: int) -> None:
        """Take a message out, leased or not; one that is not there is no error."""
        entry = self.queue.find(id_)
        if entry is not None:
            self._remove(entry)
            self.notify()

    def purge(self, before: float) -> None:
        """Acknowledge everything published before that moment (seconds since the epoch)."""
        with self._context.store.transaction():
            for entry in self.queue.entries():
                if entry.published < before:
                    self._remove(entry, expired=True)

    def _deliver(self, entry: Entry, fault: Fault | None) -> list[Delivery]:
        """What reaches the subscriber of a message just leased."""
        if fault is not None and fault.action == "delay":
            entry.attempts -= 1
            self.queue.release(entry, self._context.clock.time(), fault.delay_s)
            return []
        if self.has_dead_letter:
            self._context.store.put(ATTEMPTS, self._key(entry.id), str(entry.attempts).encode())
        message = self._message(entry)
        ack_id = f"{entry.id}-{entry.serial}"
        attempt = entry.attempts if self.has_dead_letter else 0
        delivery = Delivery(message, ack_id, attempt, entry.size)
        match fault.action if fault is not None else None:
            case "fail":
                self._fail(entry)
                return []
            case "drop":
                return []
            case "duplicate":
                return [delivery, Delivery(message, f"{ack_id}-2", attempt, entry.size)]
            case "fail_after":
                delivery.response_lost = True
        return [delivery]

    def _fail(self, entry: Entry, *, expired: bool = False) -> None:
        """A delivery was refused or not answered: again after the backoff, or to the dead-letter topic."""
        policy = self.resource.dead_letter_policy
        if self.has_dead_letter and entry.attempts >= policy.max_delivery_attempts:
            with self._context.store.transaction():
                if self._dead_letter(self, entry, self._message(entry)):
                    log.warning(
                        "%s: message %d went to %s after %d attempts",
                        self.name, entry.id, policy.dead_letter_topic, entry.attempts,
                    )  # fmt: skip
                    self._remove(entry, expired=expired)
                    self._say("dead-lettered", "after %d attempts", entry.attempts, level="error", ref=str(entry.id))
                    return
        reason = "not acknowledged in time" if expired else "refused"
        self._say(reason, "attempt %d", entry.attempts, level="warning", ref=str(entry.id))
        self.queue.release(entry, self._context.clock.time(), self._backoff(entry.attempts), expired=expired)

    def _backoff(self, attempts: int) -> float:
        """Seconds until a message is delivered again after so many attempts."""
        bounds = backoff_s(self.resource) or (PUSH_BACKOFF_S if self.is_push else (0.0, 0.0))
        return min(bounds[1], bounds[0] * 2.0 ** min(attempts - 1, 64))

    def _remove(self, entry: Entry, *, expired: bool = False) -> None:
        key = self._key(entry.id)
        self._context.store.delete(MESSAGES, key)
        if self.has_dead_letter:
            self._context.store.delete(ATTEMPTS, key)
        self.queue.remove(entry, expired=expired)

    def _tick(self) -> None:
        now = self._context.clock.time()
        for entry in self.queue.tick(now):
            self._fail(entry, expired=True)
        self._purge_expired(now)
        self.notify()

    def _purge_expired(self, now: float) -> None:
        oldest = self.queue.oldest()
        if oldest is not None and oldest.published + self._retention_s <= now:
            log.warning("%s: messages older than the retention time are dropped", self.name)
            self.purge(now - self._retention_s + EARLY_S)

    def _set_alarm(self) -> None:
        """Wake up for the next thing that comes due: a lease, a backoff, or the end of the retention."""
        oldest = self.queue.oldest()
        if not self._running or oldest is None:
            return
        end = oldest.published + self._retention_s
        due = self.queue.next_due()
        when = end if due is None else min(due, end)
        if self._alarm is not None and self._alarm.is_pending:
            if self._alarm.when <= when:
                return
            self._alarm.cancel()
        clock = self._context.clock
        self._alarm = clock.call_later(when - clock.time() - EARLY_S, self._tick)

    def _leased_as(self, ack_id: str) -> Entry | None:
        """The message whose latest lease has this ack id."""
        number, _, serial = ack_id[:_MAX_ACK_ID].partition("-")
        entry = self.queue.find(int(number)) if number.isascii() and number.isdecimal() else None
        return entry if entry is not None and str(entry.serial) == serial.partition("-")[0] else None

    def _message(self, entry: Entry) -> Any:
        row = self._context.store.get(MESSAGES, self._key(entry.id))
        return MessageResource.FromString(row)

    def _load(self) -> None:
        prefix = f"{self.name}/"
        for key, row in self._context.store.items(MESSAGES, prefix=prefix):
            self.queue.add(self._entry(int(key.removeprefix(prefix)), MessageResource.FromString(row), len(row)))
        for key, row in self._context.store.items(ATTEMPTS, prefix=prefix):
            entry = self.queue.find(int(key.removeprefix(prefix)))
            if entry is not None:
                entry.attempts = int(row)

    def _entry(self, id_: int, message: Any, size: int) -> Entry:
        key = message.ordering_key if self.resource.enable_message_ordering else ""
        return Entry(id_, size, message.publish_time.ToNanoseconds() / 1e9, key)

    def _say(self, action: str, detail: str = "", *values: object, level: Level = "info", ref: str) -> None:
        """Note it as what the deliveries are called: those of a trigger are Eventarc's."""
        call, resource = self.fault_point
        service: Service = "eventarc" if call.startswith("eventarc.") else "pubsub"
        self._context.activity.emit(service, resource, action, detail, *values, level=level, ref=ref)

    def _key(self, id_: int) -> str:
        return f"{self.name}/{id_:020d}"
