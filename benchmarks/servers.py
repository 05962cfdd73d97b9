"""The servers that the benchmarks of the local cloud put beside each other, each a process on a free port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localcloud.official.process import java_command

START_S = 60.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
OURS = """
import signal, sys, threading
from pathlib import Path
from localcloud.cloud import CloudConfig, Deployment, running
state, http_port, grpc_port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
config = CloudConfig(state=state, http_port=http_port, grpc_port=grpc_port)
with running(config, lambda _: Deployment(buckets=("bench",))):
    ended.wait()
"""

RECEIVER = """
import asyncio, heapq, sys, time
import httptools, uvloop
arrived, waiting = [], []
def answer(transport, body):
    transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.parser = transport, httptools.HttpRequestParser(self)
    def data_received(self, data):
        self.parser.feed_data(data)
    def on_url(self, url):
        self.path = url[1:]
    def on_message_complete(self):
        if self.parser.get_method() == b"POST":
            arrived.append(time.perf_counter())
            answer(self.transport, b"")
        else:
            count = int(self.path) if self.path.isdigit() else 0
            heapq.heappush(waiting, (count, id(self), self.transport))
        while waiting and waiting[0][0] <= len(arrived):
            count, _, transport = heapq.heappop(waiting)
            answer(transport, b"%d %r" % (len(arrived), arrived[count - 1] if count else 0.0))
async def main():
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", int(sys.argv[1]), backlog=2048)
    await server.serve_forever()
uvloop.run(main())
"""

# What any Pub/Sub would have to do: take a publish request, answer it, and send a request for each of its messages.
FLOOR = """
import asyncio, sys
import grpc, uvloop
from google.pubsub_v1 import types
request_type, response_type = types.PublishRequest.pb(), types.PublishResponse.pb()
push_port, grpc_port = int(sys.argv[1]), int(sys.argv[2])
PUSH = b"POST / HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 300\\r\\n\\r\\n" + b"x" * 300
async def main():
    connection = None
    async def publish(request, context):
        nonlocal connection
        count = len(request.messages)
        if push_port and connection is None:
            connection, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", push_port)
        if push_port:
            asyncio.get_running_loop().call_soon(connection.write, PUSH * count)
        return response_type(message_ids=[str(number) for number in range(count)])
    method = grpc.unary_unary_rpc_method_handler(publish, request_type.FromString, response_type.SerializeToString)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", {"Publish": method})]
    )
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    await server.start()
    await server.wait_for_termination()
uvloop.run(main())
"""


@dataclass(frozen=True)
class Server:
    """A running process. `seconds` passed from its start until all its ports answered."""

    pid: int
    http: str
    grpc: str
    seconds: float

    def cpu_s(self) -> float:
        """CPU time of its own, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def memory_mb(self) -> float:
        """What it takes now, resident or swapped out."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(("VmRSS:", "VmSwap:"))) / 1024


@contextmanager
def ours(state: Path) -> Iterator[Server]:
    """The local cloud, with a bucket `bench`."""
    http, rpc = free_port(), free_port()
    with _process([sys.executable, "-c", OURS, str(state), str(http), str(rpc)], (http, rpc)) as server:
        yield server


@contextmanager
def zeroidle_up(state: Path) -> Iterator[Server]:
    """The local cloud with all of bundle.yaml, as the command line runs it."""
    http, rpc = free_port(), free_port()
    options = ["--state", str(state), f"--http-port={http}", f"--grpc-port={rpc}"]
    with _process([sys.executable, "-m", "zeroidle_cli.main", "up", *options], (http, rpc)) as server:
        yield server


@contextmanager
def google_pubsub() -> Iterator[Server]:
    """Google's Pub/Sub emulator. Raises localcloud.official.errors.NotInstalled."""
    port = free_port()
    command = [*java_command(os.environ), "--host=127.0.0.1", f"--port={port}"]
    with _process(command, (port, port)) as server:
        yield server


@contextmanager
def gcp_storage_emulator(directory: Path) -> Iterator[Server]:
    """PyPI's emulator of Cloud Storage, on disk as ours is, with a bucket `bench`."""
    port = free_port()
    program = "from gcp_storage_emulator.__main__ import main; main()"
    arguments = ["start", "--host", "127.0.0.1", f"--port={port}", "--default-bucket=bench", "--quiet"]
    environment = {**os.environ, "STORAGE_BASE": str(directory)}
    with _process([sys.executable, "-c", program, *arguments], (port, port), environment) as server:
        yield server


@contextmanager
def replayer(origin: Server) -> Iterator[Server]:
    """A bare server that answers the same requests with the same bytes as `origin`."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.replaying", str(port), origin.http.removeprefix("http://")]
    with _process(command, (port, port)) as server:
        yield server


@contextmanager
def receiver() -> Iterator[Server]:
    """A push endpoint that answers POSTs at once.

    To `GET /<n>` it answers, once there were n POSTs, how many there were, and when the last of the n came: in seconds
    of `time.perf_counter`, which all processes share.
    """
    port = free_port()
    with _process([sys.executable, "-c", RECEIVER, str(port)], (port, port)) as server:
        yield server


@contextmanager
def pubsub_floor(push_port: int = 0) -> Iterator[Server]:
    """A gRPC server that answers Publish and does nothing else but, with a port, one bare POST for each message."""
    port = free_port()
    command = [sys.executable, "-c", FLOOR, str(push_port), str(port)]
    with _process(command, (None, port)) as server:
        yield server


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def _process(
    command: list[str], ports: tuple[int | None, int], environment: dict[str, str] | None = None
) -> Iterator[Server]:
    http, rpc = ports
    environment = dict(os.environ if environment is None else environment)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a second start finds what the first one compiled
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    try:
        _wait(process, lambda: (http is None or _answers(http)) and _listens(rpc))
        yield Server(process.pid, f"http://127.0.0.1:{http}", f"127.0.0.1:{rpc}", time.perf_counter() - began)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], claim: Callable[[], bool]) -> None:
    end = time.monotonic() + START_S
    while not claim():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}; is the extra `bench` installed?")
        if time.monotonic() > end:
            raise RuntimeError(f"{process.args} does not answer")
        time.sleep(0.005)


def _answers(port: int) -> bool:
    try:
        # Of the local cloud; what others say to it is an answer too.
        urllib.request.urlopen(f"http://127.0.0.1:{port}/_localcloud/health", timeout=START_S).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), START_S).close()
    except OSError:
        return False
    return True
