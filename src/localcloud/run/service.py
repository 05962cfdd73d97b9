"""Who waits for an instance of a service, and who gets one? The rules of `state` put to work on processes."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import uuid
from collections import deque
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from localcloud.activity import Level
from localcloud.context import Context
from localcloud.metadata import MetadataServer, of_container
from localcloud.run import state
from localcloud.run.errors import InstanceFailed, NoInstance, NoSuchService
from localcloud.run.executions import Jobs
from localcloud.run.instances import ColdStart, Instance, Phase, StartFailed, free_port
from localcloud.run.logs import LogWriter
from localcloud.run.state import Deployed, Probe, Revision, ServiceSpec
from localcloud.run.watchdog import Watchdog

if TYPE_CHECKING:  # a tenth of a second at the start, needed once there is somebody to call
    import aiohttp

QUICK_GRACE_S = 2.0  # at the end of the local cloud nobody waits ten seconds
# Shorter than the keep-alive of gunicorn (2 s) and uvicorn (5 s): a connection taken from the pool is then alive.
KEEP_ALIVE_S = 1.5
KEPT_COLD_STARTS = 1000
KEPT_REVISIONS = 100  # https://cloud.google.com/run/quotas has 1,000
_SERVICES = "run.services"

log = logging.getLogger(__name__)


class Run:
    """All services of the local cloud. `events` are the latest cold starts, oldest first."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.events: deque[ColdStart] = deque(maxlen=KEPT_COLD_STARTS)
        self.in_flight = 0  # requests inside, waiting or worked on
        self._services: dict[str, Service] = {}
        self._watchdog = Watchdog(context.store.directory if context.store.is_temporary else None)
        self._started = False
        self._client: aiohttp.ClientSession | None = None
        self.jobs = Jobs(context, self._watchdog, self.logs_directory)

    @property
    def client(self) -> aiohttp.ClientSession:
        """The connections to the instances, from the first one on: what they need takes a while to import."""
        import aiohttp

        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=5.0, sock_read=None),
                auto_decompress=False,
                # The request goes on as it came.
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                middlewares=(_never_twice,),
            )
        return self._client

    async def start(self) -> None:
        """Be ready to start instances; those of `min_instances` start now."""
        if self.context.store.is_temporary:  # else there is nothing to watch before the first instance
            self._watchdog.pipe()
        for name, stored in self.context.store.items(_SERVICES):
            record = _decode(stored)
            if record.by_api and name not in self._services:
                self._services[name] = Service(self, record.revisions[-1].spec, record, self._watchdog)
        self._started = True
        for service in self._services.values():
            service.scale()

    async def stop(self) -> None:
        """End all instances."""
        for service in self._services.values():
            service.close()
        if self._client is not None:
            await self._client.close()  # first: servers wait for open connections when they stop
        await asyncio.gather(*(service.stop() for service in self._services.values()))
        self._watchdog.close()

    def deploy(self, spec: ServiceSpec) -> None:
        """Make `spec` the newest revision of its service. The same spec again changes nothing."""
        self.save_service(spec, fixed=len(spec.command))

    def save_service(self, spec: ServiceSpec, **described: Any) -> Service:
        """As `deploy`; `described` are fields of `Deployed`."""
        service = self._services.get(spec.name)
        if service is None:
            stored, now = self.context.store.get(_SERVICES, spec.name), self.context.clock.time()
            known = Deployed(str(uuid.uuid4()), now, now) if stored is None else _decode(stored)
            service = self._services[spec.name] = Service(self, spec, known, self._watchdog)
        service.deploy(spec, {"image": "", "by_api": False, "labels": {}, "annotations": {}, **described})
        if self._started:
            service.scale()
        return service

    def save(self, record: Deployed) -> None:
        """Write down what is deployed."""
        data = msgspec.json.encode(record, enc_hook=str)
        self.context.store.put(_SERVICES, record.revisions[-1].spec.name, data)

    async def delete(self, name: str) -> Service:
        """Remove a service and end its instances. Raises NoSuchService."""
        service = self.service(name)
        self.context.store.delete(_SERVICES, name)
        del self._services[name]
        service.close()
        await service.stop()
        return service

    def service(self, name: str) -> Service:
        """The service of this name. Raises NoSuchService."""
        try:
            return self._services[name]
        except KeyError:
            known = ", ".join(self._services) or "none"
            raise NoSuchService(f"Service {name!r:.80} does not exist.", hint=f"Deployed services: {known}.") from None

    def services(self) -> Iterator[Service]:
        """All services, in the order they were deployed."""
        return iter(self._services.values())

    def instances(self, service: str) -> list[Instance]:
        """The instances of a service that have not ended. Raises NoSuchService."""
        return list(self.service(service).instances)

    def is_idle(self) -> bool:
        """No request is inside, and no job is running."""
        return self.in_flight == 0 and self.jobs.is_idle()

    @property
    def logs_directory(self) -> Path:
        """Where the services' logs are; `localcloud.run.logs` reads them."""
        return self.context.store.directory / "logs"


