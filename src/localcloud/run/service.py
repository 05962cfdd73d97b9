"""Which services are deployed, in which revisions, and which of these takes a request?"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from localcloud.context import Context
from localcloud.run import traffic
from localcloud.run.errors import AlreadyExists, NoSuchService, NotFound
from localcloud.run.executions import Jobs
from localcloud.run.instances import ColdStart, Instance
from localcloud.run.logs import LogWriter
from localcloud.run.pool import Pool, Retired, Surroundings
from localcloud.run.state import Deployed, Revision, ServiceSpec
from localcloud.run.traffic import Target
from localcloud.run.watchdog import Watchdog

if TYPE_CHECKING:  # a tenth of a second at the start, needed once there is somebody to call
    import aiohttp

# Shorter than the keep-alive of gunicorn (2 s) and uvicorn (5 s): a connection taken from the pool is then alive.
KEEP_ALIVE_S = 1.5
KEPT_COLD_STARTS = 1000
KEPT_REVISIONS = 100  # https://cloud.google.com/run/quotas has 1,000
_SERVICES = "run.services"


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
                self._services[name] = self._service(record.revisions[-1].spec, record)
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

    def save_service(self, spec: ServiceSpec, revision: str = "", **described: Any) -> Service:
        """As `deploy`; `revision` is what a new one is to be called, `described` are fields of `Deployed`.

        Raises:
            AlreadyExists: another revision is called so.
        """
        service = self._services.get(spec.name)
        if service is None:
            stored, now = self.context.store.get(_SERVICES, spec.name), self.context.clock.time()
            known = Deployed(str(uuid.uuid4()), now, now) if stored is None else _decode(stored)
            service = self._services[spec.name] = self._service(spec, known)
        service.deploy(spec, {"image": "", "by_api": False, "labels": {}, "annotations": {}, **described}, revision)
        if self._started:
            service.scale()
        return service

    def _service(self, spec: ServiceSpec, record: Deployed) -> Service:
        log = LogWriter(self.logs_directory, spec.name)
        around = Surroundings(self.context, self._watchdog, log, self.events, lambda: self.client)
        return Service(spec, record, around, self.save)

    def split(self, name: str, targets: list[Target]) -> None:
        """Have a service send its requests elsewhere. Raises NoSuchService."""
        service = self.service(name)
        service.deploy(service.spec, {"traffic": targets})
        service.scale()

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

    def addressed(self, address: str) -> tuple[Service, str]:
        """The service and the tag that `<service>` or `<tag>---<service>` names. Raises NoSuchService."""
        tag, _, name = address.partition(traffic.SEPARATOR)
        if address not in self._services and name in self._services:
            return self._services[name], tag
        return self.service(address), ""

    def services(self) -> Iterator[Service]:
        """All services, in the order they were deployed."""
        return iter(self._services.values())

    def instances(self, service: str) -> list[Instance]:
        """The instances of a service that have not ended. Raises NoSuchService."""
        return self.service(service).instances

    def is_idle(self) -> bool:
        """No request is inside, and no job is running."""
        return self.in_flight == 0 and self.jobs.is_idle()

    @property
    def logs_directory(self) -> Path:
        """Where the services' logs are; `localcloud.run.logs` reads them."""
        return self.context.store.directory / "logs"


