"""What happens to buckets and objects: who may change them, what replaces what, and what survives a crash?

Everything but `compose` runs without awaiting, so each change sees the last one. Memory follows the store: a change is
written in one transaction, listeners are called inside it, and only then do the index and the files change.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from localcloud.context import Context
from localcloud.storage import names, resources
from localcloud.storage.errors import StorageError, invalid, no_bucket, no_object
from localcloud.storage.index import Index
from localcloud.storage.payloads import FILE_SUFFIX, Payload, PayloadWriter, read_file
from localcloud.storage.preconditions import NONE, Preconditions
from localcloud.storage.resources import Bucket, StoredObject, Target
from localcloud.storage.uploads import Session, Uploads

Listener = Callable[[str, dict[str, Any]], None]
FINALIZED = "google.cloud.storage.object.v1.finalized"
DELETED = "google.cloud.storage.object.v1.deleted"
ARCHIVED = "google.cloud.storage.object.v1.archived"
METADATA_UPDATED = "google.cloud.storage.object.v1.metadataUpdated"

MAX_COMPONENTS = 32  # of one compose request
_BUCKETS, _OBJECTS, _PAYLOADS, _META = "storage.buckets", "storage.objects", "storage.payloads", "storage.meta"
_LAST_GENERATION = "last generation"
_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(StoredObject).decode
_decode_bucket = msgspec.json.Decoder(Bucket).decode


class Storage:
    """All buckets of one project. Belongs to one thread, that of the event loop."""

    def __init__(self, context: Context) -> None:
        """Load what the store holds."""
        self.context = context
        self._store = context.store
        self._listeners: list[Listener] = []
        self._buckets = {key: _decode_bucket(value) for key, value in self._store.items(_BUCKETS)}
        self._indexes = {name: Index() for name in self._buckets}
        for _, value in self._store.items(_OBJECTS):
            item = _decode_object(value)
            self._indexes[item.bucket].put(item)
        self._last_generation = int(self._store.get(_META, _LAST_GENERATION) or 0)
        self.uploads = Uploads(context.store, self.microseconds)

    async def start(self) -> None:
        """Remove what a crash left behind: files that no row names, uploads nobody will finish."""
        self.uploads.expire()
        used = {item.file for index in self._indexes.values() for name in index.names for item in index.versions(name)}
        used |= self.uploads.files()
        for path in self._store.blobs.glob(f"*{FILE_SUFFIX}"):
            if path.name not in used:
                path.unlink()

    async def stop(self) -> None:
        """Nothing runs in the background; what must be kept is in the store already."""
        self.uploads.close()

    def subscribe(self, listener: Listener) -> None:
        """Have `listener(event type, object resource)` called inside the transaction of every change of an object."""
        self._listeners.append(listener)

    def microseconds(self) -> int:
        """Now, since the epoch."""
        return int(self.context.clock.time() * 1_000_000)

    # Buckets

    def create_bucket(self, name: str, location: str = "us-central1") -> None:
        """Make sure that the bucket exists."""
        if name not in self._buckets:
            self.insert_bucket({"name": name, "location": location})

    def insert_bucket(self, resource: dict[str, Any]) -> Bucket:
        """A new bucket. Raises StorageError 409 if there is one of that name."""
        name = resource.get("name")
        name = names.check_bucket(name if isinstance(name, str) else "")
        if name in self._buckets:
            raise StorageError(
                409, "Your previous request to create the named bucket succeeded and you already own it."
            )
        now = self.microseconds()
        location = str(resource.get("location") or "US").upper()
        fields = resources.merged({}, resources.bucket_fields(resource))
        bucket = Bucket(name=name, location=location, created=now, updated=now, fields=fields)
        self._save(bucket)
        self._indexes[name] = Index()
        self.context.activity.emit("storage", name, "bucket created")
        return bucket

    def bucket(self, name: str, conditions: Preconditions = NONE, *, reading: bool = False) -> Bucket:
        """The bucket. Raises StorageError 404, 412, 304."""
        bucket = self._buckets.get(name)
        if bucket is None:
            raise no_bucket()
        if conditions is not NONE:
            conditions.check(bucket, reading=reading)
        return bucket

    def buckets(self) -> list[Bucket]:
        """All buckets in name order."""
        return [self._buckets[name] for name in sorted(self._buckets)]

    def patch_bucket(
        self, name: str, resource: dict[str, Any], conditions: Preconditions, *, replace: bool = False
    ) -> Bucket:
        """Merge `resource` into the bucket's settings, or replace them by it."""
        bucket = self.bucket(name, conditions)
        fields = resources.merged({} if replace else bucket.fields, resources.bucket_fields(resource))
        bucket = msgspec.structs.replace(
            bucket, fields=fields, updated=self.microseconds(), metageneration=bucket.metageneration + 1
        )
        self._save(bucket)
        return bucket

    def delete_bucket(self, name: str, conditions: Preconditions) -> None:
        """Remove an empty bucket. Raises StorageError 409 if it holds any version of an object."""
        self.bucket(name, conditions)
        if self._indexes[name]:
            raise StorageError(409, "The bucket you tried to delete is not empty.")
        self._store.delete(_BUCKETS, name)
        del self._buckets[name], self._indexes[name]
        self.context.activity.emit("storage", name, "bucket deleted")

    def _save(self, bucket: Bucket) -> None:
        self._store.put(_BUCKETS, bucket.name, _encode(bucket))
        self._buckets[bucket.name] = bucket

    # Objects: reading

    def index(self, bucket: str) -> Index:
        """The objects of a bucket. Raises StorageError 404."""
        self.bucket(bucket)
        return self._indexes[bucket]

    def object(
        self,
        bucket: str,
        name: str,
        generation: int | None = None,
        conditions: Preconditions = NONE,
        *,
        reading: bool = False,
    ) -> StoredObject:
        """The live version, or the one of that generation. Raises StorageError 404, 412, 304."""
        item = self.index(bucket).find(name, generation)
        if item is None:
            raise no_object(bucket, name)
        if conditions is not NONE:
            conditions.check(item, reading=reading)
        return item

    def check_insert(self, target: Target) -> None:
        """Whether an insert would be accepted now. Raises StorageError 400, 404, 412, 403."""
        current = self.index(target.bucket).live.get(names.check_object(target.name))
        if target.conditions is not NONE:
            target.conditions.check(current)
        if current is not None and current.is_held and not self._buckets[target.bucket].versioned:
            raise resources.held(current)

    def resource(self, item: StoredObject) -> dict[str, Any]:
        """The object as JSON."""
        return item.resource(self.context.http_url)

    def read(self, item: StoredObject, start: int, end: int) -> bytes | Iterator[bytes]:
        """Bytes `start` to `end` (exclusive): at once when small, else in blocks, whatever happens meanwhile."""
        if item.file:
            return read_file((self._store.blobs / item.file).open("rb"), start, end)
        return self._row(item)[start:end]

    def new_writer(self) -> PayloadWriter:
        """Where the bytes of a new object go."""
        return PayloadWriter(self._store.new_blob().with_suffix(FILE_SUFFIX))

    def _row(self, item: StoredObject) -> bytes:
        data = self._store.get(_PAYLOADS, item.key)
        if data is None:
            raise AssertionError(f"no payload for {item.key!r}")
        return data

    # Objects: writing

    def insert(
        self,
        target: Target,
        payload: Payload,
        *,
        components: int | None = None,
        upload: Session | None = None,
    ) -> StoredObject:
        """A new live version with this payload, the end of `upload`. Whatever is raised, the payload's file is gone."""
        try:
            payload.verify(target.checksums)
            self.check_insert(target)
            now = self.microseconds()
            item = StoredObject(
                bucket=target.bucket,
                name=target.name,
                generation=max(now, self._last_generation + 1),
                size=payload.size,
                crc32c=payload.crc32c,
                created=now,
                updated=now,
                storage_class=target.storage_class or self._buckets[target.bucket].storage_class,
                fields=resources.checked(resources.merged({}, target.fields)),
                md5=payload.md5,
                components=components,
                file="" if payload.path is None else payload.path.name,
            )
            self._supersede(item, payload.data, upload)
        except BaseException:
            payload.discard()
            raise
        return item

    def _supersede(self, item: StoredObject, data: bytes | None, upload: Session | None) -> None:
        old = self._indexes[item.bucket].live.get(item.name)
        events = []
        archived = None
        if old is not None:
            noncurrent = msgspec.structs.replace(old, deleted=item.created)
            if self._buckets[item.bucket].versioned:
                archived = noncurrent
            events.append((ARCHIVED if archived else DELETED, noncurrent))
        events.append((FINALIZED, item))
        rows = [(_META, _LAST_GENERATION, str(item.generation).encode())]
        if data is not None:
            rows.append((_PAYLOADS, item.key, data))
        result = b""
        if upload is not None:
            result = _encode(self.resource(item))
            rows.append(self.uploads.completion(upload, result))
        self._commit(
            put=[item] if archived is None else [archived, item],
            remove=[old] if old is not None and archived is None else [],
            events=events,
            rows=rows,
        )
        self._last_generation = item.generation
        if upload is not None:
            self.uploads.complete(upload, result)

    def patch(
        self,
        bucket: str,
        name: str,
        changes: dict[str, Any],
        *,
        generation: int | None = None,
        conditions: Preconditions = NONE,
        replace: bool = False,
    ) -> StoredObject:
        """Merge `changes` into the object's metadata, or replace it by them."""
        item = self.object(bucket, name, generation, conditions)
        fields = resources.checked(resources.merged({} if replace else item.fields, changes))
        item = msgspec.structs.replace(
            item, fields=fields, metageneration=item.metageneration + 1, updated=self.microseconds()
        )
        self._commit(put=[item], events=[(METADATA_UPDATED, item)])
        return item

    def delete(
        self, bucket: str, name: str, *, generation: int | None = None, conditions: Preconditions = NONE
    ) -> None:
        """Remove a version for good, or make the live one noncurrent where the bucket keeps versions."""
        item = self.object(bucket, name, generation, conditions)
        gone = item if item.deleted else msgspec.structs.replace(item, deleted=self.microseconds())
        if generation is None and self._buckets[bucket].versioned:
            self._commit(put=[gone], events=[(ARCHIVED, gone)])
            return
        if item.is_held:
            raise resources.held(item)
        self._commit(remove=[item], events=[(DELETED, gone)])

    def copy(self, source: StoredObject, target: Target) -> StoredObject:
        """A new object with the bytes of `source`; if the target has no fields also with its metadata."""
        self.check_insert(target)
        path = None
        if source.file:
            path = self._store.new_blob().with_suffix(FILE_SUFFIX)
            os.link(self._store.blobs / source.file, path)
        payload = Payload(
            size=source.size,
            crc32c=source.crc32c,
            md5=source.md5,
            data=None if path else self._row(source),
            path=path,
        )
        target = msgspec.structs.replace(target, fields=target.fields or source.fields)
        return self.insert(target, payload, components=source.components)

    async def compose(self, sources: Sequence[StoredObject], target: Target) -> StoredObject:
        """A new object with the bytes of all `sources` one after the other."""
        if not 1 <= len(sources) <= MAX_COMPONENTS:
            raise invalid(
                f"The number of source components provided ({len(sources)}) is not between 1 and {MAX_COMPONENTS}."
            )
        self.check_insert(target)
        parts = [self.read(source, 0, source.size) for source in sources]
        payload = await asyncio.to_thread(_joined, self.new_writer(), parts)
        components = sum(source.components or 1 for source in sources)
        return self.insert(target, dataclasses.replace(payload, md5=None), components=components)

    def _commit(
        self,
        *,
        put: Sequence[StoredObject] = (),
        remove: Sequence[StoredObject] = (),
        events: Sequence[tuple[str, StoredObject]] = (),
        rows: Sequence[tuple[str, str, bytes]] = (),
    ) -> None:
        """Write the changes and tell the listeners, all or nothing; then follow in memory and on disk."""
        with self._store.transaction():
            for table, key, value in rows:
                self._store.put(table, key, value)
            for item in remove:
                self._store.delete(_OBJECTS, item.key)
                if not item.file:
                    self._store.delete(_PAYLOADS, item.key)
            for item in put:
                self._store.put(_OBJECTS, item.key, _encode(item))
            for event_type, item in events:
                for listener in self._listeners:
                    listener(event_type, self.resource(item))
        for item in put:
            self._indexes[item.bucket].put(item)
        for item in remove:
            self._indexes[item.bucket].remove(item)
            if item.file:
                (self._store.blobs / item.file).unlink(missing_ok=True)
        for event_type, item in events:
            self.context.activity.emit(
                "storage", f"{item.bucket}/{item.name}", event_type.rpartition(".")[2], "%d bytes", item.size
            )


def _joined(writer: PayloadWriter, parts: Sequence[bytes | Iterator[bytes]]) -> Payload:
    with writer:
        for part in parts:
            for block in [part] if isinstance(part, bytes) else part:
                writer.write(block)
        return writer.finish()
