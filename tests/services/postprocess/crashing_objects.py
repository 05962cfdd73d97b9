"""Object storage in memory whose writer dies at a write of the test's choice, whichever thread makes it."""

from __future__ import annotations

import threading
from typing import Any

from tests.simulation.sim_cloud import Faults, MemoryObjects
from zeroidle.contracts.services import ObjectRef


class Crash(Exception):
    """The process ends here."""


class CrashingObjects(MemoryObjects):
    """The write number `crash_at` ends the process, after its effect if `after_effect`.

    Nothing is written from then on, by any thread, until `revive`.
    """

    def __init__(self) -> None:
        super().__init__(now=lambda: 0.0, faults=Faults())
        self.writes = 0
        self.crash_at: int | None = None
        self.after_effect = False
        self._dead = False
        self._lock = threading.Lock()

    def revive(self) -> None:
        """A new process, which doesn't crash."""
        self._dead, self.crash_at = False, None

    def write(self, ref: ObjectRef, data: Any, **options: Any) -> int:
        with self._lock:
            if self._dead:
                raise Crash
            self._dead = self.writes == self.crash_at
            self.writes += 1
            if self._dead and not self.after_effect:
                raise Crash
            generation = super().write(ref, data, **options)
            if self._dead:
                raise Crash
            return generation
