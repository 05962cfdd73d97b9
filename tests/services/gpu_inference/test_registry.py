"""Models come from the bucket checked, are loaded once, and go when memory is short."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.gpu_inference.device import Runtime
from services.gpu_inference.metrics import Metrics
from services.gpu_inference.model import Model, load
from services.gpu_inference.registry import RESOLVE_FOR_S, Registry
from tests.services.gpu_inference.instance import add_model
from zeroidle.contracts import codec
from zeroidle.contracts.models import ModelIndex
from zeroidle.contracts.services import ModelRef, ObjectRef
from zeroidle.errors import MissingObject, PermanentError, TemporaryError
from zeroidle.gcp.objects import GoogleObjects

MIB = 2**20


class Loads:
    """Loads for real, counts, and can be told to fail or to wait."""

    def __init__(self, runtime: Runtime) -> None:
        self.done: list[str] = []
        self.fail_next = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self._runtime = runtime

    def __call__(self, directory: Path, index: ModelIndex) -> Model:
        assert self.may_go_on.wait(10)
        self.done.append(index.name)
        if self.fail_next:
            self.fail_next = False
            raise TemporaryError("the disk is full")
        return load(directory, index, self._runtime)


@pytest.fixture
def loads(runtime: Runtime) -> Loads:
    return Loads(runtime)


class Time:
    """Seconds that pass when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def registry_of(
    objects: GoogleObjects, bucket: str, loads: Loads, time: Time, tmp_path: Path
) -> Iterator[Callable[..., Registry]]:
    with ExitStack() as stack:

        def make(limit_bytes: int = 100 * MIB) -> Registry:
            registry = Registry(
                objects, bucket, tmp_path / "cache", loads, limit_bytes=limit_bytes, metrics=Metrics(), clock=time
            )
            stack.callback(registry.close)
            return registry

        yield make


@pytest.fixture
def added(objects: GoogleObjects, bucket: str, directory: Callable[[str], Path]) -> Callable[..., ModelIndex]:
    def add(name: str = "classifier", version: str = "1", architecture: str = "BertForSequenceClassification") -> Any:
        return add_model(objects, bucket, directory(architecture), name, version)

    return add


def use(registry: Registry, name: str = "classifier", version: str | None = "1") -> str:
    with registry.use(ModelRef(name=name, version=version)) as model:
        return model.name


def test_callers_at_the_same_time_share_one_load(
    registry_of: Callable[..., Registry], added: Callable[..., ModelIndex], loads: Loads
) -> None:
    added()
    registry = registry_of()
    loads.may_go_on.clear()

    with ThreadPoolExecutor(6) as callers:
        names = [callers.submit(use, registry) for _ in range(6)]
        loads.may_go_on.set()

        assert {one.result() for one in names} == {"classifier@1"}
    assert loads.done == ["classifier"]


def test_a_failed_load_does_not_poison_the_next(
    registry_of: Callable[..., Registry], added: Callable[..., ModelIndex], loads: Loads
) -> None:
    added()
    registry = registry_of()
    loads.fail_next = True
    with pytest.raises(TemporaryError, match="the disk is full"):
        use(registry)

    assert use(registry) == "classifier@1"
    assert registry.loaded() == ["classifier@1"]


def test_without_a_version_the_newest_complete_one_is_used(
    registry_of: Callable[..., Registry],
    added: Callable[..., ModelIndex],
    objects: GoogleObjects,
    bucket: str,
    time: Time,
) -> None:
    for version in ("9", "10"):
        added(version=version)
    objects.write(ObjectRef(bucket=bucket, name="classifier/11/config.json"), b"{}")  # still being added
    registry = registry_of()
    assert use(registry, version=None) == "classifier@10"

    added(version="11")
    time.now = RESOLVE_FOR_S + 1

    assert use(registry, version=None) == "classifier@11"


def test_the_least_recently_used_model_goes_when_memory_is_short(
    registry_of: Callable[..., Registry], added: Callable[..., ModelIndex], loads: Loads, time: Time
) -> None:
    for name in ("a", "b", "c"):
        added(name)
    registry = registry_of()
    use(registry, "a")
    registry._limit = int(registry._used() * 2.6)  # two fit
    for now, name in enumerate(["b", "a", "c"]):
        time.now = now
        use(registry, name)

    assert registry.loaded() == ["c@1", "a@1"]
    use(registry, "b")
    assert loads.done == ["a", "b", "c", "b"]