class Service:
    """One service: its revisions, and the pools of those that take requests."""

    def __init__(
        self, spec: ServiceSpec, record: Deployed, around: Surroundings, save: Callable[[Deployed], None]
    ) -> None:
        self.spec = spec  # of the latest revision
        self.record = record
        self.url = around.context.service_url(spec.name)
        self._around = around
        self._save = save
        self._pools: dict[str, Pool] = {}  # by the revision
        self._ending: list[Pool] = []
        self._credit: dict[str, int] = {}
        if record.revisions:
            self._route()

    @property
    def instances(self) -> list[Instance]:
        """Those that have not ended, of all revisions."""
        return [instance for pool in self._all_pools() for instance in pool.instances]

    @property
    def waiting(self) -> int:
        """Requests in the queues."""
        return sum(pool.waiting for pool in self._pools.values())

    @property
    def revision(self) -> str:
        """The name of the latest one."""
        return self.record.revisions[-1].name

    @property
    def shares(self) -> dict[str, int]:
        """The percent of each revision that takes requests; 0 for one that only a tag leads to."""
        return traffic.shares(self.record.traffic, self.revision)

    def tag_url(self, tag: str) -> str:
        """The address that a tag leads to."""
        return self._around.context.service_url(f"{tag}{traffic.SEPARATOR}{self.spec.name}")

    def is_new(self, spec: ServiceSpec, revision: str = "") -> bool:
        """Would this deployment make a new revision? Raises AlreadyExists if another one is called `revision`."""
        known = next((each for each in self.record.revisions if each.name == revision), None)
        latest = self.record.revisions[-1] if self.record.revisions else None
        if known is not None and (known is not latest or known.spec != spec):
            raise AlreadyExists(f"Revision named '{revision}' with different configuration already exists.")
        return latest is None or latest.spec != spec or bool(revision and known is None)

    def deploy(self, spec: ServiceSpec, described: Mapping[str, Any], revision: str = "") -> None:
        """Change what is deployed; another spec or name makes a new revision, fields of `Deployed` alone don't."""
        is_new = self.is_new(spec, revision)
        if is_new or any(getattr(self.record, name) != value for name, value in described.items()):
            self.record = msgspec.structs.replace(
                self.record,
                **described,
                updated=self._around.context.clock.time(),
                generation=self.record.generation + 1,
            )
            if is_new:
                self._revise(spec, revision)
            self._save(self.record)
            self._route()

    def _revise(self, spec: ServiceSpec, name: str) -> None:
        self.spec = spec
        chosen = name or f"{spec.name}-{self.record.generation:05d}-{secrets.token_hex(2)[:3]}"
        revision = Revision(chosen, str(uuid.uuid4()), spec, self._around.context.clock.time(), is_named=bool(name))
        old, wanted = self.record.revisions[: 1 - KEPT_REVISIONS], {each.revision for each in self.record.traffic}
        kept = [each for each in old if each.name in wanted] + self.record.revisions[1 - KEPT_REVISIONS :]
        self.record.revisions = [*kept, revision]

    def _route(self) -> None:
        """Have a pool for each revision that takes requests; those of others finish theirs and stop."""
        wanted = self.shares
        for name in self._pools.keys() - wanted:
            pool = self._pools.pop(name)
            self._ending = [*(each for each in self._ending if not each.is_over), pool]
            pool.retire()
        for revision in self.record.revisions:
            if revision.name in wanted and revision.name not in self._pools:
                self._pools[revision.name] = Pool(revision, self._around)
        self._credit = {}

    async def acquire(self, pool: Pool, tag: str = "") -> tuple[Pool, Instance]:
        """An instance of `pool` for one request, and the pool to which it must be given back. Waits in line for it.

        Where the pool takes no requests any more, the one that takes its place is asked.

        Raises:
            NotFound: the tag is gone.
            NoInstance: the queue is full.
            InstanceFailed: the instance that was to take it did not start.
        """
        while True:
            try:
                return pool, await pool.acquire()
            except Retired:
                pool = self.pool(tag)

    def pool(self, tag: str = "") -> Pool:
        """That of the revision whose turn it is, or that a tag leads to. Raises NotFound."""
        if not tag:
            return self._pools[traffic.take_turn(self.shares, self._credit)]
        revision = traffic.tagged(self.record.traffic, tag, self.revision)
        if revision is None:
            known = ", ".join(each.tag for each in self.record.traffic if each.tag) or "none"
            raise NotFound(f"Service {self.spec.name} has no tag {tag!r:.80}.", hint=f"Its tags: {known}.")
        return self._pools[revision]

    def scale(self) -> None:
        """Start as many instances as the waiting requests and `min_instances` ask for."""
        for pool in self._pools.values():
            pool.scale()

    def close(self) -> None:
        """Take no more requests, and refuse those that wait."""
        for pool in self._all_pools():
            pool.close()

    async def stop(self) -> None:
        """End all instances, quickly."""
        await asyncio.gather(*(pool.stop() for pool in self._all_pools()))
        self._around.log.close()

    def _all_pools(self) -> list[Pool]:
        return [*self._ending, *self._pools.values()]


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
