"""Models made once, and buckets and instances of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.gpu_inference.device import Hardware, Runtime, choose
from services.gpu_inference.model import Model, load
from tests.services.gpu_inference import hub
from tests.services.gpu_inference.instance import Instance, add_model
from tests.services.local_storage import LocalStorage
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
