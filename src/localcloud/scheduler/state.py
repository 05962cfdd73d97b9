"""Which schedule is due, and when is it due again?"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from localcloud.context import Context
from localcloud.pubsub.errors import PubSubError, shown
from localcloud.pubsub.queue import EARLY_S
from localcloud.pubsub.resources import PublishedMessage
from localcloud.pubsub.state import PubSub
from localcloud.scheduler.errors import InvalidSchedule

NEXT_RUNS = "scheduler.next-runs"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """A message published to `topic` (short or full name) every `every_s` seconds."""

    name: str
    every_s: float
    topic: str
    data: bytes = b""
    attributes: Mapping[str, str] = field(default_factory=dict)


class Scheduler:
    """Publishes on schedule. The next run of each schedule survives a restart; what was missed is not made up."""

    def __init__(self, context: Context, pubsub: PubSub) -> None:
        self._context = context
        self._pubsub = pubsub
        self._schedules: dict[str, Schedule] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._started = False

    async def start(self) -> None:
        """Begin to publish."""
        self._started = True
        for schedule in self._schedules.values():
            self._run(schedule)

    async def stop(self) -> None:
        """Stop publishing."""
        self._started = False
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def create_schedule(self, schedule: Schedule) -> None:
        """Make sure there is a schedule like this one. A new one runs first after one period.

        Raises:
            InvalidSchedule: naming the field that is wrong.
        """
        if not schedule.name:
            raise InvalidSchedule("name is empty")
        if not (math.isfinite(schedule.every_s) and schedule.every_s > 0):
            raise InvalidSchedule(f"every_s is {schedule.every_s}; expected a number above 0")
        if not schedule.data and not schedule.attributes:
            raise InvalidSchedule(f"schedule {shown(schedule.name)} has neither data nor attributes to publish")
        self._schedules[schedule.name] = schedule
        if self._started:
            self._run(schedule)

    def schedules(self) -> list[Schedule]:
        """All schedules by name."""
        return [self._schedules[name] for name in sorted(self._schedules)]

    def next_run(self, name: str) -> float:
        """When a schedule runs next, in seconds since the epoch; KeyError for a name that is not there."""
        schedule = self._schedules[name]
        kept = self._context.store.get(NEXT_RUNS, name)
        latest = self._context.clock.time() + schedule.every_s
        # A period that became shorter counts at once.
        return latest if kept is None else min(float(kept), latest)

    def _run(self, schedule: Schedule) -> None:
        running = self._tasks.pop(schedule.name, None)
        if running is not None:
            running.cancel()
        self._keep(schedule, self.next_run(schedule.name))
        self._tasks[schedule.name] = asyncio.get_running_loop().create_task(self._publish_forever(schedule))

    async def _publish_forever(self, schedule: Schedule) -> None:
        clock = self._context.clock
        while True:
            due = self.next_run(schedule.name)
            await clock.sleep(due - clock.time() - EARLY_S)
            try:
                self._publish(schedule, due)
            except Exception:  # a full disk, or a bug of ours: whoever waits for the schedule needs the next run
                log.exception("schedule %s did not run; it is tried again after a period", schedule.name)
                await clock.sleep(schedule.every_s)

    def _publish(self, schedule: Schedule, due: float) -> None:
        """Publish and set the next run, both or neither."""
        missed = math.floor(max(0.0, self._context.clock.time() - due) / schedule.every_s)
        with self._context.store.transaction():
            self._keep(schedule, due + (missed + 1) * schedule.every_s)
            try:
                self._context.activity.emit("scheduler", schedule.name, "ran")
                self._pubsub.publish(schedule.topic, [PublishedMessage(schedule.data, schedule.attributes)])
            except PubSubError as error:
                log.error("schedule %s: %s", schedule.name, error)

    def _keep(self, schedule: Schedule, next_run: float) -> None:
        self._context.store.put(NEXT_RUNS, schedule.name, repr(next_run).encode())
