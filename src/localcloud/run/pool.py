"""Who waits for an instance of a revision, and who gets one? The rules of `state` put to work on processes."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud.activity import Level
from localcloud.context import Context
from localcloud.metadata import MetadataServer, of_container
from localcloud.run import state
from localcloud.run.errors import InstanceFailed, NoInstance
from localcloud.run.instances import ColdStart, Instance, Phase, StartFailed, free_port
from localcloud.run.logs import LogWriter
from localcloud.run.state import Probe, Revision
from localcloud.run.watchdog import Watchdog

if TYPE_CHECKING:  # a tenth of a second at the start, needed once there is somebody to call
    import aiohttp

QUICK_GRACE_S = 2.0  # at the end of the local cloud nobody waits ten seconds

log = logging.getLogger(__name__)


class Retired(Exception):
    """The revision takes no more requests; another one does."""


@dataclass(frozen=True)
class Surroundings:
    """What the pools of a service share. `cold_starts` gets those of their instances."""

    context: Context
    watchdog: Watchdog
    log: LogWriter
    cold_starts: deque[ColdStart]
    client: Callable[[], aiohttp.ClientSession]


class Pool:
    """The instances of one revision, and the requests that wait for one of them."""

    def __init__(self, revision: Revision, surroundings: Surroundings) -> None:
        self.revision = revision
        self.spec = revision.spec
        self.instances: list[Instance] = []
        self._around = surroundings
        self._clock = surroundings.context.clock
        self._log = surroundings.log
        self._queue: deque[asyncio.Future[Instance]] = deque()
        self._failures = 0
        self._last_failure = ""
        self._may_start_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._retired = False
        self._stopped = False

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def is_over(self) -> bool:
        """It has ended, and so have all of its instances."""
        return not (self.instances or self._tasks)

    def retire(self) -> None:
        """Take no more requests: those that wait are sent elsewhere, those under way are finished."""
        self._retired = True
        while self._queue:
            ticket = self._queue.popleft()
            if not ticket.done():
                ticket.set_exception(Retired())
        for instance in self.instances:
            instance.retired = True
            if instance.active == 0:
                self._stop(instance)

    async def acquire(self) -> Instance:
        """The instance for one request, which must be given back with `release`. Waits in line for it.

        Raises:
            NoInstance: the queue is full.
            InstanceFailed: the instance that was to take it did not start.
            Retired: another revision takes the requests by now.
        """
        if self._stopped:
            raise self._failed(_SHUTTING_DOWN, 0)
        if self._retired:
            raise Retired
        instance = None if self._queue else state.choose(self.instances, self.spec.concurrency)
        if instance is not None:
            instance.took_request()
            return instance
        if len(self._queue) >= self.spec.max_queue:
            raise NoInstance(
                "The request was aborted because there was no available instance.",
                hint=f"{self.spec.name} runs {len(self.instances)} of at most {self.spec.max_instances} instances,"
                f" {self.spec.concurrency} requests each, and {len(self._queue)} wait already.",
            )
        self._refuse_while_backing_off()
        ticket: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self._queue.append(ticket)
        self.scale()
        try:
            return await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled() and ticket.exception() is None:
                self.release(ticket.result())  # handed over in the same moment the caller went away
            elif ticket in self._queue:
                self._queue.remove(ticket)
            raise

    def release(self, instance: Instance) -> None:
        """A request has left the instance."""
        instance.active -= 1
        instance.idle_since = self._clock.time()
        if self._retired and instance.active == 0:
            self._stop(instance)
        self._serve_waiting()
        self._watch_idle(instance)

    def scale(self) -> None:
        """Start as many instances as the waiting requests and `min_instances` ask for."""
        if self._stopped or self._retired or self._clock.time() < self._may_start_at:
            return
        mine = [instance for instance in self.instances if instance.phase in _LIVE]
        starting = sum(instance.phase is Phase.STARTING for instance in mine)
        count = state.instances_to_start(self.spec, live=len(mine), starting=starting, waiting=len(self._queue))
        for _ in range(count):
            self._start_one()

    def close(self) -> None:
        """Take no more requests, and refuse those that wait."""
        self._stopped = True
        self._refuse_waiting(_SHUTTING_DOWN)

    async def stop(self) -> None:
        """End all instances, quickly."""
        await asyncio.gather(*(instance.stop(QUICK_GRACE_S) for instance in self.instances))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start_one(self) -> None:
        context = self._around.context
        instance = Instance(
            name=f"{self.revision.name}-{secrets.token_hex(4)}",
            spec=self.spec,
            revision=self.revision.name,
            port=free_port(),
            log=self._log,
            watchdog=self._around.watchdog,
            metadata=MetadataServer(context, of_container(context, self.spec.service_account, secrets.token_hex(64))),
        )
        self.instances.append(instance)
        self._around.cold_starts.append(instance.cold_start)
        self._say(instance, "instance starting")
        self._spawn(self._live(instance))

    async def _live(self, instance: Instance) -> None:
        """From start to end of one instance."""
        try:
            await instance.start(self._around.client(), os.environ)
        except StartFailed as error:
            self.instances.remove(instance)
            self._say(instance, "instance failed", "%s", str(error), level="error")
            if not self._stopped and not self._retired:
                self._start_failed(instance, str(error))
            return
        instance.idle_since = self._clock.time()
        self._say(instance, "instance ready")
        if not self._queue:
            instance.log_cold_start()
        self._serve_waiting()
        self._watch_idle(instance)
        if instance.spec.liveness is not None:
            self._spawn(self._watch_liveness(instance, instance.spec.liveness))
        await instance.ended.wait()
        self.instances.remove(instance)
        self._say(instance, "instance ended", "exit code %s, %d requests served", instance.exit_code, instance.served)
        if instance.idle_timer is not None:
            instance.idle_timer.cancel()
        if instance.served == 0 and not instance.asked_to_end:  # or `min_instances` would start it without end
            self._start_failed(instance, f"ended with exit code {instance.exit_code} before its first request")
        self.scale()

    async def _watch_liveness(self, instance: Instance, probe: Probe) -> None:
        if await instance.watch(probe, self._around.client(), self._clock):
            reason = f"failed its liveness probe {probe.failure_threshold} times and is killed"
            self._say(instance, "instance failed", "%s", reason, level="error")
            self._log.entry(instance.name, {"severity": "ERROR", "message": f"instance {reason}"})
            instance.kill()

    def _start_failed(self, instance: Instance, reason: str) -> None:
        self._failures += 1
        backoff = state.start_backoff(self._failures)
        self._may_start_at = self._clock.time() + backoff
        self._last_failure = f"An instance of {self.spec.name} {reason}."
        tail = "\n".join(instance.last_lines) or "(nothing)"
        log.error("instance %s %s; its log tells more", instance.name, reason)
        self._log.entry(instance.name, {"severity": "ERROR", "message": f"instance {reason}", "stderr": tail})
        if not any(other.phase in _LIVE for other in self.instances):
            self._refuse_waiting(self._last_failure)
        if self.spec.min_instances or self._queue:
            self._clock.call_later(backoff, self.scale)

    def _serve_waiting(self) -> None:
        while self._queue:
            instance = state.choose(self.instances, self.spec.concurrency)
            if instance is None:
                break
            ticket = self._queue.popleft()
            if not ticket.done():
                instance.took_request()
                self._failures = 0
                ticket.set_result(instance)
        self.scale()

    def _refuse_while_backing_off(self) -> None:
        wait = self._may_start_at - self._clock.time()
        if wait > 0 and not any(instance.phase in _LIVE for instance in self.instances):
            raise self._failed(self._last_failure, wait)

    def _refuse_waiting(self, message: str) -> None:
        while self._queue:
            ticket = self._queue.popleft()
            if not ticket.done():
                ticket.set_exception(self._failed(message, self._may_start_at - self._clock.time()))

    def _failed(self, message: str, retry_in_s: float) -> InstanceFailed:
        seconds = max(1, round(retry_in_s))
        return InstanceFailed(
            message,
            hint=f"Its output is in {self._log.path}. The next start is tried in {seconds} s.",
            headers={"Retry-After": str(seconds)},
        )

    def _watch_idle(self, instance: Instance) -> None:
        """Look again when the instance may have been idle for long enough."""
        timer = instance.idle_timer
        if instance.active == 0 and instance.is_open and (timer is None or not timer.is_pending):
            wait = instance.idle_since + self.spec.idle_s - self._clock.time()
            instance.idle_timer = self._clock.call_later(wait, lambda: self._stop_if_idle(instance))

    def _stop_if_idle(self, instance: Instance) -> None:
        live = sum(other.phase in _LIVE for other in self.instances)
        idle_for = self._clock.time() - instance.idle_since
        if not instance.is_open or instance.active:
            return  # whoever releases it looks again
        if state.may_stop(self.spec, live=live, active=0, idle_for_s=idle_for):
            self._stop(instance)
        elif idle_for < self.spec.idle_s:
            self._watch_idle(instance)

    def _stop(self, instance: Instance) -> None:
        instance.close()  # now, so that nobody counts on it any more
        self._spawn(instance.stop())

    def _say(self, instance: Instance, action: str, detail: str = "", *values: object, level: Level = "info") -> None:
        activity = self._around.context.activity
        activity.emit("run", self.spec.name, action, detail, *values, level=level, ref=instance.name)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_SHUTTING_DOWN = "The local cloud is shutting down."
_LIVE = (Phase.STARTING, Phase.READY)
