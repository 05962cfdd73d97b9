"""Which versions of objects are stored, and how is a change of several written at once?

Memory follows the store: a change is written in one transaction, and only then do the indexes and the files change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from localcloud.storage.changes import Change, Event
from localcloud.storage.index import Index
from localcloud.storage.payloads import FILE_SUFFIX, read_file
from localcloud.storage.resources import StoredObject
from localcloud.store import Store

PAYLOADS = "storage.payloads"  # of small versions, by their key
_OBJECTS = "storage.objects"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(StoredObject).decode


class Versions:
    """All versions in all buckets: those that are there, and those that can be restored."""

    def __init__(self, store: Store, buckets: list[str]) -> None:
        """Load what the store holds."""
        self._store = store
        self._present = {bucket: Index() for bucket in buckets}
        self._deleted = {bucket: Index() for bucket in buckets}
        for _, value in store.items(_OBJECTS):
            item = _decode(value)
            self.index(item.bucket, soft_deleted=item.soft_deleted is not None).put(item)

    def index(self, bucket: str, *, soft_deleted: bool = False) -> Index:
        """The versions of a bucket."""
        return (self._deleted if soft_deleted else self._present)[bucket]

    def add_bucket(self, bucket: str) -> None:
        """Have room for a new bucket."""
        self._present[bucket], self._deleted[bucket] = Index(), Index()

    def remove_bucket(self, bucket: str) -> None:
        """Forget an empty bucket."""
        del self._present[bucket], self._deleted[bucket]

    def read(self, item: StoredObject, start: int, end: int) -> bytes | Iterator[bytes]:
        """Bytes `start` to `end` (exclusive): at once when small, else in blocks, whatever happens meanwhile."""
        if item.file:
            return read_file((self._store.blobs / item.file).open("rb"), start, end)
        return self.row(item)[start:end]

    def row(self, item: StoredObject) -> bytes:
        """The bytes of a version that has no file."""
        data = self._store.get(PAYLOADS, item.key)
        if data is None:
            raise AssertionError(f"no payload for {item.key!r}")
        return data

    def commit(self, change: Change, tell: Callable[[Event], None]) -> None:
        """Write the changes and `tell` the events, all or nothing; then follow in memory and on disk."""
        with self._store.transaction():
            for table, key, value in change.rows:
                if value is None:
                    self._store.delete(table, key)
                else:
                    self._store.put(table, key, value)
            for item in change.remove:
                self._store.delete(_OBJECTS, item.key)
                if not item.file:
                    self._store.delete(PAYLOADS, item.key)
            for item in change.put:
                self._store.put(_OBJECTS, item.key, _encode(item))
            for event in change.events:
                tell(event)
        for item in change.put:
            if item.soft_deleted is not None:
                self.index(item.bucket).remove(item)
            self.index(item.bucket, soft_deleted=item.soft_deleted is not None).put(item)
        for item in change.remove:
            self.index(item.bucket, soft_deleted=item.soft_deleted is not None).remove(item)
            if item.file:
                (self._store.blobs / item.file).unlink(missing_ok=True)

    def unlink_unused(self, used: set[str]) -> None:
        """Remove the files that neither a version nor `used` names: a crash has left them behind."""
        named = {
            item.file
            for index in (*self._present.values(), *self._deleted.values())
            for name in index.names
            for item in index.versions(name)
        }
        for path in self._store.blobs.glob(f"*{FILE_SUFFIX}"):
            if path.name not in named and path.name not in used:
                path.unlink()
