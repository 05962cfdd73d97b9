"""Which steps has an execution taken? Its step entries, kept as they happen and stored when it ends.

https://cloud.google.com/workflows/docs/debug-steps

After a restart an execution is replayed, and so are its entries: those from before the restart have the time of the
replay. How many are kept, `choices` says; later steps
leave none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from localcloud.workflows import choices, values
from localcloud.workflows.errors import WorkflowError
from localcloud.workflows.observe import StepRun, StepType

TABLE = "workflows.steps"
MAX_ENTRIES = choices.step_entries()
MAX_PAYLOAD = 16 * 1024  # characters of an exception

IN_PROGRESS, SUCCEEDED, FAILED, CANCELLED = (
    f"STATE_{name}" for name in ("IN_PROGRESS", "SUCCEEDED", "FAILED", "CANCELLED")
)
_PROGRESS = {
    StepType.FOR_ITERATION.value: "PROGRESS_TYPE_FOR",
    StepType.CONDITION.value: "PROGRESS_TYPE_SWITCH",
    StepType.RETRY.value: "PROGRESS_TYPE_RETRY",
    StepType.PARALLEL_BRANCH_ENTRY.value: "PROGRESS_TYPE_PARALLEL_BRANCH",
}


class Row(msgspec.Struct, array_like=True, gc=False):
    """What is kept of an entry, in the order of their numbers: the rest follows from it. Times are epoch seconds."""

    routine: str
    step: str
    kind: str  # as the API names it
    thread: str
    parent: int  # number of the entry around it; 0: none
    count: int | None  # among its siblings
    expected: int | None
    created: float
    updated: float
    state: str = IN_PROGRESS
    exception: str | None = None  # JSON


@dataclass(frozen=True, slots=True)
class StepEntry:
    """One step or part of one, with its number and those of its neighbours, from 1."""

    number: int
    row: Row
    progress: str | None
    parent: int | None
    previous: int | None
    next: int | None
    children: Sequence[int]


class Recorder:
    """The observer that makes an execution's entries. It hears of every step, so it only takes notes.

    `full` is called once there are as many as are kept: from then on nobody has to tell it anything.
    """

    def __init__(self, time: Callable[[], float], full: Callable[[], None]) -> None:
        self._rows: list[Row] = []
        self._time = time
        self._full = full
        self._last_error: tuple[WorkflowError | None, str] = (None, "")

    def started(self, run: StepRun) -> None:
        """Make an entry."""
        rows = self._rows
        if len(rows) >= MAX_ENTRIES:
            self._full()
            return
        now, around = self._time(), run.parent
        parent = 0 if around is None else around.note
        rows.append(
            Row(run.routine, run.step, run.type._value_, run.thread, parent, run.number, run.expected, now, now)
        )
        run.note = len(rows)

    def ended(self, run: StepRun, error: WorkflowError | None) -> None:
        """Close the entry."""
        if run.note is None:
            return
        row = self._rows[run.note - 1]
        row.updated = self._time()
        if error is None:
            row.state = SUCCEEDED
        else:
            row.state, row.exception = FAILED, self._payload(error)

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

    def entries(self) -> list[StepEntry]:
        """The entries so far."""
        return _linked(self._rows)

    def stored(self, now: float) -> bytes:
        """The entries as they are kept once the execution has ended; steps that were still running were cancelled."""
        for row in self._rows:
            if row.state == IN_PROGRESS:
                row.state, row.updated = CANCELLED, now
        return msgspec.msgpack.encode(self._rows)


def load(data: bytes) -> list[StepEntry]:
    """The entries of an execution that has ended."""
    return _linked(msgspec.msgpack.decode(data, type=list[Row]))


def _linked(rows: Sequence[Row]) -> list[StepEntry]:
    """The entries with their neighbours: those before and after them in the same thread, under the same parent."""
    children: dict[int, list[int]] = defaultdict(list)
    previous: dict[int, int] = {}
    following: dict[int, int] = {}
    last: dict[tuple[int, str], int] = {}
    for number, row in enumerate(rows, 1):
        children[row.parent].append(number)
        if (before := last.get((row.parent, row.thread))) is not None:
            previous[number], following[before] = before, number
        last[row.parent, row.thread] = number
    return [
        StepEntry(
            number,
            row,
            _progress(row, rows[row.parent - 1].kind if row.parent else ""),
            row.parent or None,
            previous.get(number),
            following.get(number),
            children.get(number, ()),
        )
        for number, row in enumerate(rows, 1)
    ]


def _progress(row: Row, around: str) -> str | None:
    if row.count is None:
        return None
    return "PROGRESS_TYPE_PARALLEL_FOR" if around == StepType.PARALLEL_FOR.value else _PROGRESS.get(row.kind)


def as_json(entry: StepEntry, execution: str, *, detailed: bool, stamp: Callable[[float], str]) -> dict[str, Any]:
    """The entry as the API shows it. `detailed` adds what only that execution history level has."""
    row = entry.row
    found: dict[str, Any] = {
        "name": f"{execution}/stepEntries/{entry.number}",
        "entryId": str(entry.number),
        "createTime": stamp(row.created),
        "updateTime": stamp(row.updated),
        "routine": row.routine,
        "step": row.step,
        "stepType": row.kind,
        "state": row.state,
    }
    links = {"parent": entry.parent, "previous": entry.previous, "next": entry.next}
    navigation: dict[str, Any] = {name: str(number) for name, number in links.items() if number is not None}
    if entry.children:
        navigation["children"] = [str(number) for number in entry.children]
    metadata: dict[str, Any] = {"threadId": row.thread} if row.thread else {}
    if entry.progress is not None:
        metadata |= {"progressType": entry.progress, "progressNumber": str(row.count)}
    if detailed and row.expected is not None:
        metadata["expectedIteration"] = str(row.expected)
    if row.exception is not None:
        found["exception"] = {"payload": row.exception}
    return {**found, "navigationInfo": navigation, "stepEntryMetadata": metadata}


def _tags(value: Any) -> Sequence[Any]:
    tags = value.get("tags") if type(value) is dict else None
    return tags if type(tags) is list else []
