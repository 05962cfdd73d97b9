"""Which messages of one subscription may be delivered now, which are leased, and what comes due when?

Pure bookkeeping in memory: time is passed in, payloads are elsewhere. Messages are known by their number, which grows
with publish order.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import islice

# Moments near 2e9 are exact to about 0.2 µs: whoever waits for one wakes a little early, and `tick` is as generous, so
# that rounding cannot leave a stopped clock just short of it.
EARLY_S = 1e-6
_ROUNDING_S = 3 * EARLY_S
_SPARE_TIMERS = 64


class State(Enum):
    """Where a message stands."""

    READY = "ready"
    LEASED = "leased"
    DELAYED = "delayed"  # until its backoff is over
    BLOCKED = "blocked"  # behind another message of its ordering key


@dataclass(slots=True, eq=False)
class Entry:
    """One unacknowledged message. Times are seconds since the epoch."""

    id: int
    size: int  # bytes, as counted by flow control
    published: float
    key: str = ""  # ordering key; "" when the subscription is not ordered
    attempts: int = 0  # deliveries begun
    state: State = State.READY
    due: float | None = None  # end of the lease or of the backoff
    serial: int = 0  # of the latest lease
    on_end: Callable[[bool], None] | None = None  # told when the lease ends; True: it ran out


class Queue:
    """The backlog of one subscription."""

    def __init__(self) -> None:
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._ready: list[int] = []
        self._timers: list[tuple[float, int]] = []
        self._chains: dict[str, deque[int]] = {}  # by ordering key, in publish order; only the head moves
        self._serial = 0
        self._leased = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def leased(self) -> int:
        """How many messages are out with a subscriber."""
        return self._leased

    def entries(self) -> list[Entry]:
        """Everything unacknowledged, in publish order."""
        return list(self._entries.values())

    def head(self, limit: int) -> list[Entry]:
        """The first `limit` of them."""
        return list(islice(self._entries.values(), limit))

    def find(self, id_: int) -> Entry | None:
        """The unacknowledged message of that number."""
        return self._entries.get(id_)

    def add(self, entry: Entry) -> None:
        """Take in a message; one that is already there is ignored."""
        if entry.id in self._entries:
            return
        self._entries[entry.id] = entry
        if entry.key:
            chain = self._chains.setdefault(entry.key, deque())
            chain.append(entry.id)
            if len(chain) > 1:
                entry.state = State.BLOCKED
                return
        self._make_ready(entry)

    def lease(self, now: float, seconds: float, max_size: float = float("inf")) -> Entry | None:
        """Lease the oldest message that is ready, unless it is larger than `max_size`."""
        while self._ready:
            entry = self._entries.get(self._ready[0])
            if entry is None or entry.state is not State.READY:
                heapq.heappop(self._ready)
                continue
            if entry.size > max_size:
                return None
            heapq.heappop(self._ready)
            self._serial += 1
            self._leased += 1
            entry.serial = self._serial
            entry.state = State.LEASED
            entry.attempts += 1
            self._set_due(entry, now + seconds)
            return entry
        return None

    def extend(self, entry: Entry, now: float, seconds: float) -> None:
        """Let a lease end `seconds` from now; one that is over stays over."""
        if entry.state is State.LEASED:
            self._set_due(entry, now + seconds)

    def release(self, entry: Entry, now: float, delay: float, *, expired: bool = False) -> None:
        """End a lease without acknowledgement: the message is ready again after `delay` seconds."""
        self._end_lease(entry, expired)
        if delay > 0:
            entry.state = State.DELAYED
            self._set_due(entry, now + delay)
        else:
            self._make_ready(entry)

    def remove(self, entry: Entry, *, expired: bool = False) -> None:
        """The message is done with."""
        if self._entries.pop(entry.id, None) is None:
            return
        self._end_lease(entry, expired)
        entry.due = None
        if entry.key:
            self._unchain(entry)

    def tick(self, now: float) -> list[Entry]:
        """End backoffs that are over; the leases that ran out, which the caller releases or removes."""
        expired = []
        while self._timers and self._timers[0][0] <= now + _ROUNDING_S:
            due, id_ = heapq.heappop(self._timers)
            entry = self._entries.get(id_)
            if entry is None or entry.due != due:
                continue
            entry.due = None
            if entry.state is State.DELAYED:
                self._make_ready(entry)
            else:
                expired.append(entry)
        return expired

    def next_due(self) -> float | None:
        """When `tick` has something to do next."""
        while self._timers:
            due, id_ = self._timers[0]
            entry = self._entries.get(id_)
            if entry is not None and entry.due == due:
                return due
            heapq.heappop(self._timers)
        return None

    def oldest(self) -> Entry | None:
        """The unacknowledged message published first."""
        return next(iter(self._entries.values()), None)

    def _make_ready(self, entry: Entry) -> None:
        entry.state = State.READY
        entry.due = None
        heapq.heappush(self._ready, entry.id)

    def _end_lease(self, entry: Entry, expired: bool) -> None:
        if entry.state is State.LEASED:
            self._leased -= 1
        told, entry.on_end = entry.on_end, None
        if told is not None:
            told(expired)

    def _set_due(self, entry: Entry, when: float) -> None:
        entry.due = when
        heapq.heappush(self._timers, (when, entry.id))
        # Extended and acknowledged leases leave their timers behind.
        if len(self._timers) > 2 * len(self._entries) + _SPARE_TIMERS:
            self._timers = [(e.due, e.id) for e in self._entries.values() if e.due is not None]
            heapq.heapify(self._timers)

    def _unchain(self, entry: Entry) -> None:
        chain = self._chains[entry.key]
        was_head = chain[0] == entry.id
        chain.remove(entry.id)
        if not chain:
            del self._chains[entry.key]
        elif was_head:
            self._make_ready(self._entries[chain[0]])
