"""The storage emulator in a thread of its own, on a real socket: what services read and write in their tests."""

from __future__ import annotations

import asyncio
import socket
import threading

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
from zeroidle.gcp.objects import GoogleObjects


class LocalStorage:
    """Serves from its making until `stop`."""

    def __init__(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does not; it saves 40 ms a request
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.faults = Faults()
        clock = Clock()
        self._store = Store()
        context = Context("p", "us-central1", clock, self._store, self.faults, Identity(clock), self.url, "")
        self._storage = Storage(context)
        self._server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes(self._storage)), log_level="warning"))
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening,), daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    def create_bucket(self, name: str) -> None:
        self._storage.create_bucket(name)

    def client(self) -> gcs.Client:
        return gcs.Client(project="p", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.url})

    def objects(self) -> GoogleObjects:
        return GoogleObjects(self.client())

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._store.close()

    def _run(self, listening: socket.socket) -> None:
        async def main() -> None:
            await self._storage.start()
            self._started.set()
            await self._server.serve(sockets=[listening])
            await self._storage.stop()

        asyncio.run(main())
