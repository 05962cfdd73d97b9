"""How does the local cloud start without importing what it doesn't need yet?

The messages of a Google API are in `<package>.types`, but importing that imports the package, and so its clients, which
take half a second that nothing here needs; aiohttp is needed once there is somebody to call; uvicorn's own code is a
command line. A deferred package is there with its path, so its submodules can be imported; its own code runs when
somebody asks for a name that is none of them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any

PACKAGES = (
    "aiohttp",
    "uvicorn",
    "google.pubsub_v1",
    "google.cloud.workflows",
    "google.cloud.workflows_v1",
    "google.cloud.workflows.executions_v1",
)

_lock = threading.RLock()
_running: set[str] = set()


class _Deferred(ModuleType):
    """A package whose code has not run."""

    def __getattr__(self, name: str) -> Any:
        submodule = f"{self.__name__}.{name}"
        # Any other submodule is filled by the package's own code: `services` gets its `executions` there.
        # `types` and `gapic_version` import nothing of the package.
        if name in ("types", "gapic_version") or submodule in PACKAGES:
            return importlib.import_module(submodule)
        with _lock:
            if self.__name__ in _running:  # its own code asks for what it has not defined
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
            if isinstance(self, _Deferred):  # no other thread was first
                self._run()
        return getattr(self, name)

    def _run(self) -> None:
        assert self.__spec__ is not None  # noqa: S101  # it was found
        assert self.__spec__.loader is not None  # noqa: S101  # as above
        _running.add(self.__name__)
        try:
            self.__spec__.loader.exec_module(self)
        finally:
            _running.discard(self.__name__)
        self.__class__ = ModuleType  # type: ignore[assignment]  # from here on a package as any other


def defer(packages: tuple[str, ...] = PACKAGES) -> None:
    """Defer the code of those packages that are not imported yet; parents come before their children."""
    for name in packages:
        if name in sys.modules:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None:
            continue  # whoever needs it will hear of it
        package = importlib.util.module_from_spec(spec)
        package.__class__ = _Deferred
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)  # as an import would
