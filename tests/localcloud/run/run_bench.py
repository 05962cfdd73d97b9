"""A gateway and Cloud Run on a loop of their own, and small real services to run on it."""

from __future__ import annotations

import asyncio
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import urllib3

from localcloud.clock import Clock
from localcloud.context import Context
from localcloud.faults import Faults
from localcloud.gateway import Gateway
from localcloud.identity import Identity
from localcloud.interruptions import interruptible
from localcloud.run import admin, api, knative
from localcloud.run.service import Run
from localcloud.run.state import ServiceSpec
from localcloud.store import Store

# Answers what it was asked; `/sleep/<file>` answers only once the file exists.
SERVICE = textwrap.dedent("""
    import json, os, pathlib, sys, time
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            if self.path.startswith("/wait/"):
                name = pathlib.Path(os.environ["FILES"], self.path[6:])
                pathlib.Path(f"{name}.begun").touch()
                while not name.exists():
                    time.sleep(0.005)
            answer = json.dumps({
                "method": self.command, "path": self.requestline.split()[1], "headers": self.headers.items(),
                "pid": os.getpid(), "body": body.decode("latin-1"), "env": dict(os.environ),
            }).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.send_header("Set-Cookie", "a=1")
            self.send_header("Set-Cookie", "b=2")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)
            self.wfile.flush()

        do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_GET

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    print("serving", flush=True)
    Server((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
""")


class Bench:
    """A running gateway with Cloud Run behind it, driven from the test's thread."""

    def __init__(self, directory: Path) -> None:
        self.files = directory / "files"
        self.files.mkdir(exist_ok=True)
        self.http = urllib3.PoolManager(maxsize=50, retries=False)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.await_(self._start(directory / "state"))

    async def _start(self, state: Path) -> None:
        self.clock = Clock(frozen=True)
        faults = Faults()
        self.gateway = Gateway(faults=faults)
        self.context = Context(
            project="local",
            location="us-central1",
            clock=self.clock,
            store=Store(state),
            faults=faults,
            identity=Identity(self.clock, http_url=self.gateway.http_url),
            http_url=self.gateway.http_url,
            grpc_address=self.gateway.grpc_address,
        )
        self.run = Run(self.context)
        await self.run.start()
        routes = [*api.routes(self.run), *admin.routes(self.run), *knative.routes(self.run)]
        await self.gateway.start(interruptible(faults, "run", routes), admin.grpc_handlers(self.run))
        await self.run.jobs.start()

    def close(self) -> None:
        self.await_(self.run.jobs.stop())
        self.await_(self.run.stop())
        self.await_(self.gateway.stop())
        self.context.store.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def await_(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        async def called() -> Any:
            return function(*args)

        return self.await_(called())

    def deploy(self, name: str = "echo", script: str = SERVICE, bare: bool = True, **options: Any) -> ServiceSpec:
        options = {"public": True, "env": {"FILES": str(self.files)}, **options}
        spec = ServiceSpec(
            name, command=(sys.executable, *(["-S"] if bare else []), "-c", script), cwd=self.files, **options
        )
        self.call(self.run.deploy, spec)
        return spec

    def get(self, path: str = "/", service: str = "echo", method: str = "GET", **options: Any) -> Any:
        return self.http.request(method, f"{self.gateway.http_url}/run/{service}{path}", **options)

    def background(self, *args: Any, **options: Any) -> Background:
        return Background(lambda: self.get(*args, **options))

    def begun(self, name: str) -> None:
        """Wait until the service has the request `/wait/<name>`."""
        until((self.files / f"{name}.begun").exists)

    def finish(self, name: str) -> None:
        (self.files / name).touch()

    def instances(self, service: str = "echo") -> list[Any]:
        return self.call(self.run.instances, service)


class Background:
    """A request on a thread of its own."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._result: Any = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._result = self._work()

    def result(self) -> Any:
        self._thread.join(30)
        assert not self._thread.is_alive(), "no answer"
        return self._result


def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)
