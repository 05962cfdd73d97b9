"""Models made once, and local storage on a real socket."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
from services.gpu_inference.device import Hardware, Runtime, choose
from services.gpu_inference.model import Model, load
from tests.services.gpu_inference import hub
from tests.services.gpu_inference.instance import Instance, add_model
from zeroidle.contracts.models import describe
from zeroidle.gcp.objects import GoogleObjects


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """The CPU in float32, in two lanes."""
    return choose(Hardware(frozenset(), None, 2**30), "cpu", "float32", 2)


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a random model of an architecture."""
    made: dict[str, Path] = {}

    def of(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = hub.make(architecture, tmp_path_factory.mktemp(architecture.lower()))
        return made[architecture]

    return of


@pytest.fixture(scope="session")
def classifier(directory: Callable[[str], Path], runtime: Runtime) -> Iterator[Model]:
    """A small classifier, loaded."""
    path = directory("BertForSequenceClassification")
    model = load(path, describe(path, name="classifier"), runtime)
    yield model
    model.close()


class LocalStorage:
    """The emulator in a thread of its own."""

    def __init__(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.faults = Faults()
        clock = Clock()
        self._storage = Storage(Context("p", "us-central1", clock, Store(), self.faults, Identity(clock), self.url, ""))
        self._server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes(self._storage)), log_level="warning"))
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening,), daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    def create_bucket(self, name: str) -> None:
        self._storage.create_bucket(name)

    def objects(self) -> GoogleObjects:
        options = {"api_endpoint": self.url}
        return GoogleObjects(gcs.Client(project="p", credentials=AnonymousCredentials(), client_options=options))

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    def _run(self, listening: socket.socket) -> None:
        async def main() -> None:
            await self._storage.start()
            self._started.set()
            await self._server.serve(sockets=[listening])
            await self._storage.stop()

        asyncio.run(main())


@pytest.fixture(scope="session")
def local_storage() -> Iterator[LocalStorage]:
    storage = LocalStorage()
    yield storage
    storage.stop()


@pytest.fixture
def bucket(local_storage: LocalStorage, request: pytest.FixtureRequest) -> str:
    """A bucket of this test alone."""
    name = f"b-{abs(hash(request.node.nodeid))}"
    local_storage.create_bucket(name)
    return name


@pytest.fixture
def objects(local_storage: LocalStorage) -> GoogleObjects:
    """Local storage through the real client."""
    return local_storage.objects()


@pytest.fixture
def start(objects: GoogleObjects, bucket: str, directory: Callable[[str], Path]) -> Iterator[Callable[..., Instance]]:
    """Start a service with settings and the default model `classifier`; it is stopped after the test."""
    instances: list[Instance] = []

    def go(*, ready: bool = True, **settings: Any) -> Instance:
        if ready:
            add_model(objects, bucket, directory("BertForSequenceClassification"))
        instances.append(Instance(objects, bucket, **settings))
        if ready:
            instances[-1].wait_until_ready()
        return instances[-1]

    yield go
    for instance in instances:
        instance.stop()
