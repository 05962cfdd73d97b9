"""When is an instance of a service ready, which requests has it had, and how does it end? One process group each."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING

from localcloud.clock import Clock, Timer
from localcloud.metadata import MetadataServer
from localcloud.run.logs import LogWriter
from localcloud.run.process import STOP_GRACE_S, Process, environment
from localcloud.run.state import Probe, ServiceSpec
from localcloud.run.watchdog import Watchdog

if TYPE_CHECKING:  # a tenth of a second at the start, needed once there is somebody to call
    import aiohttp

FIRST_PROBE_S, LONGEST_PROBE_S, PROBE_GROWTH = 0.005, 0.1, 1.1  # finds it ready within a tenth of what the start took
PROBE_TIMEOUT_S = 5.0


class StartFailed(Exception):
    """The instance ended or took too long before it was ready; the message says which."""


class Phase(Enum):
    """Where in its life an instance is."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass
class ColdStart:
    """When one instance got how far, in real seconds since the epoch; None: not yet."""

    service: str
    instance: str
    spawned: float
    listening: float | None = None
    ready: float | None = None
    first_request: float | None = None


class Instance:
    """A process of a service. Times of its own life are real; `idle_since` is virtual."""

    def __init__(
        self,
        *,
        name: str,
        spec: ServiceSpec,
        revision: str,
        port: int,
        log: LogWriter,
        watchdog: Watchdog,
        metadata: MetadataServer,
    ) -> None:
        self.name = name
        self.spec = spec
        self.revision = revision
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.phase = Phase.STARTING
        self.retired = False  # a newer revision takes the requests
        self.asked_to_end = False
        self.active = 0
        self.served = 0
        self.idle_since = 0.0
        self.idle_timer: Timer | None = None
        self.ended = asyncio.Event()
        self.cold_start = ColdStart(spec.name, name, spawned=time.time())
        self._log = log
        self._metadata = metadata
        self._process = Process(name, log, watchdog)
        self._end: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """It may take requests."""
        return self.phase is Phase.READY and not self.retired

    @property
    def pid(self) -> int | None:
        """Of the leader of its process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Of the leader; negative: the signal that ended it. None: it lives, or never did."""
        return self._process.exit_code

    @property
    def last_lines(self) -> list[str]:
        """The end of what it wrote to stderr."""
        return self._process.last_lines

    def description(self) -> dict[str, object]:
        """The instance as JSON."""
        return {
            "service": self.spec.name,
            "instance": self.name,
            "revision": self.revision,
            "phase": self.phase.value,
            "pid": self.pid,
            "port": self.port,
            "active": self.active,
            "served": self.served,
            "cold_start": asdict(self.cold_start),
        }

    async def start(self, client: aiohttp.ClientSession, parent: Mapping[str, str]) -> None:
        """Spawn the process and wait until it is ready. Raises StartFailed; the process is then gone."""
        try:
            await self._spawn(parent)
            async with asyncio.timeout(self.spec.startup_timeout_s):
                await self._until_ready(client)
        except TimeoutError:
            await self.stop(grace_s=1.0)
            waited = f"{self.spec.startup_timeout_s:g} s"
            raise StartFailed(f"was not ready on port {self.port} after {waited}") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the command or the environment
            await self._over()
            raise StartFailed(f"could not be started: {error}") from error
        if self.phase is not Phase.STARTING:
            await self.ended.wait()
            raise StartFailed(f"ended with exit code {self.exit_code} before it was ready on port {self.port}")
        self.phase = Phase.READY
        self.cold_start.ready = time.time()

    async def watch(self, probe: Probe, client: aiohttp.ClientSession, clock: Clock) -> bool:
        """Ask it as the probe says until it ends or fails; returns whether it failed."""
        failures = 0
        await clock.sleep(probe.initial_delay_s)
        while self.phase is Phase.READY and failures < probe.failure_threshold:
            failures = 0 if await self._passes(probe, client) else failures + 1
            if failures < probe.failure_threshold:
                await clock.sleep(probe.period_s)
        return self.phase is Phase.READY

    async def _passes(self, probe: Probe, client: aiohttp.ClientSession) -> bool:
        if probe.path is None:
            return await self._accepts()
        return 200 <= await self._status(client, probe.path, probe.timeout_s) < 400

    def close(self) -> None:
        """It takes no more requests, and is asked to end."""
        if self.phase in (Phase.STARTING, Phase.READY):
            self.asked_to_end = True
            self.phase = Phase.STOPPING
            self._process.signal(signal.SIGTERM)

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """SIGTERM, then SIGKILL for what still lives after `grace_s` seconds; returns when it has ended."""
        self.close()
        try:
            async with asyncio.timeout(grace_s):
                await self.ended.wait()
        except TimeoutError:
            self.kill()
            await self.ended.wait()

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        self._process.signal(signal.SIGKILL)

    def took_request(self) -> None:
        """A request is handed to it."""
        self.active += 1
        self.served += 1
        if self.cold_start.first_request is None:
            self.cold_start.first_request = time.time()
            self.log_cold_start()

    def log_cold_start(self) -> None:
        """Its cold start by part, as an entry of the service's log."""
        start = self.cold_start
        parts = [("listens", start.listening), ("ready", start.ready), ("first request", start.first_request)]
        said = ", ".join(f"{name} after {when - start.spawned:.3f} s" for name, when in parts if when is not None)
        self._log.entry(self.name, {"message": f"cold start: {said}", "cold_start": asdict(start)})

    async def _spawn(self, parent: Mapping[str, str]) -> None:
        await self._metadata.start()
        env = environment(
            self.spec.env,
            parent,
            self._metadata.environment(),
            HOST="127.0.0.1",
            PORT=str(self.port),
            K_SERVICE=self.spec.name,
            K_CONFIGURATION=self.spec.name,
            K_REVISION=self.revision,
        )
        await self._process.spawn(self.spec.command, env, self.spec.cwd)
        self._end = asyncio.create_task(self._until_end())
        if self.phase is not Phase.STARTING:  # told to stop in the meantime
            self.kill()

    async def _until_end(self) -> None:
        await self._process.exited.wait()
        self.phase = Phase.STOPPING
        await self._process.ended.wait()
        await self._over()

    async def _until_ready(self, client: aiohttp.ClientSession) -> None:
        """Return when it is ready or no longer starting."""
        pause = FIRST_PROBE_S
        while self.phase is Phase.STARTING:
            if self.cold_start.listening is None and await self._accepts():
                self.cold_start.listening = time.time()
            if self.cold_start.listening is not None and await self._is_healthy(client):
                return
            await asyncio.sleep(pause)
            pause = min(LONGEST_PROBE_S, pause * PROBE_GROWTH)

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def _is_healthy(self, client: aiohttp.ClientSession) -> bool:
        path = self.spec.health_path
        return path is None or await self._status(client, path, PROBE_TIMEOUT_S) == 200

    async def _status(self, client: aiohttp.ClientSession, path: str, timeout_s: float) -> int:
        """What a GET of `path` is answered with; 0: not at all."""
        import aiohttp
        from yarl import URL

        try:
            async with asyncio.timeout(timeout_s):
                async with client.get(URL(self.url + path, encoded=True)) as response:
                    return response.status
        except (aiohttp.ClientError, TimeoutError):
            return 0

    async def _over(self) -> None:
        await self._metadata.stop()
        self.phase = Phase.ENDED
        self.ended.set()


def free_port() -> int:
    """A port nobody listens on now. Another program may take it first: then the instance fails to start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
