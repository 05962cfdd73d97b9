"""When are lifecycle rules applied? Once an hour of virtual time, a batch at a time, so that nobody waits for long.

The real service promises no more than "within a day".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from localcloud.clock import Clock, Timer
from localcloud.storage import lifecycle
from localcloud.storage.index import Index

if TYPE_CHECKING:
    from localcloud.storage.state import Storage

INTERVAL_S = 3600.0
BATCH = 500  # objects that are looked at before others get a turn
_END = object()
log = logging.getLogger(__name__)


class Sweeper:
    """Looks through all buckets that have rules."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._timer: Timer | None = None
        self._handle: asyncio.Handle | None = None

    def start(self) -> None:
        """Sweep from now on, first of all now: time may have passed while nothing ran."""
        self._step(self._pass())

    def stop(self) -> None:
        """No more sweeps."""
        if self._timer is not None:
            self._timer.cancel()
        if self._handle is not None:
            self._handle.cancel()

    def _step(self, steps: Iterator[None]) -> None:
        """Go on for one batch, then let others have a turn; at the end of the pass wait for the next."""
        self._handle = None
        try:
            ended = any(next(steps, _END) is _END for _ in range(BATCH))
        except Exception:  # whoever listened to the change, or the disk: the objects are as they were
            log.exception("a pass over the lifecycle rules failed; the next one is in an hour")
            ended = True
        if ended:
            self._timer = self._clock.call_later(INTERVAL_S, lambda: self._step(self._pass()))
        else:
            self._handle = asyncio.get_running_loop().call_soon(self._step, steps)

    def _pass(self) -> Iterator[None]:
        """Look at each object once, yielding after each."""
        for bucket in self._storage.buckets():
            rules = lifecycle.rules_of(bucket.fields.get("lifecycle"))
            if rules:
                yield from self._expire(bucket.name, rules)
                yield from self._abort(bucket.name, rules)
            if bucket.soft_delete_s or self._storage.index(bucket.name, soft_deleted=True):
                yield from self._purge(bucket.name)

    def _expire(self, bucket: str, rules: list[dict[str, object]]) -> Iterator[None]:
        for name in _names(self._storage.index(bucket)):
            if bucket not in self._storage.catalog:
                return
            versions = self._storage.index(bucket).versions(name)
            for newer, item in enumerate(reversed(versions)):
                action = lifecycle.due(item, newer, rules, self._storage.microseconds())
                if action == lifecycle.DELETE:
                    self._storage.expire(item)
                elif action is not None:
                    self._storage.change(item, storage_class=action, reclassified=self._storage.microseconds())
                yield

    def _abort(self, bucket: str, rules: list[dict[str, object]]) -> Iterator[None]:
        for upload in self._storage.parts.of(bucket):
            if lifecycle.abort_due(upload.target.name, upload.created, rules, self._storage.microseconds()):
                self._storage.parts.abort(upload)
            yield

    def _purge(self, bucket: str) -> Iterator[None]:
        index = self._storage.index(bucket, soft_deleted=True)
        for name in _names(index):
            if bucket not in self._storage.catalog:
                return
            for item in index.versions(name):
                if (item.hard_delete or 0) <= self._storage.microseconds():
                    self._storage.purge(item)
                yield


def _names(index: Index) -> list[str]:
    """As they are now; they change while the pass goes on."""
    return list(index.names)
