"""Which models are loaded? From the bucket, checked by hash, each loaded once, the least recently used evicted."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.gpu_inference.metrics import Metrics
from services.gpu_inference.model import Model
from zeroidle.contracts import codec
from zeroidle.contracts.models import INDEX, ModelIndex, files_sha256, newest
from zeroidle.contracts.services import ModelRef, ObjectRef
from zeroidle.errors import MissingObject, PermanentError, TemporaryError, printable
from zeroidle.ports import ObjectInfo, Objects

RESOLVE_FOR_S = 30.0  # a new version is seen after this; saves a listing per request
CHUNK_BYTES = 2**20

Loader = Callable[[Path, ModelIndex], Model]
Key = tuple[str, str]  # name, version

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Slot:
    """A model that is loaded or being loaded."""

    size_bytes: int = 0  # what it will take, then what it takes
    users: int = 0
    used_at: float = 0.0
    model: Future[Model] = field(default_factory=Future)


class Registry:
    """The models of one instance."""

    def __init__(
        self,
        objects: Objects,
        bucket: str,
        cache: Path,
        load: Loader,
        *,
        limit_bytes: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._objects, self._bucket, self._cache, self._load = objects, bucket, cache, load
        self._limit, self._metrics, self._clock = limit_bytes, metrics, clock
        self._lock = threading.Lock()
        self._slots: dict[Key, Slot] = {}
        self._newest: dict[str, tuple[str, float]] = {}  # version, and until when it is believed

    @contextmanager
    def use(self, ref: ModelRef) -> Iterator[Model]:
        """A loaded model that is not evicted inside. Concurrent callers share one load; a failed one is not remembered.

        Raises MissingObject for an unknown model, PermanentError for one that cannot be run, TemporaryError.
        """
        key = self._key(ref)
        with self._lock:
            slot = self._slots.get(key)
            mine = slot is None
            if slot is None:
                slot = self._slots[key] = Slot()
            slot.users += 1
            slot.used_at = self._clock()
        try:
            if mine:
                self._fill(key, slot)
            yield slot.model.result()
        finally:
            with self._lock:
                slot.users -= 1
                slot.used_at = self._clock()

    def sha256(self, ref: ModelRef) -> str:
        """The hash of a model's content, from its index: nothing is loaded. Raises as `use`."""
        return self._look_up(self._key(ref))[0].sha256

    def loaded(self) -> list[str]:
        """name@version of what is loaded, most recently used first."""
        with self._lock:
            slots = [item for item in self._slots.items() if item[1].model.done()]
        return [f"{name}@{version}" for (name, version), slot in sorted(slots, key=lambda item: -item[1].used_at)]

    def close(self) -> None:
        """Let all models go."""
        with self._lock:
            slots, self._slots = list(self._slots.values()), {}
        for slot in slots:
            if slot.model.done():
                slot.model.result().close()

    def _key(self, ref: ModelRef) -> Key:
        return ref.name, ref.version or self._newest_version(ref.name)

    def _newest_version(self, name: str) -> str:
        with self._lock:
            version, until = self._newest.get(name, ("", 0.0))
        if self._clock() < until:
            return version
        found = newest(_versions(name, self._objects.list(self._bucket, f"{name}/")))
        if found is None:
            raise MissingObject(
                f"model {printable(name)!r} is not in bucket {self._bucket!r}",
                code="MODEL_NOT_FOUND",
                hint="Add it with `zeroidle models add DIR`.",
            )
        with self._lock:
            self._newest[name] = (found, self._clock() + RESOLVE_FOR_S)
        return found

    def _fill(self, key: Key, slot: Slot) -> None:
        """Load into a slot that others may be waiting for; on failure it goes, and they get the error."""
        try:
            model = self._load_model(key, slot)
        except BaseException as error:
            with self._lock:
                self._slots.pop(key, None)
            self._metrics.model_loads.labels("failed").inc()
            slot.model.set_exception(error)
            raise
        with self._lock:
            slot.size_bytes = model.size_bytes
        self._metrics.model_loads.labels("ok").inc()
        slot.model.set_result(model)
        self._measure()

    def _load_model(self, key: Key, slot: Slot) -> Model:
        started = self._clock()
        index, found = self._look_up(key)
        self._make_room(key, slot, sum(found[file].size for file in index.files if file.endswith(".safetensors")))
        directory = self._download(index, found)
        model = self._load(directory, index)
        log.info(
            "loaded %s on %s in %s because %s: %.1f MiB, %.2f s",
            model.name, model.runtime.device, model.runtime.dtype, model.runtime.reason,
            model.size_bytes / 2**20, self._clock() - started,
        )  # fmt: skip
        return model

    def _look_up(self, key: Key) -> tuple[ModelIndex, Mapping[str, ObjectInfo]]:
        """What the version consists of, checked against what is there; and that, by file name."""
        name, version = key
        folder, where = f"{name}/{version}/", f"{name}/{version}/{INDEX}"
        found = {info.ref.name.removeprefix(folder): info for info in self._objects.list(self._bucket, folder)}
        if INDEX not in found:
            raise MissingObject(
                f"model {printable(f'{name}@{version}')!r} is not in bucket {self._bucket!r}",
                code="MODEL_NOT_FOUND",
                hint="Add it with `zeroidle models add DIR`.",
            )
        data, _ = self._objects.read(found[INDEX].ref)
        index = codec.decode(data, ModelIndex, what=where)
        if (index.name, index.version) != (name, version):
            raise PermanentError(f"{where} describes {index.name}@{index.version}", code="NOT_A_MODEL")
        if (actual := files_sha256(index.files)) != index.sha256:
            raise _mismatch(where, index.sha256, actual)
        missing = [file for file in index.files if file not in found]
        if missing:
            raise PermanentError(f"{where} names files that are not there: {printable(missing)}", code="NOT_A_MODEL")
        return index, found

    def _make_room(self, key: Key, slot: Slot, need: int) -> None:
        """Evict what was not used for longest until `need` bytes fit, and reserve them."""
        if need > self._limit:
            raise PermanentError(
                f"model {key[0]}@{key[1]} needs {need >> 20} MiB, the limit is {self._limit >> 20} MiB",
                code="MODEL_TOO_LARGE",
                hint="Raise MEMORY_LIMIT_MB, or run on a larger instance.",
            )
        evicted = []
        with self._lock:
            while self._used() + need > self._limit:
                idle = [other for other, it in self._slots.items() if it.users == 0 and it.model.done()]
                if not idle:
                    raise TemporaryError("all models in memory are in use", code="NO_MEMORY", retry_after_s=5)
                oldest = min(idle, key=lambda other: self._slots[other].used_at)
                evicted.append((oldest, self._slots.pop(oldest)))
            slot.size_bytes = need
        for (name, version), old in evicted:
            old.model.result().close()
            self._metrics.model_evictions.inc()
            log.info("evicted %s@%s", name, version)

    def _used(self) -> int:
        return sum(slot.size_bytes for slot in self._slots.values())

    def _download(self, index: ModelIndex, found: Mapping[str, ObjectInfo]) -> Path:
        """The files in the cache. A directory is renamed into place whole, so one that is there is complete."""
        target = self._cache / index.sha256
        if target.is_dir():
            return target
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="partial-", dir=self._cache, ignore_cleanup_errors=True) as partial:
                whole = Path(partial) / "whole"
                for file, expected in index.files.items():
                    self._fetch(found[file].ref, whole / file, expected)
                whole.rename(target)
        except OSError as error:
            if not target.is_dir():  # else another instance with the same cache was first
                raise TemporaryError(
                    f"cannot download model {index.name}@{index.version}: {printable(str(error))}"
                ) from error
        return target

    def _fetch(self, ref: ObjectRef, target: Path, expected: str) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with self._objects.open(ref) as source, target.open("wb") as file:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != expected:
            raise _mismatch(ref.name, expected, digest.hexdigest())

    def _measure(self) -> None:
        with self._lock:
            self._metrics.models.set(sum(slot.model.done() for slot in self._slots.values()))
            self._metrics.memory.set(self._used())


def _versions(name: str, objects: Iterator[ObjectInfo]) -> list[str]:
    """The versions that are complete: their index is written last."""
    paths = (info.ref.name.removeprefix(f"{name}/").split("/") for info in objects)
    return [path[0] for path in paths if len(path) == 2 and path[1] == INDEX]


def _mismatch(name: str, expected: str, actual: str) -> PermanentError:
    return PermanentError(
        f"{printable(name)} has SHA-256 {actual}, its index says {expected}",
        code="HASH_MISMATCH",
        hint="The file was changed after the model was added; add it again as a new version.",
    )
