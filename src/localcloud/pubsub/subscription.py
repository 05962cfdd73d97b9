"""What happens to the messages of one subscription between publish and acknowledgement?"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from localcloud.activity import Level, Service
from localcloud.clock import Timer
from localcloud.context import Context
from localcloud.faults import DELIVERY, Fault
from localcloud.pubsub import deliveries, filters
from localcloud.pubsub.backlog import Backlog
from localcloud.pubsub.deliveries import Delivery
from localcloud.pubsub.queue import EARLY_S, Entry, Queue, State
from localcloud.pubsub.resources import backoff_after_s, expires_after_s, message_type, retention_s
from localcloud.pubsub.retained import Retained, Row

ACTIVITY = "pubsub.activity"
_ACTIVITY_PRECISION_S = 60.0  # of what a restart knows about it; an expiration is at least a day
_REMEMBERED_ACKS = 10_000
REORDERED_S = 60.0  # until a message that is to come after the next one comes by itself

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a subscription asks of the whole."""

    dead_letter: Callable[[Subscription, Entry, Any], bool]  # publish a PubsubMessage there; False: there is no there
    expired: Callable[[Subscription], None]  # nobody used it for as long as its expiration policy says
    first_serial: int  # ack ids are above those of earlier processes


class Subscription:
    """The backlog of one subscription: persisted, leased by the clock, dead-lettered, replayed."""

    def __init__(
        self, context: Context, resource: Any, fault_point: tuple[str, str], surroundings: Surroundings
    ) -> None:
        self._context = context
        self._around = surroundings
        self.name = str(resource.name)
        self.fault_point = fault_point
        self.filter = filters.parse(resource.filter)
        self.closed = False
        self.listeners: set[Callable[[], None]] = set()  # told when there may be something to lease
        self.backlog = Backlog(
            context.store,
            self.name,
            ordered=resource.enable_message_ordering,
            one_per_key=bool(resource.push_config.push_endpoint),
            serial=surroundings.first_serial,
        )
        self._retained = Retained(context.store, self.name)
        self._overtaken: list[Entry] = []  # by order: they come after the next message
        self._acknowledged: OrderedDict[str, None] = OrderedDict()  # of an exactly-once subscription, the latest
        self._running = False
        self._alarm: Timer | None = None
        kept = context.store.get(ACTIVITY, self.name)
        self._active = self._saved_active = context.clock.time() if kept is None else float(kept)
        self.reconfigure(resource)

    @property
    def queue(self) -> Queue:
        """The messages that are out or next; `seek` puts another one in its place."""
        return self.backlog.queue

    def reconfigure(self, resource: Any) -> None:
        """Take over other settings; name, filter and ordering are the same."""
        self.resource = resource
        self.has_dead_letter = bool(resource.HasField("dead_letter_policy"))
        self.is_push = bool(resource.push_config.push_endpoint)
        self.is_exactly_once = bool(resource.enable_exactly_once_delivery)
        # A push endpoint gets one message of a key at a time: https://cloud.google.com/pubsub/docs/ordering
        self.queue.one_per_key = self.is_push
        self._retention_s = retention_s(resource)
        self._expires_after_s = expires_after_s(resource)
        if not resource.retain_acked_messages:
            self._retained.clear()

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
        self.backlog.clear()
        self._retained.clear()
        self._context.store.delete(ACTIVITY, self.name)
        self.notify()

    def touch(self) -> None:
        """Somebody uses the subscription: it does not expire."""
        self._active = self._context.clock.time()
        if self._active - self._saved_active >= _ACTIVITY_PRECISION_S:
            self._saved_active = self._active
            self._context.store.put(ACTIVITY, self.name, repr(self._active).encode())

    def notify(self) -> None:
        """Tell the listeners that something changed, and set the alarm."""
        self._set_alarm()
        self._tell()

    def _tell(self) -> None:
        for listener in tuple(self.listeners):
            listener()

    def take(
        self,
        limit: int,
        *,
        lease_s: float | None = None,
        max_bytes: float = float("inf"),
        on_end: Callable[[bool], None] | None = None,
        owner: object = None,
    ) -> list[Delivery]:
        """Lease up to `limit` messages of `max_bytes` together (at least one, if one fits), faults applied.

        `on_end(ran_out)` is called when the lease of one of them ends. `owner` is who asks: messages of one ordering
        key are out with one owner only.
        """
        if not self.is_push:
            self.touch()
        taken: list[Delivery] = []
        seconds = lease_s or self.resource.ack_deadline_seconds
        now = self._context.clock.time()
        while len(taken) < limit:
            entry = self.backlog.lease(now, seconds, max_bytes, owner)
            if entry is None:
                break
            fault = self._context.faults.take(*self.fault_point, DELIVERY)
            self._say("delivered", "attempt %d", entry.attempts, ref=str(entry.id))
            for delivery in self._deliver(entry, fault):
                entry.on_end = on_end
                taken.append(delivery)
                max_bytes -= entry.size
                self._overtake()
            if fault is not None:
                self._set_alarm()
        self._wake_by(now + seconds)
        return taken

    def batch(self) -> AbstractContextManager[None]:
        """Several calls of `take` cost less inside."""
        return self._context.store.transaction()

    def acknowledge(self, ack_ids: Sequence[str]) -> list[str]:
        """Messages are done with; the ack ids that are not valid, which have no effect.

        A late acknowledgement counts until the message is leased again, unless delivery is exactly-once. Raises
        InvalidArgument for one that is malformed, where the answer does not tell about each.
        """
        self._use(ack_ids)
        invalid, done = [], []
        with self._context.store.transaction():
            for ack_id in ack_ids:
                entry = self._leased_as(ack_id)
                if entry is not None:
                    self._acknowledge(entry, ack_id)
                    done.append(entry.id)
                elif ack_id not in self._acknowledged:  # once more is fine: an answer may have been lost
                    invalid.append(ack_id)
            self.backlog.delete(done)
        self._tell()  # nothing comes due sooner
        return invalid

    def extend(self, ack_ids: Sequence[str], seconds: float) -> list[str]:
        """Let the leases end `seconds` from now (0: a nack); the ack ids that are not valid, which have no effect.

        Raises InvalidArgument as `acknowledge` does.
        """
        self._use(ack_ids)
        invalid, given_back = [], []
        for ack_id in ack_ids:
            entry = self._leased_as(ack_id)
            if entry is None or entry.state is not State.LEASED:
                invalid.append(ack_id)
            elif seconds > 0:
                self.queue.extend(entry, self._context.clock.time(), seconds)
            else:
                given_back.append(entry)
        # The latest first: each comes back for its own nack, not for that of an earlier one of its key.
        for entry in sorted(given_back, key=lambda entry: -entry.id):
            if entry.state is State.LEASED:
                self._fail(entry)
        self.notify()
        return invalid

    def seek(self, moment: float, of_topic: Iterable[Row]) -> None:
        """Everything published before that moment (epoch seconds) is acknowledged, everything after is not.

        `of_topic` is what the topic kept; together with what the subscription kept it comes back.
        """
        oldest = self._context.clock.time() - self._retention_s
        with self._context.store.transaction():
            self.backlog.drop_before(moment, self._keep_acknowledged)
            for row in self._retained.rows():
                if row.published >= moment and row.published > oldest:
                    self.backlog.put([row])
                    self._retained.remove(row.id)
            self._restore(row for row in of_topic if row.published >= moment)
        self._begin_again()

    def seek_to(self, unacknowledged: Iterable[Row]) -> None:
        """Exactly these messages (of a snapshot) are not acknowledged."""
        with self._context.store.transaction():
            kept = set()
            for row in unacknowledged:
                kept.add(row.id)
                self._retained.remove(row.id)
                self._restore([row])
            for row in self.backlog.rows():
                if row.id not in kept:
                    self._keep_acknowledged(row)
                    self.backlog.delete([row.id])
        self._begin_again()

    def peek(self, limit: int) -> list[tuple[Entry, Any]]:
        """The first `limit` messages and where they stand, without leasing them."""
        return [(entry, self.backlog.message(entry)) for entry in self.backlog.head(limit)]

    def message(self, id_: int) -> Any:
        """A message that is not acknowledged, or None."""
        entry = self.backlog.find(id_)
        return None if entry is None else self.backlog.message(entry)

    def withdraw(self, id_: int) -> None:
        """Take a message out, leased or not; one that is not there is no error."""
        entry = self.backlog.find(id_)
        if entry is not None:
            self.backlog.remove(entry)
            self.notify()

    def _restore(self, rows: Iterable[Row]) -> None:
        oldest = self._context.clock.time() - self._retention_s
        for row in rows:
            if row.published > oldest and self.filter.matches(
                message_type("PubsubMessage").FromString(row.message).attributes
            ):
                self.backlog.put([row])

    def _begin_again(self) -> None:
        self.backlog.reset()
        self.touch()
        self.notify()

    def _deliver(self, entry: Entry, fault: Fault | None) -> list[Delivery]:
        """What reaches the subscriber of a message just leased."""
        if fault is not None and fault.action in ("delay", "reorder"):
            entry.attempts -= 1
            longest = REORDERED_S if fault.action == "reorder" else 0.0
            self.queue.release(entry, self._context.clock.time(), fault.delay_s or longest)
            if fault.action == "reorder":
                self._overtaken.append(entry)
            return []
        if self.has_dead_letter:
            self.backlog.keep_attempts(entry)
        payload = self.backlog.payload(entry)
        ack_id = deliveries.ack_id(entry)
        attempt = entry.attempts if self.has_dead_letter else 0
        delivery = Delivery(payload, ack_id, attempt, entry.size)
        match fault.action if fault is not None else None:
            case "fail":
                self._fail(entry)
                return []
            case "drop":
                return []
            case "duplicate":
                return [delivery, Delivery(payload, f"{ack_id}-2", attempt, entry.size)]
            case "fail_after":
                delivery.response_lost = True
        return [delivery]

    def _overtake(self) -> None:
        """Another message has gone out: those that were to come after it follow."""
        while self._overtaken:
            entry = self._overtaken.pop()
            if self.queue.find(entry.id) is entry and entry.state is State.DELAYED:
                self.queue.release(entry, self._context.clock.time(), 0)

    def _fail(self, entry: Entry, *, expired: bool = False) -> None:
        """A delivery was refused or not answered: again after the backoff, or to the dead-letter topic."""
        policy = self.resource.dead_letter_policy
        if self.has_dead_letter and entry.attempts >= policy.max_delivery_attempts:
            with self._context.store.transaction():
                if self._around.dead_letter(self, entry, self.backlog.message(entry)):
                    log.warning(
                        "%s: message %d went to %s after %d attempts",
                        self.name, entry.id, policy.dead_letter_topic, entry.attempts,
                    )  # fmt: skip
                    self.backlog.remove(entry, expired=expired)
                    self._say("dead-lettered", "after %d attempts", entry.attempts, level="error", ref=str(entry.id))
                    return
        reason = "not acknowledged in time" if expired else "refused"
        self._say(reason, "attempt %d", entry.attempts, level="warning", ref=str(entry.id))
        delay = backoff_after_s(self.resource, entry.attempts)
        taken_back = self.queue.release(entry, self._context.clock.time(), delay, expired=expired)
        if self.has_dead_letter:
            for later in taken_back:
                self.backlog.keep_attempts(later)

    def _acknowledge(self, entry: Entry, ack_id: str) -> None:
        if self.resource.retain_acked_messages:
            self._keep_acknowledged(self.backlog.row(entry))
        self.backlog.leave(entry)
        self._say("acknowledged", ref=str(entry.id))
        if self.is_exactly_once:
            self._acknowledged[ack_id] = None
            if len(self._acknowledged) > _REMEMBERED_ACKS:
                self._acknowledged.popitem(last=False)

    def _keep_acknowledged(self, row: Row) -> None:
        oldest = self._context.clock.time() - self._retention_s
        if self.resource.retain_acked_messages and row.published > oldest:
            self._retained.put(row)
            self._retained.trim(oldest)

    def _tick(self) -> None:
        now = self._context.clock.time()
        for entry in self.queue.tick(now):
            self._fail(entry, expired=True)
        self._drop_old(now)
        if self._is_unused(now):
            log.warning("%s: expired, nobody used it for %g s", self.name, now - self._active)
            self._around.expired(self)
            return
        self.notify()

    def _drop_old(self, now: float) -> None:
        oldest = self.backlog.oldest()
        if oldest is not None and oldest + self._retention_s <= now:
            log.warning("%s: messages older than the retention time are dropped", self.name)
            with self._context.store.transaction():
                self.backlog.drop_before(now - self._retention_s + EARLY_S)

    def _is_unused(self, now: float) -> bool:
        """Has the expiration policy's time passed? Subscribers that wait for messages use it, too."""
        if self.listeners and not self.is_push:
            self.touch()
        return self._active + self._expires_after_s <= now + EARLY_S

    def _wake_by(self, when: float) -> None:
        """Something comes due then."""
        if self._alarm is None or not self._alarm.is_pending or self._alarm.when > when:
            self._set_alarm()

    def _set_alarm(self) -> None:
        """Wake up for the next thing that comes due: a lease, a backoff, the end of the retention or of all."""
        if not self._running:
            return
        oldest = self.backlog.oldest()
        when = min(
            self.queue.next_due() or float("inf"),
            float("inf") if oldest is None else oldest + self._retention_s,
            self._active + self._expires_after_s,
        )
        if self._alarm is not None and self._alarm.is_pending:
            if self._alarm.when <= when:
                return
            self._alarm.cancel()
        if when < float("inf"):
            clock = self._context.clock
            self._alarm = clock.call_later(when - clock.time() - EARLY_S, self._tick)

    def _use(self, ack_ids: Sequence[str]) -> None:
        self.touch()
        if not self.is_exactly_once:
            deliveries.check_formed(ack_ids)

    def _leased_as(self, ack_id: str) -> Entry | None:
        """The message whose latest lease has this ack id; with exactly-once delivery, whose lease has not ended."""
        id_, serial = deliveries.leased(ack_id) or (0, 0)
        entry = self.queue.find(id_)
        if entry is None or entry.serial != serial or not serial:
            return None
        return entry if entry.state is State.LEASED or not self.is_exactly_once else None

    def _say(self, action: str, detail: str = "", *values: object, level: Level = "info", ref: str) -> None:
        """Note it as what the deliveries are called: those of a trigger are Eventarc's."""
        call, resource = self.fault_point
        service: Service = "eventarc" if call.startswith("eventarc.") else "pubsub"
        self._context.activity.emit(service, resource, action, detail, *values, level=level, ref=ref)
