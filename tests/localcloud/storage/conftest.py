"""A storage emulator of the test's own, on a real socket, and the real client in front of it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvicorn
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as gcs
from starlette.applications import Starlette

from localcloud.clock import Clock
from localcloud.context import Context
from localcloud.faults import Faults
from localcloud.identity import Identity
from localcloud.storage import Storage, routes
from localcloud.store import Store

T = TypeVar("T")


class Cloud:
    """The emulator in a thread. `events` is what its listener heard, in order."""

    def __init__(self, directory: Path | None = None, clock: Clock | None = None) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.clock = clock or Clock()
        self.faults = Faults()
        self.store = Store(directory)
        self.storage = Storage(
            Context("p", "us-central1", self.clock, self.store, self.faults, Identity(self.clock), self.url, "")
        )
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.storage.subscribe(lambda kind, resource: self.events.append((kind.rpartition(".")[2], resource)))
        self.storage.create_bucket("bkt")
        config = uvicorn.Config(
            Starlette(routes=routes(self.storage)), http="httptools", loop="uvloop", log_level="warning"
        )
        self._server = uvicorn.Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening,), daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    def _run(self, listening: socket.socket) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            await self.storage.start()
            self._started.set()
            await self._server.serve(sockets=[listening])
            await self.storage.stop()

        with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
            runner.run(main())

    def call(self, function: Callable[[], T]) -> T:
        """The result of `function`, run in the emulator's thread."""

        async def run() -> T:
            return function()

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def client(self) -> gcs.Client:
        """The real client."""
        return gcs.Client(project="p", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.url})

    def blob_files(self) -> list[Path]:
        """The payload files there are."""
        return list(self.store.blobs.iterdir())

    def stop(self) -> None:
        """As at a polite end of the process."""
        self._server.should_exit = True
        self._thread.join(10)
        self.store.close()


@pytest.fixture(autouse=True)
def _only_the_requests_the_test_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise the client asks for the bucket's metadata from a thread of its own, once a bucket.
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")


@pytest.fixture
def start() -> Iterator[Callable[..., Cloud]]:
    """Start emulators; they are stopped at the end."""
    running: list[Cloud] = []

    def begin(directory: Path | None = None, clock: Clock | None = None) -> Cloud:
        running.append(Cloud(directory, clock))
        return running[-1]

    yield begin
    for cloud in running:
        cloud.stop()


@pytest.fixture
def cloud(start: Callable[..., Cloud]) -> Cloud:
    """An emulator with the bucket `bkt`."""
    return start()


@pytest.fixture
def client(cloud: Cloud) -> gcs.Client:
    """The real client of `cloud`."""
    return cloud.client()


@pytest.fixture
def bucket(client: gcs.Client) -> gcs.Bucket:
    """The bucket `bkt`."""
    return client.bucket("bkt")
