"""A storage emulator of the test's own, on a real socket."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as gcs
from google.oauth2 import service_account
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from localcloud import gateway
from localcloud.clock import Clock
from localcloud.context import Context
from localcloud.faults import Faults
from localcloud.identity import Identity
from localcloud.storage import Storage, routes, xml_api
from localcloud.store import Store

T = TypeVar("T")
SIGNER = "signer@p.iam.gserviceaccount.com"


class Host:
    """One server for all tests, in a thread, which answers with the application of the emulator that stands."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.app: ASGIApp = Starlette()
        config = uvicorn.Config(
            self._answer, interface="asgi3", http="httptools", loop="uvloop", lifespan="off", log_level="warning"
        )
        self._server = uvicorn.Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, run in the server's thread."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def stop(self) -> None:
        """End the server."""
        self._server.should_exit = True
        self._thread.join(10)

    def _run(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._started.set()
            await self._server.serve(sockets=[self._listening])

        with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
            runner.run(main())

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class Cloud:
    """An emulator with the bucket `bkt`. `events` is what its listener heard, in order."""

    def __init__(self, host: Host, directory: Path | None = None, clock: Clock | None = None) -> None:
        self._host = host
        self._stopped = False
        self.url = host.url
        self.clock = clock or Clock()
        self.faults = Faults()
        self.store = Store(directory)
        self.storage = Storage(
            Context("p", "us-central1", self.clock, self.store, self.faults, Identity(self.clock), self.url, "")
        )
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.storage.subscribe(lambda kind, resource: self.events.append((kind.rpartition(".")[2], resource)))
        self.storage.create_bucket("bkt")
        host.call(self.storage.start())
        host.app = gateway.application([*routes(self.storage), *xml_api.routes(self.storage)])

    def call(self, function: Callable[[], T]) -> T:
        """The result of `function`, run in the emulator's thread."""

        async def run() -> T:
            return function()

        return self._host.call(run())

    def client(self) -> gcs.Client:
        """The real client."""
        return gcs.Client(project="p", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.url})

    def signing_client(self) -> gcs.Client:
        """The real client with the key of a service account, which signs URLs."""
        key = self.call(lambda: self.storage.context.identity.service_account_key(SIGNER))
        credentials = service_account.Credentials.from_service_account_info(key)
        return gcs.Client(project="p", credentials=credentials, client_options={"api_endpoint": self.url})

    def blob_files(self) -> list[Path]:
        """The payload files there are."""
        return list(self.store.blobs.iterdir())

    def stop(self) -> None:
        """As at a polite end of the process."""
        if not self._stopped:
            self._stopped = True
            self._host.call(self.storage.stop())
            self.store.close()
