"""What does one request change, and what does it have to tell? Gathered first, so that it is written at once."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from localcloud.storage.resources import StoredObject

Row = tuple[str, str, bytes | None]


class Event(msgspec.Struct, frozen=True):
    """Something that happened to an object. `attributes` are those that only some events have."""

    type: str  # as notifications name it: OBJECT_FINALIZE
    item: StoredObject
    attributes: Mapping[str, str] = {}


class Change(msgspec.Struct):
    """Versions to write and to remove, other rows, and events in the order of their telling.

    A row is table, key and value; one without a value is removed.
    """

    put: list[StoredObject] = []
    remove: list[StoredObject] = []
    events: list[Event] = []
    rows: list[Row] = []

    def __add__(self, other: Change) -> Change:
        return Change(
            self.put + other.put, self.remove + other.remove, self.events + other.events, self.rows + other.rows
        )
