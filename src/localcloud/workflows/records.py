"""Where are executions kept, how are they listed, and for how long? The caller holds the transaction of a change."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from localcloud.newest import Newest
from localcloud.store import Store
from localcloud.workflows import callbacks, history, journal
from localcloud.workflows.executions import Execution

KEPT_S = 90 * 86_400.0  # https://cloud.google.com/workflows/quotas: ended executions are kept for 90 days

_EXECUTIONS = "workflows.executions"
_NEWEST = "workflows.executions.newest"
_ACTIVE = "workflows.active"  # a marker for each that runs
_ENDED = "workflows.ended"  # markers by the time of the end


class Records:
    """The executions of all workflows, by `workflow/execution`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._newest = Newest(store, _NEWEST)

    def start(self, now: float) -> None:
        """Bring a state from another time in order."""
        self.prune(now)
        self._newest.fill(self._times(), self._store.count(_EXECUTIONS))

    def _times(self) -> Iterator[tuple[str, float]]:
        return ((key, decoded(row).create_time) for key, row in self._store.items(_EXECUTIONS))

    def get(self, key: str) -> Execution | None:
        """An execution, if it is there."""
        row = self._store.get(_EXECUTIONS, key)
        return None if row is None else decoded(row)

    def begin(self, execution: Execution) -> None:
        """A new execution, which is active."""
        self._put(execution)
        self._newest.add(execution.key, execution.create_time)
        self._store.put(_ACTIVE, execution.key, b"")

    def end(self, execution: Execution, steps: bytes | None) -> None:
        """It has ended, with its step entries if they are kept."""
        self._put(execution)
        self._store.delete(_ACTIVE, execution.key)
        self._store.put(_ENDED, f"{execution.end_time:020.6f}/{execution.key}", b"")
        if steps is not None:
            self._store.put(history.TABLE, execution.key, steps)
        self._store.delete_all(journal.TABLE, f"{execution.key}/")
        self._store.delete_all(callbacks.TABLE, f"{execution.name}/")

    def steps(self, key: str) -> bytes | None:
        """The step entries of an execution that has ended."""
        return self._store.get(history.TABLE, key)

    def delete_steps(self, key: str) -> None:
        """Forget them."""
        self._store.delete(history.TABLE, key)

    def active(self, workflow: str = "") -> list[str]:
        """The keys of those that run, of one workflow or all."""
        return [key for key, _ in self._store.items(_ACTIVE, prefix=f"{workflow}/" if workflow else "")]

    def newest(self, workflow: str, mark: str = "") -> Iterator[tuple[str, Execution]]:
        """The executions of a workflow behind a mark, the latest first, each with its own; read as asked for."""
        for found, key in self._newest.of(workflow, mark):
            if (execution := self.get(key)) is not None:
                yield found, execution

    def uses(self, workflow: str, revision: str) -> bool:
        """Does an execution have this revision?"""
        return any(execution.revision == revision for _, execution in self.newest(workflow))

    def delete_all(self, workflow: str) -> None:
        """Forget the executions of a workflow, none of which is active."""
        for table in (_EXECUTIONS, history.TABLE):
            self._store.delete_all(table, f"{workflow}/")
        self._newest.remove_all(workflow)

    def prune(self, now: float) -> None:
        """Forget executions that ended long ago."""
        while (oldest := next(self._store.items(_ENDED, limit=1), None)) is not None:
            marker = oldest[0]
            moment, _, key = marker.partition("/")
            if float(moment) > now - KEPT_S:
                return
            with self._store.transaction():
                if (execution := self.get(key)) is not None:  # its workflow may have been deleted
                    self._newest.remove(key, execution.create_time)
                self._store.delete(_EXECUTIONS, key)
                self._store.delete(history.TABLE, key)
                self._store.delete(_ENDED, marker)

    def _put(self, execution: Execution) -> None:
        self._store.put(_EXECUTIONS, execution.key, msgspec.msgpack.encode(execution))


def decoded(row: bytes) -> Execution:
    """An execution as it is stored."""
    return msgspec.msgpack.decode(row, type=Execution)
