"""What does one request change, and what does it have to tell? Gathered first, so that it is written at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from localcloud.storage.resources import StoredObject

Row = tuple[str, str, bytes | None]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an object. `attributes` are those that only some events have."""

    type: str  # as notifications name it: OBJECT_FINALIZE
    item: StoredObject
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Change:
    """Versions to write and to remove, other rows, and events in the order of their telling.

    A row is table, key and value; one without a value is removed.
    """

    put: list[StoredObject] = field(default_factory=list)
    remove: list[StoredObject] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def __add__(self, other: Change) -> Change:
        return Change(
            self.put + other.put, self.remove + other.remove, self.events + other.events, self.rows + other.rows
        )
