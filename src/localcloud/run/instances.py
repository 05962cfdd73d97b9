"""How does one instance of a service start, become ready, tell what it does, and end? One process group each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum

import aiohttp
from yarl import URL

from localcloud.clock import Timer
from localcloud.run.logs import MAX_LINE_BYTES, LogWriter
from localcloud.run.state import ServiceSpec
from localcloud.run.watchdog import Watchdog

STOP_GRACE_S = 10.0  # https://cloud.google.com/run/docs/container-contract#instance-shutdown
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
FIRST_PROBE_S, LONGEST_PROBE_S, PROBE_GROWTH = 0.005, 0.1, 1.1  # finds it ready within a tenth of what the start took
PROBE_TIMEOUT_S = 5.0
KEPT_LINES = 20  # of stderr, for the message when it does not start
OUTPUT_DRAIN_S = 1.0


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
        self, *, name: str, spec: ServiceSpec, revision: str, port: int, log: LogWriter, watchdog: Watchdog
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
        self.exit_code: int | None = None
        self.cold_start = ColdStart(spec.name, name, spawned=time.time())
        self._log = log
        self._watchdog = watchdog
        self._stderr: deque[str] = deque(maxlen=KEPT_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._outputs: list[_Output] = []
        self._exit: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """It may take requests."""
        return self.phase is Phase.READY and not self.retired

    @property
    def pid(self) -> int | None:
        """Of the leader of its process group."""
        return self._process.pid if self._process else None

    @property
    def last_lines(self) -> list[str]:
        """The end of what it wrote to stderr."""
        return list(self._stderr)

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
            self._over()
            raise StartFailed(f"could not be started: {error}") from error
        if self.phase is not Phase.STARTING:
            await self.ended.wait()
            raise StartFailed(f"ended with exit code {self.exit_code} before it was ready on port {self.port}")
        self.phase = Phase.READY
        self.cold_start.ready = time.time()

    def close(self) -> None:
        """It takes no more requests, and is asked to end."""
        if self.phase in (Phase.STARTING, Phase.READY):
            self.asked_to_end = True
            self.phase = Phase.STOPPING
            self._signal(signal.SIGTERM)

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
        self._signal(signal.SIGKILL)

    def took_request(self) -> None:
        """A request is handed to it."""
        self.active += 1
        self.served += 1
        if self.cold_start.first_request is None:
            self.cold_start.first_request = time.time()
            self.log_cold_start()

    def log_cold_start(self) -> None:
        """Its cold start by part, as an entry of the service's log."""
        self._log.entry(self.name, {"message": "cold start", **asdict(self.cold_start)})

    async def _spawn(self, parent: Mapping[str, str]) -> None:
        self._outputs = [_Output(self, "stdout"), _Output(self, "stderr")]
        out, err = [await output.open() for output in self._outputs]
        try:
            # Not the loop's own: uvloop forks, which gRPC's threads do not survive; this one uses vfork.
            self._process = subprocess.Popen(  # noqa: ASYNC220  # takes a millisecond
                self._watchdog.command(self.spec.command),
                stdin=self._watchdog.pipe(),
                stdout=out,
                stderr=err,
                env=self._environment(parent),
                cwd=self.spec.cwd,
                start_new_session=True,
            )
        finally:
            os.close(out)
            os.close(err)
        self._watchdog.born(self._process.pid)
        exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        threading.Thread(target=_wait, args=(self._process, exited), daemon=True).start()
        self._exit = asyncio.create_task(self._until_exit(self._process.pid, exited))
        if self.phase is not Phase.STARTING:  # told to stop in the meantime
            self.kill()

    def _environment(self, parent: Mapping[str, str]) -> dict[str, str]:
        return {
            **{name: parent[name] for name in INHERITED if name in parent},
            **self.spec.env,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "K_SERVICE": self.spec.name,
            "K_CONFIGURATION": self.spec.name,
            "K_REVISION": self.revision,
        }

    async def _until_exit(self, group: int, exited: asyncio.Future[int]) -> None:
        self.exit_code = await exited
        self.phase = Phase.STOPPING
        self._signal(signal.SIGKILL)  # workers that outlived their master
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OUTPUT_DRAIN_S):
                for output in self._outputs:
                    await output.closed.wait()
        self._watchdog.ended(group)
        self._over()

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
        if self.spec.health_path is None:
            return True
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                async with client.get(URL(self.url + self.spec.health_path, encoded=True)) as response:
                    return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def printed(self, stream: str, line: bytes) -> None:
        """A line arrived on one of its streams."""
        self._log.line(self.name, stream, line)
        if stream == "stderr":
            text = line.decode(errors="replace")
            self._stderr.append("".join(c if c.isprintable() else "\ufffd" for c in text))  # goes to a terminal

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.phase is not Phase.ENDED:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _over(self) -> None:
        for output in self._outputs:
            output.close()
        self.phase = Phase.ENDED
        self.ended.set()


class _Output(asyncio.Protocol):
    """One output stream of an instance, line by line."""

    def __init__(self, instance: Instance, stream: str) -> None:
        self.closed = asyncio.Event()
        self._instance = instance
        self._stream = stream
        self._rest = b""
        self._transport: asyncio.ReadTransport | None = None

    async def open(self) -> int:
        """The write end, for the process."""
        read, write = os.pipe()
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: self, os.fdopen(read, "rb", buffering=0)
        )
        return write

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest[:MAX_LINE_BYTES])
            self._rest = self._rest[MAX_LINE_BYTES:]
        for line in lines:
            self._instance.printed(self._stream, line)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self._instance.printed(self._stream, self._rest)
            self._rest = b""
        self.closed.set()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _wait(process: subprocess.Popen[bytes], exited: asyncio.Future[int]) -> None:
    """Tell the loop how the process ended; a thread each, as no other way works on every loop and system."""
    code = process.wait()

    def tell() -> None:
        if not exited.done():
            exited.set_result(code)

    with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody asks any more
        exited.get_loop().call_soon_threadsafe(tell)


def free_port() -> int:
    """A port nobody listens on now. Another program may take it first: then the instance fails to start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
