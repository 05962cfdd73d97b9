"""How does a list show its objects without putting each of them together anew?

A version never changes, a changed one is another: its JSON, once made for a list, serves the next one. What is kept is
bounded; a list of more objects than that costs what the first one does.
"""

from __future__ import annotations

import msgspec

from localcloud.storage.resources import StoredObject

KEPT = 10_000  # objects, about 9 MB
_encode = msgspec.json.Encoder().encode


class Rendered:
    """The JSON of what lists have shown, as `StoredObject.resource` has it."""

    def __init__(self, base: str) -> None:
        """`base` is the API's address."""
        self._base = base
        self._known: dict[int, tuple[StoredObject, msgspec.Raw]] = {}  # by generation: no two versions have the same

    def json(self, item: StoredObject) -> msgspec.Raw:
        """The object, to be put into a JSON document as it is."""
        known = self._known.get(item.generation)
        if known is None or known[0] is not item:
            if len(self._known) >= KEPT:
                self._known.clear()
            known = self._known[item.generation] = item, msgspec.Raw(_encode(item.resource(self._base)))
        return known[1]