class Service:
    """One service: its newest revision, its instances and the requests that wait for one."""

    def __init__(self, run: Run, spec: ServiceSpec, record: Deployed, watchdog: Watchdog) -> None:
        self.spec = spec
        self.record = record
        self.url = run.context.service_url(spec.name)
        self.instances: list[Instance] = []
        self._run = run
        self._clock = run.context.clock
        self._watchdog = watchdog
        self._log = LogWriter(run.logs_directory, spec.name)
        self._queue: deque[asyncio.Future[Instance]] = deque()
        self._failures = 0
        self._last_failure = ""
        self._may_start_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def revision(self) -> str:
        """The name of the one that takes new requests."""
        return self.record.revisions[-1].name

    def deploy(self, spec: ServiceSpec, described: Mapping[str, Any]) -> None:
        """Change what is deployed; another spec makes a new revision, fields of `Deployed` alone don't."""
        is_new = not self.record.revisions or self.record.revisions[-1].spec != spec
        if is_new or any(getattr(self.record, name) != value for name, value in described.items()):
            self.record = msgspec.structs.replace(
                self.record, **described, updated=self._clock.time(), generation=self.record.generation + 1
            )
            if is_new:
                self._revise(spec)
            self._run.save(self.record)

    def _revise(self, spec: ServiceSpec) -> None:
        """A new revision takes all new requests; instances of the old one finish theirs and stop."""
        self.spec = spec
        name = f"{spec.name}-{self.record.generation:05d}-{secrets.token_hex(2)[:3]}"
        revision = Revision(name, str(uuid.uuid4()), spec, self._clock.time())
        self.record.revisions = [*self.record.revisions, revision][-KEPT_REVISIONS:]
        self._failures, self._may_start_at = 0, 0.0
        for instance in self.instances:
            instance.retired = True
            if instance.active == 0:
                self._stop(instance)

    async def acquire(self) -> Instance:
        """The instance for one request, which must be given back with `release`. Waits in line for it.

        Raises:
            NoInstance: the queue is full.
            InstanceFailed: the instance that was to take it did not start.
        """
        if self._stopped:
            raise self._failed(_SHUTTING_DOWN, 0)
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
        if instance.retired and instance.active == 0:
            self._stop(instance)
        self._serve_waiting()
        self._watch_idle(instance)

    def scale(self) -> None:
        """Start as many instances as the waiting requests and `min_instances` ask for."""
        if self._stopped or self._clock.time() < self._may_start_at:
            return
        mine = [instance for instance in self.instances if not instance.retired and instance.phase in _LIVE]
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
        self._log.close()

    def _start_one(self) -> None:
        context = self._run.context
        instance = Instance(
            name=f"{self.revision}-{secrets.token_hex(4)}",
            spec=self.spec,
            revision=self.revision,
            port=free_port(),
            log=self._log,
            watchdog=self._watchdog,
            metadata=MetadataServer(context, of_container(context, self.spec.service_account, secrets.token_hex(64))),
        )
        self.instances.append(instance)
        self._run.events.append(instance.cold_start)
        self._say(instance, "instance starting")
        self._spawn(self._live(instance))

    async def _live(self, instance: Instance) -> None:
        """From start to end of one instance."""
        try:
            await instance.start(self._run.client, os.environ)
        except StartFailed as error:
            self.instances.remove(instance)
            self._say(instance, "instance failed", "%s", str(error), level="error")
            if not self._stopped and not instance.retired:
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
        if await instance.watch(probe, self._run.client, self._clock):
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
        live = sum(other.phase in _LIVE and not other.retired for other in self.instances)
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
        self._run.context.activity.emit("run", self.spec.name, action, detail, *values, level=level, ref=instance.name)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_SHUTTING_DOWN = "The local cloud is shutting down."
_LIVE = (Phase.STARTING, Phase.READY)


def _decode(stored: bytes) -> Deployed:
    return msgspec.json.decode(stored, type=Deployed, dec_hook=lambda _, value: Path(value))


async def _never_twice(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """aiohttp repeats an idempotent request whose kept-alive connection broke; the instance may have acted on it."""
    import aiohttp

    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientPayloadError(f"connection lost: {error}") from error
