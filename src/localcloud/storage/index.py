"""Which versions of which objects does a bucket hold, in name order, without asking the database?"""

from __future__ import annotations

from bisect import bisect_left, insort

from localcloud.storage.resources import StoredObject


class Index:
    """The objects of one bucket: the live version of each name, the noncurrent ones, and all names in order.

    Names compare by code point, which is the order of their UTF-8 bytes and so that of Cloud Storage.
    """

    def __init__(self) -> None:
        self.live: dict[str, StoredObject] = {}
        self.noncurrent: dict[str, list[StoredObject]] = {}  # oldest first
        self.names: list[str] = []  # of both

    def __bool__(self) -> bool:
        return bool(self.names)

    def find(self, name: str, generation: int | None = None) -> StoredObject | None:
        """The live version, or the one of that generation."""
        live = self.live.get(name)
        if generation is None or (live is not None and live.generation == generation):
            return live
        return next((old for old in self.noncurrent.get(name, ()) if old.generation == generation), None)

    def versions(self, name: str) -> list[StoredObject]:
        """All versions of a name, oldest first."""
        live = self.live.get(name)
        return [*self.noncurrent.get(name, ()), *([] if live is None else [live])]

    def put(self, item: StoredObject) -> None:
        """Add a version, or replace the one of its generation."""
        known = item.name in self.live or item.name in self.noncurrent
        self._take(item)
        if item.deleted is None:
            self.live[item.name] = item
        else:
            versions = self.noncurrent.setdefault(item.name, [])
            insort(versions, item, key=lambda version: version.generation)
        if not known:
            insort(self.names, item.name)

    def remove(self, item: StoredObject) -> None:
        """Take a version out."""
        self._take(item)
        if item.name not in self.live and item.name not in self.noncurrent:
            del self.names[bisect_left(self.names, item.name)]

    def _take(self, item: StoredObject) -> None:
        live = self.live.get(item.name)
        if live is not None and live.generation == item.generation:
            del self.live[item.name]
        versions = self.noncurrent.get(item.name)
        if versions is not None:
            versions[:] = [version for version in versions if version.generation != item.generation]
            if not versions:
                del self.noncurrent[item.name]
