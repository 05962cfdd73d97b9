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
    BLOCKED = "blocked"  # behind other messages of its ordering key


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


class _Chain:
    """The messages of one ordering key: first those that are leased, then one that may be next, then the blocked."""

    __slots__ = ("ids", "out", "owner")

    def __init__(self) -> None:
        self.ids: deque[int] = deque()  # in publish order
        self.out = 0  # how many of the first are leased
        self.owner: object = None  # who has them

    def next_id(self) -> int | None:
        return self.ids[self.out] if self.out < len(self.ids) else None


class Queue:
    """The messages of one subscription that may be delivered or are.

    With ordering keys a message is leased only while all earlier ones of its key are, too, and by the same owner: two
    subscribers at once could not keep an order. When one comes back, the later ones that are out come back with it.
    """

    def __init__(self, *, one_per_key: bool = False, serial: int = 0) -> None:
        """`one_per_key`: a message waits until those before it are done with. Serials go on behind `serial`."""
        self.one_per_key = one_per_key
        self.serial = serial  # of the latest lease
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._ready: list[int] = []
        self._reserved: dict[object, list[int]] = {}  # ready for the owner of earlier messages of the key only
        self._timers: list[tuple[float, int]] = []
        self._chains: dict[str, _Chain] = {}
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
        """Take in a message, published after all that are in; one that is already there is ignored."""
        if entry.id in self._entries:
            return
        self._entries[entry.id] = entry
        if entry.key:
            entry.state = State.BLOCKED
            self._chains.setdefault(entry.key, _Chain()).ids.append(entry.id)
            self._unblock(entry.key)
        else:
            self._make_ready(entry)

    def peek(self, owner: object = None) -> Entry | None:
        """The oldest message that `owner` may lease."""
        first = self._top(self._ready, None)
        mine = self._reserved.get(owner)
        if mine:
            second = self._top(mine, owner)
            if second is not None and (first is None or second.id < first.id):
                return second
        return first

    def lease(self, entry: Entry, now: float, seconds: float, owner: object = None) -> None:
        """Lease the message that `peek` found for that owner."""
        self.serial += 1
        self._leased += 1
        entry.serial = self.serial
        entry.state = State.LEASED
        entry.attempts += 1
        self._set_due(entry, now + seconds)
        if entry.key:
            chain = self._chains[entry.key]
            chain.out += 1
            chain.owner = owner
            self._unblock(entry.key)

    def forget(self, owner: object) -> None:
        """An owner leases no more; what it has out stays leased until it is done with or its time is over."""
        self._reserved.pop(owner, None)

    def extend(self, entry: Entry, now: float, seconds: float) -> None:
        """Let a lease end `seconds` from now; one that is over stays over."""
        if entry.state is State.LEASED:
            self._set_due(entry, now + seconds)

    def release(self, entry: Entry, now: float, delay: float, *, expired: bool = False) -> list[Entry]:
        """End a lease without acknowledgement: the message is ready again after `delay` seconds.

        Leases of later messages of its key end with it, and do not count as attempts; these messages are returned.
        """
        self._end_lease(entry, expired)
        taken_back = self._step_back(entry) if entry.key else []
        if delay > 0:
            entry.state = State.DELAYED
            self._set_due(entry, now + delay)
        else:
            self._make_ready(entry)
        return taken_back

    def remove(self, entry: Entry, *, expired: bool = False) -> None:
        """The message is done with."""
        if self._entries.pop(entry.id, None) is None:
            return
        self._end_lease(entry, expired)
        entry.due = None
        if entry.key:
            self._unchain(entry)

    def end_all(self) -> None:
        """Every lease ends as if its time were over; for a queue that is thrown away."""
        for entry in self.entries():
            self._end_lease(entry, True)

    def tick(self, now: float) -> list[Entry]:
        """End backoffs that are over; the leases that ran out, latest message first, which the caller ends.

        In that order each message of a key comes back for its own lease, not for that of an earlier one.
        """
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
        return sorted(expired, key=lambda entry: -entry.id)

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

    def _top(self, heap: list[int], owner: object) -> Entry | None:
        """The first of a heap that is ready for that owner (None: for any); what no longer belongs there is dropped."""
        while heap:
            entry = self._entries.get(heap[0])
            if entry is not None and entry.state is State.READY and self._owner_before(entry) is owner:
                return entry
            heapq.heappop(heap)
        return None

    def _owner_before(self, entry: Entry) -> object:
        """Who has the earlier messages of its key; None: nobody."""
        chain = self._chains[entry.key] if entry.key else None
        return chain.owner if chain is not None and chain.out else None

    def _make_ready(self, entry: Entry) -> None:
        entry.state = State.READY
        entry.due = None
        owner = self._owner_before(entry)
        heapq.heappush(self._ready if owner is None else self._reserved.setdefault(owner, []), entry.id)

    def _unblock(self, key: str) -> None:
        """Let the next message of a key be leased, if it may be."""
        chain = self._chains[key]
        id_ = chain.next_id()
        if id_ is None or (self.one_per_key and chain.out):
            return
        entry = self._entries[id_]
        # One that is ready moves when the earlier messages are done with: from their owner to everybody.
        if entry.state is State.BLOCKED or (entry.state is State.READY and not chain.out):
            self._make_ready(entry)

    def _step_back(self, entry: Entry) -> list[Entry]:
        """Block what comes after a message of its key."""
        chain = self._chains[entry.key]
        at = chain.ids.index(entry.id)
        taken_back = []
        for id_ in islice(chain.ids, at + 1, chain.out + 1):
            later = self._entries[id_]
            if later.state is State.LEASED:
                self._end_lease(later, True)
                later.attempts -= 1
                taken_back.append(later)
            later.state = State.BLOCKED
            later.due = None
        chain.out = min(chain.out, at)
        return taken_back

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
        at = chain.ids.index(entry.id)
        del chain.ids[at]
        if at < chain.out:
            chain.out -= 1
        if chain.ids:
            self._unblock(entry.key)
        else:
            del self._chains[entry.key]
