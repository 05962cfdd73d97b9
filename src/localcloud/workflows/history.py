"""Which steps has an execution taken? Its step entries, kept as they happen and stored when it ends.

https://cloud.google.com/workflows/docs/debug-steps

After a restart an execution is replayed, and so are its entries: those from before the restart have the time of the
replay. Not documented: how many entries are kept. Here the first MAX_ENTRIES; later steps leave none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from localcloud.workflows import values
from localcloud.workflows.errors import WorkflowError
from localcloud.workflows.observe import StepRun, StepType

TABLE = "workflows.steps"
MAX_ENTRIES = 5_000
MAX_PAYLOAD = 16 * 1024  # characters of an exception

IN_PROGRESS, SUCCEEDED, FAILED, CANCELLED = (
    f"STATE_{name}" for name in ("IN_PROGRESS", "SUCCEEDED", "FAILED", "CANCELLED")
)
_PROGRESS = {
    StepType.FOR_ITERATION: "PROGRESS_TYPE_FOR",
    StepType.CONDITION: "PROGRESS_TYPE_SWITCH",
    StepType.RETRY: "PROGRESS_TYPE_RETRY",
    StepType.PARALLEL_BRANCH_ENTRY: "PROGRESS_TYPE_PARALLEL_BRANCH",
}


class StepEntry(msgspec.Struct, array_like=True):
    """One step or part of one. Times are in seconds since the epoch; numbers of other entries count from 1."""

    number: int
    routine: str
    step: str
    kind: str  # as the API names it
    created: float
    updated: float
    state: str = IN_PROGRESS
    exception: str | None = None  # JSON
    parent: int | None = None
    previous: int | None = None
    next: int | None = None
    children: list[int] = []
    thread: str = ""
    progress: str | None = None
    progress_number: int | None = None
    expected: int | None = None


class Recorder:
    """The observer that makes an execution's entries."""

    def __init__(self, time: Callable[[], float]) -> None:
        self.entries: list[StepEntry] = []
        self._time = time
        self._last_at_top: dict[str, StepEntry] = {}  # by thread
        self._last_error: tuple[WorkflowError | None, str] = (None, "")

    def started(self, run: StepRun) -> None:
        """Make an entry."""
        if len(self.entries) >= MAX_ENTRIES:
            return
        now = self._time()
        entry = StepEntry(len(self.entries) + 1, run.routine, run.step, run.type.value, now, now, thread=run.thread)
        self.entries.append(entry)
        run.note = entry
        if run.number is not None:
            progress = _PROGRESS.get(run.type)
            is_parallel = run.parent is not None and run.parent.type is StepType.PARALLEL_FOR
            entry.progress = "PROGRESS_TYPE_PARALLEL_FOR" if is_parallel else progress
            entry.progress_number, entry.expected = run.number, run.expected
        self._link(entry, run.parent.note if run.parent is not None else None)

    def _link(self, entry: StepEntry, parent: StepEntry | None) -> None:
        if parent is not None:
            entry.parent = parent.number
            before = self.entries[parent.children[-1] - 1] if parent.children else None
            parent.children.append(entry.number)
        else:
            before = self._last_at_top.get(entry.thread)
            self._last_at_top[entry.thread] = entry
        # Branches of a parallel step don't follow each other.
        if before is not None and before.thread == entry.thread:
            entry.previous, before.next = before.number, entry.number

    def ended(self, run: StepRun, error: WorkflowError | None) -> None:
        """Close the entry."""
        entry: StepEntry | None = run.note
        if entry is None:
            return
        entry.updated = self._time()
        entry.state = SUCCEEDED if error is None else FAILED
        if error is not None:
            entry.exception = self._payload(error)

    def retried(self, run: StepRun, error: WorkflowError, attempt: int, delay_s: float) -> None:
        """The next attempt has an entry of its own."""

    def _payload(self, error: WorkflowError) -> str:
        # The same error passes through many steps; it may hold a response.
        if self._last_error[0] is not error:
            text = values.error_json(error.value)
            if len(text) > MAX_PAYLOAD:
                text = values.error_json({"message": error.headline[:MAX_PAYLOAD], "tags": _tags(error.value)})
            self._last_error = (error, text)
        return self._last_error[1]

    def stored(self, now: float) -> bytes:
        """The entries as they are kept once the execution has ended; steps that were still running were cancelled."""
        for entry in self.entries:
            if entry.state == IN_PROGRESS:
                entry.state, entry.updated = CANCELLED, now
        return msgspec.msgpack.encode(self.entries)


def load(row: bytes) -> list[StepEntry]:
    """The entries of an execution that has ended."""
    return msgspec.msgpack.decode(row, type=list[StepEntry])


def as_json(entry: StepEntry, execution: str, *, detailed: bool, stamp: Callable[[float], str]) -> dict[str, Any]:
    """The entry as the API shows it. `detailed` adds what only that execution history level has."""
    found: dict[str, Any] = {
        "name": f"{execution}/stepEntries/{entry.number}",
        "entryId": str(entry.number),
        "createTime": stamp(entry.created),
        "updateTime": stamp(entry.updated),
        "routine": entry.routine,
        "step": entry.step,
        "stepType": entry.kind,
        "state": entry.state,
    }
    links = {"parent": entry.parent, "previous": entry.previous, "next": entry.next}
    navigation: dict[str, Any] = {name: str(number) for name, number in links.items() if number is not None}
    if entry.children:
        navigation["children"] = [str(number) for number in entry.children]
    metadata: dict[str, Any] = {"threadId": entry.thread} if entry.thread else {}
    if entry.progress is not None:
        metadata |= {"progressType": entry.progress, "progressNumber": str(entry.progress_number)}
    if detailed and entry.expected is not None:
        metadata["expectedIteration"] = str(entry.expected)
    if entry.exception is not None:
        found["exception"] = {"payload": entry.exception}
    return {**found, "navigationInfo": navigation, "stepEntryMetadata": metadata}


def _tags(value: Any) -> Sequence[Any]:
    tags = value.get("tags") if type(value) is dict else None
    return tags if type(tags) is list else []
