"""What time is it in the local cloud, and who is waiting for which moment?

One clock for all services. It follows real time by default; tests stop it and drive it:
`cloud.clock.advance(minutes=10)` wakes everything due in between, in order, without sleeping.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

_T = TypeVar("_T")


class Clock:
    """Virtual time in seconds since the epoch. Belongs to one event loop; `advance` may be called from any thread."""

    def __init__(self, *, start: float | None = None, frozen: bool = False) -> None:
        """A clock at `start` (epoch seconds; now by default); `frozen` stands still until advanced."""
        self._base = time.time() if start is None else start
        self._anchor = time.monotonic()
        self._frozen = frozen
        self._order = itertools.count()
        self._waiters: list[tuple[float, int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._base if self._frozen else self._base + time.monotonic() - self._anchor

    def now(self) -> datetime:
        """The same moment as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` of virtual time have passed."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self._loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = self._loop.create_future()
        heapq.heappush(self._waiters, (self.time() + seconds, next(self._order), future))
        self._arm()
        await future

    async def timeout(self, work: Awaitable[_T], seconds: float) -> _T:
        """The result of `work`, cancelled with TimeoutError when it takes longer than `seconds` of virtual time."""
        task = asyncio.ensure_future(work)
        alarm = asyncio.ensure_future(self.sleep(seconds))
        try:
            await asyncio.wait({task, alarm}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise TimeoutError(f"took longer than {seconds} s")
            return task.result()
        finally:
            task.cancel()
            alarm.cancel()

    def advance(self, *, seconds: float = 0, minutes: float = 0, hours: float = 0) -> None:
        """Move time forward and wake what is due. From another thread it returns once the waiters were woken."""
        delta = timedelta(seconds=seconds, minutes=minutes, hours=hours).total_seconds()
        if delta < 0:
            raise ValueError(f"time cannot go back: {delta} s")
        loop = self._loop
        if loop is None or not loop.is_running():
            self._base += delta
        elif _running_loop() is loop:
            self._move(delta)
        else:
            asyncio.run_coroutine_threadsafe(self._moved(delta), loop).result()

    async def _moved(self, delta: float) -> None:
        self._move(delta)

    def _move(self, delta: float) -> None:
        self._base += delta
        self._wake()

    def _wake(self) -> None:
        now = self.time()
        while self._waiters and (self._waiters[0][0] <= now or self._waiters[0][2].done()):
            _, _, future = heapq.heappop(self._waiters)
            if not future.done():
                future.set_result(None)
        self._arm()

    def _arm(self) -> None:
        """Have the loop call back when the earliest waiter is due in real time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiters and not self._frozen and self._loop is not None:
            self._timer = self._loop.call_later(max(0.0, self._waiters[0][0] - self.time()), self._wake)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
