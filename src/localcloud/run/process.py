"""How does one process group start, tell what it does, and end? What instances and tasks are made of.

Its standard input is the reaper's pipe until it runs, so that it ends with the local cloud however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from localcloud.run.logs import MAX_LINE_BYTES, LogWriter
from localcloud.run.watchdog import Watchdog

STOP_GRACE_S = 10.0  # https://cloud.google.com/run/docs/container-contract#instance-shutdown
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
KEPT_LINES = 20  # of stderr, for the message when it fails
OUTPUT_DRAIN_S = 1.0


class Process:
    """A process group that has a log. `exited` is set when its leader has ended, `ended` when nothing of it is left."""

    def __init__(self, name: str, log: LogWriter, watchdog: Watchdog) -> None:
        self.name = name
        self.exited = asyncio.Event()
        self.ended = asyncio.Event()
        self.exit_code: int | None = None
        self._log = log
        self._watchdog = watchdog
        self._stderr: deque[str] = deque(maxlen=KEPT_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._outputs: list[_Output] = []
        self._exit: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the leader of its process group."""
        return self._process.pid if self._process else None

    @property
    def last_lines(self) -> list[str]:
        """The end of what it wrote to stderr."""
        return list(self._stderr)

    async def spawn(self, command: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Start it. Raises OSError, and ValueError for a NUL in the command or the environment; it then has ended."""
        try:
            await self._spawn(command, env, cwd)
        except BaseException:
            self._over()
            raise

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """SIGTERM, then SIGKILL for what still lives after `grace_s` seconds; returns when it has ended."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await self.ended.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.ended.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, if it lives."""
        if self._process is not None and not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def printed(self, stream: str, line: bytes) -> None:
        """A line arrived on one of its streams."""
        self._log.line(self.name, stream, line)
        if stream == "stderr":
            text = line.decode(errors="replace")
            self._stderr.append("".join(c if c.isprintable() else "\ufffd" for c in text))  # goes to a terminal

    async def _spawn(self, command: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self._outputs = [_Output(self, "stdout"), _Output(self, "stderr")]
        out, err = [await output.open() for output in self._outputs]
        try:
            # Not the loop's own: uvloop forks, which gRPC's threads do not survive; this one uses vfork.
            self._process = subprocess.Popen(  # noqa: ASYNC220  # takes a millisecond
                self._watchdog.command(tuple(command)),
                stdin=self._watchdog.pipe(),
                stdout=out,
                stderr=err,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
        finally:
            os.close(out)
            os.close(err)
        self._watchdog.born(self._process.pid)
        exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        threading.Thread(target=_wait, args=(self._process, exited), daemon=True).start()
        self._exit = asyncio.create_task(self._until_exit(self._process.pid, exited))

    async def _until_exit(self, group: int, exited: asyncio.Future[int]) -> None:
        self.exit_code = await exited
        self.exited.set()
        self.signal(signal.SIGKILL)  # workers that outlived their master
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OUTPUT_DRAIN_S):
                for output in self._outputs:
                    await output.closed.wait()
        self._watchdog.ended(group)
        self._over()

    def _over(self) -> None:
        for output in self._outputs:
            output.close()
        self.exited.set()
        self.ended.set()


class _Output(asyncio.Protocol):
    """One output stream of a process, line by line."""

    def __init__(self, process: Process, stream: str) -> None:
        self.closed = asyncio.Event()
        self._process = process
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
            self._process.printed(self._stream, line)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self._process.printed(self._stream, self._rest)
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


def environment(
    own: Mapping[str, str], parent: Mapping[str, str], metadata: Mapping[str, str], **variables: str
) -> dict[str, str]:
    """What a process sees: a little of `parent`, what its spec gives it, where its metadata server is, `variables`."""
    inherited = {name: parent[name] for name in INHERITED if name in parent}
    seen = {**inherited, **own, **metadata, **variables}
    seen.pop("NO_GCE_CHECK", None)  # there is a metadata server to find
    return seen
