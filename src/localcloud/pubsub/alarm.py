"""Who calls a subscription when its next lease or backoff is over?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from localcloud.clock import Clock

# Moments near 2e9 are exact to about 0.2 µs: a little early, so that rounding cannot leave a stopped clock just short.
EARLY_S = 1e-6


class Alarm:
    """Calls back once at the earliest of the moments asked for. Belongs to a running event loop."""

    def __init__(self, clock: Clock, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback = callback
        self._when: float | None = None
        self._task: asyncio.Task[None] | None = None

    def at(self, when: float) -> None:
        """Call back at `when` (seconds since the epoch), or earlier if that was asked for before."""
        if self._when is not None and self._when <= when:
            return
        self.cancel()
        self._when = when
        self._task = asyncio.get_running_loop().create_task(self._ring(when))

    def cancel(self) -> None:
        """Do not call back."""
        if self._task is not None:
            self._task.cancel()
        self._task = self._when = None

    async def _ring(self, when: float) -> None:
        await self._clock.sleep(when - self._clock.time() - EARLY_S)
        self._task = self._when = None
        self._callback()
