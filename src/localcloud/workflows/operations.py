"""What became of a change to a workflow? Its long-running operation, which is over before it is answered.

The changes themselves take no time here; a source that cannot be built fails its operation, as in the real service.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import msgspec

from localcloud.context import Context
from localcloud.workflows.definitions import Workflow
from localcloud.workflows.errors import not_found

TABLE = "workflows.operations"
KEPT = 1_000


class Operation(msgspec.Struct, frozen=True):
    """A finished operation. `workflow` is its result; neither that nor an error: the workflow was deleted."""

    name: str
    verb: str
    target: str
    create_time: float
    end_time: float
    workflow: Workflow | None = None
    error: str = ""


@dataclass
class Operations:
    """The operations of one project and location, the latest KEPT of them."""

    context: Context
    parent: str  # the resource name of the location

    def add(self, verb: str, target: str, *, workflow: Workflow | None = None, error: str = "") -> Operation:
        """Note what was done; the caller holds the transaction."""
        now = self.context.clock.time()
        identifier = f"operation-{int(now * 1000):015d}-{uuid.uuid4().hex[:16]}"
        operation = Operation(f"{self.parent}/operations/{identifier}", verb, target, now, now, workflow, error)
        store = self.context.store
        store.put(TABLE, identifier, msgspec.msgpack.encode(operation))
        keys = [key for key, _ in store.items(TABLE)]
        for key in keys[: max(0, len(keys) - KEPT)]:
            store.delete(TABLE, key)
        return operation

    def get(self, name: str) -> Operation:
        """An operation by its resource name. Raises ApiError NOT_FOUND."""
        row = self.context.store.get(TABLE, self._key(name))
        if row is None:
            raise not_found(f"operation {name}")
        return msgspec.msgpack.decode(row, type=Operation)

    def all(self) -> list[Operation]:
        """All operations, the latest first."""
        rows = [row for _, row in self.context.store.items(TABLE)]
        return [msgspec.msgpack.decode(row, type=Operation) for row in reversed(rows)]

    def delete(self, name: str) -> None:
        """Forget an operation. Raises ApiError NOT_FOUND."""
        self.get(name)
        self.context.store.delete(TABLE, self._key(name))

    def _key(self, name: str) -> str:
        parent, _, identifier = name.rpartition("/operations/")
        return identifier if parent == self.parent else ""
