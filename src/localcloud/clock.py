"""What time is it in the local cloud, and who is waiting for which moment?

One clock for all services. It follows real time by default; tests stop it and drive it:
`cloud.clock.advance(minutes=10)` wakes everything due by then, in order, without sleeping. Time moves in one step: what
wakes sees the new time, and a wait it begins then counts from there.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

LATEST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()  # dates end with 9999, and services add to the time
LONGEST_ALARM_S = 3600.0  # not every loop takes any number, let alone infinity

_T = TypeVar("_T")


class Timer:
    """A callback due at a moment of virtual time; `cancel` is safe at any time."""

    __slots__ = ("_callback", "_clock", "when")

    def __init__(self, clock: Clock, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self._clock = clock
        self._callback: Callable[[], object] | None = callback

    @property
    def is_pending(self) -> bool:
        """Neither run nor cancelled."""
        return self._callback is not None

    def cancel(self) -> None:
        """The callback will not run."""
        if self._callback is not None:
            self._callback = None
            self._clock._cancelled()

    def _run(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Clock:
    """Virtual time in seconds since the epoch. Belongs to one event loop; `advance` may be called from any thread."""

    def __init__(self, *, start: float | None = None, frozen: bool = False) -> None:
        """A clock at `start` (epoch seconds; now by default); `frozen` stands still until advanced."""
        self._base = time.time() if start is None else start
        self._anchor = time.monotonic()
        self._frozen = frozen
        self._order = itertools.count()
        self._timers: list[tuple[float, int, Timer]] = []
        self._stale = 0  # cancelled timers still in the heap
        self._alarm: asyncio.Handle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_frozen(self) -> bool:
        """It stands still until it is advanced."""
        return self._frozen

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._base if self._frozen else self._base + time.monotonic() - self._anchor

    def now(self) -> datetime:
        """The same moment as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` on the loop once `seconds` of virtual time have passed."""
        self._loop = asyncio.get_running_loop()
        timer = Timer(self, self.time() + max(0.0, seconds), callback)
        heapq.heappush(self._timers, (timer.when, next(self._order), timer))
        if self._timers[0][2] is timer:
            self._arm()
        return timer

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` of virtual time have passed."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: _finish(future))
        try:
            await future
        finally:
            timer.cancel()

    async def timeout(self, work: Awaitable[_T], seconds: float) -> _T:
        """The result of `work`, cancelled with TimeoutError when it takes longer than `seconds` of virtual time."""
        loop = asyncio.get_running_loop()
        scope = asyncio.timeout(None)
        try:
            async with scope:
                timer = self.call_later(seconds, lambda: scope.reschedule(loop.time()))
                try:
                    return await work
                finally:
                    timer.cancel()
        except TimeoutError:
            if scope.expired():
                raise TimeoutError(f"took longer than {seconds} s") from None
            raise

    def advance(self, *, seconds: float = 0, minutes: float = 0, hours: float = 0) -> None:
        """Move time forward and wake what is due. From another thread it returns once the waiters were woken."""
        delta = timedelta(seconds=seconds, minutes=minutes, hours=hours).total_seconds()
        if delta < 0:
            raise ValueError(f"time cannot go back: {delta} s")
        if self.time() + delta > LATEST:
            raise ValueError(f"time cannot go beyond the year 9000: {delta} s")
        loop = self._loop
        if loop is None or not loop.is_running():
            self._base += delta  # nobody waits
        elif _running_loop() is loop:
            self._move(delta)
        else:
            asyncio.run_coroutine_threadsafe(self._moved(delta), loop).result()

    def next_due(self) -> float | None:
        """The earliest moment that somebody waits for, in seconds since the epoch."""
        return min((when for when, _, timer in self._timers if timer.is_pending), default=None)

    def jump(self) -> None:
        """Move forward to the earliest moment that somebody waits for. On the loop of the clock only."""
        due = self.next_due()
        if due is not None and due > self.time():
            self._move(due - self.time())

    async def _moved(self, delta: float) -> None:
        self._move(delta)

    def _move(self, delta: float) -> None:
        self._base += delta
        self._wake()

    def _wake(self) -> None:
        while self._timers and (self._timers[0][0] <= self.time() or not self._timers[0][2].is_pending):
            _, _, timer = heapq.heappop(self._timers)
            if timer.is_pending:
                timer._run()
            else:
                self._stale -= 1
        self._arm()

    def _arm(self) -> None:
        """Have the loop call back when the earliest timer is due in real time."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if not self._timers or self._loop is None:
            return
        wait = self._timers[0][0] - self.time()
        if wait <= 0:
            self._alarm = self._loop.call_soon(self._wake)
        elif not self._frozen:
            self._alarm = self._loop.call_later(min(wait, LONGEST_ALARM_S), self._wake)

    def _cancelled(self) -> None:
        """Keep cancelled timers from piling up: most time limits end long before they are due."""
        self._stale += 1
        if self._stale > 64 and self._stale > len(self._timers) // 2:
            self._timers = [entry for entry in self._timers if entry[2].is_pending]
            heapq.heapify(self._timers)
            self._stale = 0
            self._arm()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
