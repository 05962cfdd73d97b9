"""Who has called an execution back? Endpoints with one slot each: a second request waits until the first is taken.

https://cloud.google.com/workflows/docs/creating-callback-endpoints
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from localcloud.context import Context
from localcloud.workflows.values import Value

TABLE = "workflows.callbacks"


class _Slot(msgspec.Struct):
    """What is stored: the method, the latest request and its number (from 1), and whether it still waits."""

    method: str
    number: int = 0
    request: Value = None


@dataclass(frozen=True)
class Endpoint:
    """What is known of an endpoint: its id and method, requests not taken yet, and how many steps wait for one."""

    id: str
    method: str
    pending: Sequence[Value]
    waiters: int


class Busy(Exception):
    """The slot holds a request that is not taken yet."""


class WrongMethod(Exception):
    """The endpoint takes another HTTP method."""


@dataclass
class Callbacks:
    """The callback endpoints of one execution. `execution` is its resource name."""

    context: Context
    execution: str
    _taken: dict[str, int] = field(default_factory=dict)  # by endpoint: requests that the program has seen
    _arrivals: dict[str, asyncio.Event] = field(default_factory=dict)
    _waiting: Counter[str] = field(default_factory=Counter)  # by endpoint: steps that wait for its next request

    def create(self, method: str) -> str:
        """A new endpoint; its URL."""
        identifier = str(uuid.uuid4())
        self._put(identifier, _Slot(method))
        return f"{self.context.http_url}/v1/{self.execution}/callbacks/{identifier}"

    async def wait(self, url: str) -> Value:
        """The next request that was not taken."""
        identifier = url.rpartition("/")[2]
        arrival = self._arrivals.setdefault(identifier, asyncio.Event())
        self._waiting[identifier] += 1
        try:
            while True:
                slot = self._get(identifier)
                if slot is not None and slot.request is not None and slot.number > self._taken.get(identifier, 0):
                    return slot.request
                arrival.clear()
                await arrival.wait()
        finally:
            self._waiting[identifier] -= 1

    def waiters(self, identifier: str | None = None) -> int:
        """How many steps wait for a request, to one endpoint or to any."""
        return self._waiting.total() if identifier is None else self._waiting[identifier]

    def taken(self, url: str) -> None:
        """The program has the next request: free its slot. Replay counts too; the slot may hold a later request."""
        identifier = url.rpartition("/")[2]
        self._taken[identifier] = number = self._taken.get(identifier, 0) + 1
        slot = self._get(identifier)
        if slot is not None and slot.number == number:
            self._put(identifier, _Slot(slot.method, number))

    def receive(self, identifier: str, method: str, request: Value) -> bool:
        """Store a request; False if there is no such endpoint. Raises Busy and WrongMethod."""
        slot = self._get(identifier)
        if slot is None:
            return False
        if slot.method != method:
            raise WrongMethod(slot.method)
        if slot.request is not None:
            raise Busy(identifier)
        self._put(identifier, _Slot(slot.method, slot.number + 1, request))
        if identifier in self._arrivals:
            self._arrivals[identifier].set()
        return True

    def endpoints(self) -> list[Endpoint]:
        """The endpoints, by their ids."""
        rows = self.context.store.items(TABLE, prefix=f"{self.execution}/")
        found = []
        for key, row in rows:
            identifier, slot = key.rpartition("/")[2], msgspec.msgpack.decode(row, type=_Slot)
            pending = [] if slot.request is None else [slot.request]
            found.append(Endpoint(identifier, slot.method, pending, self.waiters(identifier)))
        return found

    def _get(self, identifier: str) -> _Slot | None:
        row = self.context.store.get(TABLE, f"{self.execution}/{identifier}")
        return None if row is None else msgspec.msgpack.decode(row, type=_Slot)

    def _put(self, identifier: str, slot: _Slot) -> None:
        self.context.store.put(TABLE, f"{self.execution}/{identifier}", msgspec.msgpack.encode(slot))
