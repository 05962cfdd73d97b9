"""Which records were made last? Their keys, newest first: a page of a list reads no more records than it shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge

from localcloud.store import Store


@dataclass(frozen=True, slots=True)
class Newest:
    """Keys of records such as `workflow/execution` by the time they were made, in a table of their own.

    What is before the slash groups them. A mark is a place in the order; it stays one when its record is gone.
    """

    store: Store
    table: str

    def add(self, key: str, created: float) -> None:
        """A record is there; the caller holds the transaction. `created` is in seconds since the epoch."""
        self.store.put(self.table, _mark(key, created), b"")

    def remove(self, key: str, created: float) -> None:
        """It is gone."""
        self.store.delete(self.table, _mark(key, created))

    def remove_all(self, group: str) -> None:
        """All of a group are gone."""
        self.store.delete_all(self.table, f"{group}/")

    def fill(self, records: Iterable[tuple[str, float]], count: int) -> None:
        """Make the order whole for a state from before it was kept: of `count` records, by key and time."""
        if self.store.count(self.table) != count:
            with self.store.transaction():
                self.store.delete_all(self.table, "")
                for key, created in records:
                    self.add(key, created)

    def of(self, group: str, mark: str = "") -> Iterator[tuple[str, str]]:
        """Marks and keys of a group behind `mark`, newest first; they are read as they are asked for."""
        for found, _ in self.store.backwards(self.table, before=mark, prefix=f"{group}/"):
            yield found, _key(found)

    def of_all(self, groups: Iterable[str], mark: str = "") -> Iterator[tuple[str, str]]:
        """Likewise of several groups."""
        behind = _order(mark) if mark else None
        for found in merge(*map(self.of, groups), key=lambda each: _order(each[0]), reverse=True):
            if behind is None or _order(found[0]) < behind:
                yield found


def _mark(key: str, created: float) -> str:
    group, _, name = key.partition("/")
    return f"{group}/{round(created * 1_000_000):018d}/{name}"


def _key(mark: str) -> str:
    group, _, name = mark.split("/", 2)
    return f"{group}/{name}"


def _order(mark: str) -> tuple[str, str, str]:
    group, time, name = mark.split("/", 2)
    return time, group, name