def test_a_model_in_use_is_never_evicted(
    registry_of: Callable[..., Registry], added: Callable[..., ModelIndex]
) -> None:
    added("a")
    added("b")
    registry = registry_of()
    with registry.use(ModelRef(name="a", version="1")) as model:
        registry._limit = int(registry._used() * 1.5)
        with pytest.raises(TemporaryError, match="in use"):
            use(registry, "b")
        assert len(model.predict(model.decode(["still here"]))) == 1

    assert use(registry, "b") == "b@1"
    assert registry.loaded() == ["b@1"]


def test_a_model_larger_than_the_memory_is_refused(
    registry_of: Callable[..., Registry], added: Callable[..., ModelIndex]
) -> None:
    added()

    with pytest.raises(PermanentError, match="the limit is 0 MiB") as raised:
        use(registry_of(limit_bytes=1000))
    assert raised.value.code == "MODEL_TOO_LARGE"


@pytest.mark.parametrize("version", [None, "7"])
def test_an_unknown_model_is_named(version: str | None, registry_of: Callable[..., Registry]) -> None:
    with pytest.raises(MissingObject, match="model 'classifier") as raised:
        use(registry_of(), version=version)
    assert raised.value.code == "MODEL_NOT_FOUND"


def test_a_changed_file_is_refused_with_both_hashes(
    registry_of: Callable[..., Registry],
    added: Callable[..., ModelIndex],
    objects: GoogleObjects,
    bucket: str,
    tmp_path: Path,
) -> None:
    index = added()
    tampered = ObjectRef(bucket=bucket, name="classifier/1/model.safetensors")
    data, _ = objects.read(tampered)
    objects.write(tampered, data[:-1] + bytes([data[-1] ^ 1]))

    with pytest.raises(PermanentError, match=r"model\.safetensors has SHA-256 [0-9a-f]{64}") as raised:
        use(registry_of())

    assert index.files["model.safetensors"] in raised.value.message
    assert list((tmp_path / "cache").iterdir()) == [], "nothing of it is kept"


def test_an_index_that_was_edited_is_refused(
    registry_of: Callable[..., Registry], added: Callable[..., ModelIndex], objects: GoogleObjects, bucket: str
) -> None:
    index = added()
    files = {name: sha256 for name, sha256 in index.files.items() if name != "tokenizer_config.json"}
    edited = codec.encode({**msgspec.to_builtins(index), "files": files})
    objects.write(ObjectRef(bucket=bucket, name="classifier/1/model.json"), edited)

    with pytest.raises(PermanentError, match="SHA-256"):
        use(registry_of())


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", ".hidden", "a/../../b"])
def test_an_index_cannot_name_a_file_outside_its_folder(
    name: str, registry_of: Callable[..., Registry], objects: GoogleObjects, bucket: str
) -> None:
    index = {"schema": 1, "name": "evil", "version": "1", "task": "text-classification"}
    body = codec.encode({**index, "files": {name: "0" * 64}, "sha256": "0" * 64})
    objects.write(ObjectRef(bucket=bucket, name="evil/1/model.json"), body)

    with pytest.raises(PermanentError, match="files"):
        use(registry_of(), "evil")


def test_a_second_instance_finds_the_files_in_the_cache(
    registry_of: Callable[..., Registry], added: Callable[..., ModelIndex], objects: GoogleObjects, bucket: str
) -> None:
    added()
    use(registry_of())
    objects.write(ObjectRef(bucket=bucket, name="classifier/1/model.safetensors"), b"not read again")

    assert use(registry_of()) == "classifier@1"


def test_a_cache_that_cannot_be_written_is_worth_another_try(
    registry_of: Callable[..., Registry], added: Callable[..., ModelIndex], tmp_path: Path
) -> None:
    added()
    registry = registry_of()
    (tmp_path / "cache").write_text("a file where the directory should be")
    with pytest.raises(TemporaryError, match="cannot download model classifier@1"):
        use(registry)

    (tmp_path / "cache").unlink()
    assert use(registry) == "classifier@1"
