"""What has this execution already done? Its effects in order, so that a restart repeats none that completed.

Each effect (an HTTP or connector call, the time, a random id, the end of a sleep) has a position: the path of its
thread (`""`, or `"<n>.<branch>/"` for each parallel step around it) and a counter in it. Its outcome is one row, keyed
by the order of completion. The interpreter is deterministic between effects, so running it again with recorded outcomes
delivered in that order, one at a time, leads to the same state, shared variables of parallel branches included. An
effect that was in flight has no row and is made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from localcloud.store import Store
from localcloud.workflows.errors import WorkflowError
from localcloud.workflows.values import Value

TABLE = "workflows.journal"


class ReplayDiverged(Exception):
    """The interpreter came to another effect than the one recorded at this place; the program cannot go on."""


@dataclass(frozen=True, slots=True)
class _Record:
    order: int
    kind: str
    headline: str | None  # of a failure
    value: Value


class Journal:
    """The effects of one execution, those recorded by an earlier process first."""

    def __init__(self, store: Store, execution: str) -> None:
        self._store = store
        self._prefix = f"{execution}/"
        self._recorded: dict[tuple[str, int], _Record] = {}
        self._turn = 0  # the next recorded effect to deliver
        self._early: set[int] = set()
        self._turns: dict[int, asyncio.Future[None]] = {}
        for key, row in store.items(TABLE, prefix=self._prefix):
            path, position, kind, headline, value = msgspec.msgpack.decode(row)
            order = int(key.removeprefix(self._prefix))
            self._recorded[path, position] = _Record(order, kind, headline, value)
        self._closed = False
        self._replayed = self._rows = len(self._recorded)

    def once(self, path: str, position: int, kind: str, make: Callable[[], Value]) -> Value:
        """The value of an effect that doesn't wait. Raises ReplayDiverged."""
        if record := self._take(path, position, kind):
            self._delivered(record.order)
            return record.value
        value = make()
        self._write(path, position, kind, None, value)
        return value

    async def effect(self, path: str, position: int, kind: str, make: Callable[[], Awaitable[Value]]) -> Value:
        """The value of an effect that waits. Raises WorkflowError, recorded or new, and ReplayDiverged."""
        if record := self._take(path, position, kind):
            await self._until(record.order)
            self._delivered(record.order)
            if record.headline is not None:
                raise WorkflowError(record.value, record.headline)
            return record.value
        try:
            value = await make()
        except WorkflowError as error:
            await self._until(self._replayed)
            self._write(path, position, kind, error.headline, error.value)
            raise
        await self._until(self._replayed)
        self._write(path, position, kind, None, value)
        return value

    def close(self) -> None:
        """Record nothing any more: the execution has ended."""
        self._closed = True

    def _take(self, path: str, position: int, kind: str) -> _Record | None:
        record = self._recorded.pop((path, position), None)
        if record is not None and record.kind != kind:
            raise ReplayDiverged(f"replay diverged at {path}{position}: recorded {record.kind}, now {kind}")
        return record

    async def _until(self, order: int) -> None:
        # Threads arrive here in any order; each waits for its own turn.
        while self._turn < order:
            turn = self._turns.setdefault(order, asyncio.get_running_loop().create_future())
            await asyncio.shield(turn)

    def _delivered(self, order: int) -> None:
        self._early.add(order)
        while self._turn in self._early:
            self._early.remove(self._turn)
            self._turn += 1
        if turn := self._turns.pop(self._turn, None):
            turn.set_result(None)

    def _write(self, path: str, position: int, kind: str, headline: str | None, value: Value) -> None:
        if self._closed:  # a branch of a cancelled execution that had not noticed yet
            return
        row = msgspec.msgpack.encode((path, position, kind, headline, value))
        self._store.put(TABLE, f"{self._prefix}{self._rows:08d}", row)
        self._rows += 1
