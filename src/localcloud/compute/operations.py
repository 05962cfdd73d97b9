"""What came of a call that changes something? Operations of a zone, a region or the project."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from localcloud.clock import Clock
from localcloud.compute.errors import not_found
from localcloud.storage.times import timestamp

KEPT = 2000
WAIT_S = 120.0  # https://cloud.google.com/compute/docs/reference/rest/v1/regionOperations/wait


@dataclass(eq=False)
class Operation:
    """`scope` is `zones/<zone>`, `regions/<region>` or `global`."""

    name: str
    number: int
    scope: str
    kind: str  # such as `compute.regionInstanceGroupManagers.createInstances`
    target: str  # path of what it is about
    created: float
    finished: float | None = None
    error: tuple[str, str] | None = None
    http_status: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Operations:
    """The latest operations."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, Operation] = {}
        self._requests: dict[str, Operation] = {}
        self._count = 0

    def begin(self, scope: str, kind: str, target: str, request_id: str = "") -> Operation:
        """An operation that runs."""
        self._count += 1
        now = self._clock.time()
        name = f"operation-{int(now * 1000)}-{self._count:08x}"
        operation = Operation(name, 10**18 + int(now * 1000) * 1000 + self._count, scope, kind, target, now)
        self._known[name] = operation
        if request_id:
            self._requests[request_id] = operation
        while len(self._known) > KEPT:
            gone = self._known.pop(next(iter(self._known)))
            self._requests = {key: each for key, each in self._requests.items() if each is not gone}
        return operation

    def requested(self, request_id: str) -> Operation | None:
        """The operation that a request with this id began before; the same request again does nothing."""
        return self._requests.get(request_id) if request_id else None

    def end(self, operation: Operation, error: tuple[str, str] | None = None, http_status: int = 0) -> None:
        """It is done, well or with an error code and a message."""
        operation.finished, operation.error, operation.http_status = self._clock.time(), error, http_status
        operation.done.set()

    def find(self, scope: str, name: str) -> Operation:
        """Raises ComputeError 404."""
        operation = self._known.get(name)
        if operation is None or operation.scope != scope:
            raise not_found(f"{scope}/operations/{name}")
        return operation

    def all(self, scope: str) -> list[Operation]:
        """Those of a scope, newest first."""
        return [each for each in reversed(self._known.values()) if each.scope == scope]

    async def wait(self, operation: Operation) -> None:
        """Return when it is done, or after two minutes."""
        try:
            await self._clock.timeout(operation.done.wait(), WAIT_S)
        except TimeoutError:
            return


def shown(operation: Operation, base: str) -> dict[str, Any]:
    """As JSON. `base` is the URL of the project."""
    is_done = operation.done.is_set()
    link = f"{base}/{operation.scope}/operations/{operation.name}"
    result: dict[str, Any] = {
        "kind": "compute#operation",
        "id": str(operation.number),
        "name": operation.name,
        "operationType": operation.kind,
        "targetLink": f"{base}/{operation.target}",
        "status": "DONE" if is_done else "RUNNING",
        "progress": 100 if is_done else 0,
        "user": "local",
        "insertTime": _time(operation.created),
        "startTime": _time(operation.created),
        "selfLink": link,
    }
    place, _, name = operation.scope.partition("/")
    if name:
        result[place.removesuffix("s")] = f"{base}/{operation.scope}"
    if operation.finished is not None:
        result["endTime"] = _time(operation.finished)
    if operation.error is not None:
        code, message = operation.error
        result["error"] = {"errors": [{"code": code, "message": message}]}
        result["httpErrorStatusCode"] = operation.http_status or 400
        result["httpErrorMessage"] = message
    return result


def _time(seconds: float) -> str:
    return timestamp(int(seconds * 1_000_000))
