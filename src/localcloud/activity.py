"""What has just happened in the local cloud? One log of all services: the latest events, numbered, for whoever looks.

Services say what they do in one short line; it costs them about a microsecond, since nothing is formatted or sent until
somebody reads. Readers keep only a number, that of the last event they have: one that is slow costs nothing, and finds
out how many it has missed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import Literal

import msgspec

from localcloud.clock import Clock

KEPT = 10_000  # events, about 4 MB

Service = Literal["storage", "pubsub", "eventarc", "run", "workflows", "scheduler", "compute", "faults", "clock"]
Level = Literal["info", "warning", "error"]


class Event(msgspec.Struct, frozen=True):
    """One thing that happened. `number` grows by one, `time` is virtual, in seconds since the epoch.

    `resource` is what it happened to, by its short name (`bucket/object`, a service), `action` a verb in
    the past tense, `ref` the id that other events of the same matter carry: of a message, an instance, an execution.
    """

    number: int
    time: float
    service: Service
    resource: str
    action: str
    detail: str
    level: Level
    ref: str


_Record = tuple[int, float, Service, str, str, str, tuple[object, ...], Level, str]


class Activity:
    """The latest KEPT events. Belongs to the thread of the event loop."""

    def __init__(self, clock: Clock) -> None:
        self.latest = 0  # number of the last event; 0: none yet
        self.closed = False
        self._clock = clock
        self._records: deque[_Record] = deque(maxlen=KEPT)
        self._waiting: list[asyncio.Future[None]] = []

    def emit(
        self,
        service: Service,
        resource: str,
        action: str,
        detail: str = "",
        *values: object,
        level: Level = "info",
        ref: str = "",
    ) -> None:
        """Note an event. `detail % values` is put together when it is read, so values must not change."""
        self.latest += 1
        self._records.append((self.latest, self._clock.time(), service, resource, action, detail, values, level, ref))
        if self._waiting:
            self._wake()

    def after(self, number: int, limit: int = KEPT) -> list[Event]:
        """Up to `limit` events that follow the one of that number, oldest first; those no longer kept are left out."""
        skipped = max(0, len(self._records) - (self.latest - number))
        return [_event(record) for record in islice(self._records, skipped, skipped + limit)]

    def missed(self, number: int) -> int:
        """How many events that followed the one of that number are no longer kept."""
        return max(0, self.latest - number - len(self._records))

    async def follow(self, number: int) -> None:
        """Return once there is an event after the one of that number, or the log is closed."""
        if self.latest > number or self.closed:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if future in self._waiting:
                self._waiting.remove(future)

    def close(self) -> None:
        """Nobody has to wait any more."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


def _event(record: _Record) -> Event:
    number, time, service, resource, action, detail, values, level, ref = record
    return Event(number, time, service, resource, action, detail % values if values else detail, level, ref)
