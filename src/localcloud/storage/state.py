"""What happens to objects: who may change them, what replaces what, and what survives a crash?

Everything but `compose` runs without awaiting, so each change sees the last one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from localcloud.context import Context
from localcloud.storage import access, names, resources, retention
from localcloud.storage.buckets import Bucket
from localcloud.storage.catalog import Catalog
from localcloud.storage.changes import Change, Event, Row
from localcloud.storage.errors import StorageError, invalid, no_object
from localcloud.storage.hmac_keys import HmacKeys
from localcloud.storage.index import Index
from localcloud.storage.notifications import ARCHIVE, DELETE, FINALIZE, METADATA_UPDATE, Topics
from localcloud.storage.parts import PartedUploads
from localcloud.storage.payloads import FILE_SUFFIX, Payload, PayloadWriter, joined
from localcloud.storage.preconditions import NONE, Preconditions
from localcloud.storage.rendering import Rendered
from localcloud.storage.resources import StoredObject, Target
from localcloud.storage.sweeper import Sweeper
from localcloud.storage.times import timestamp
from localcloud.storage.uploads import Session, Uploads
from localcloud.storage.versions import PAYLOADS, Versions

Listener = Callable[[str, dict[str, Any]], None]
CLOUD_EVENTS = {
    FINALIZE: "google.cloud.storage.object.v1.finalized",
    DELETE: "google.cloud.storage.object.v1.deleted",
    ARCHIVE: "google.cloud.storage.object.v1.archived",
    METADATA_UPDATE: "google.cloud.storage.object.v1.metadataUpdated",
}
MAX_COMPONENTS = 32  # of one compose request
_META = "storage.meta"
_LAST_GENERATION = "last generation"
_encode = msgspec.json.Encoder().encode


class Storage:
    """All buckets of one project. Belongs to one thread, that of the event loop."""

    def __init__(self, context: Context) -> None:
        """Load what the store holds."""
        self.context = context
        self._store = context.store
        self._listeners: list[Listener] = []
        self.rendered = Rendered(context.http_url)
        self.catalog = Catalog(context.store, self.microseconds)
        self.hmac_keys = HmacKeys(context.store, self.microseconds)
        self._versions = Versions(context.store, [bucket.name for bucket in self.catalog.all()])
        self._last_generation = int(self._store.get(_META, _LAST_GENERATION) or 0)
        self.uploads = Uploads(context.store, self.microseconds)
        self.parts = PartedUploads(context.store, self.microseconds)
        self._sweeper = Sweeper(self, context.clock)

    async def start(self) -> None:
        """Remove what a crash left behind, files that no row names; run lifecycle rules from now on."""
        self.uploads.expire()
        self._versions.unlink_unused(self.uploads.files() | self.parts.files())
        self._sweeper.start()

    async def stop(self) -> None:
        """What must be kept is in the store already."""
        self._sweeper.stop()
        self.uploads.close()

    def subscribe(self, listener: Listener) -> None:
        """Have `listener(event type, object resource)` called inside the transaction of every change of an object."""
        self._listeners.append(listener)

    def notify(self, topics: Topics) -> None:
        """Publish what the buckets' notification configurations ask for to these topics."""
        self.catalog.notifications.topics = topics

    def microseconds(self) -> int:
        """Now, since the epoch."""
        return int(self.context.clock.time() * 1_000_000)

    # Buckets

    def create_bucket(self, name: str, location: str = "us-central1") -> None:
        """Make sure that the bucket exists."""
        if name not in self.catalog:
            self.insert_bucket({"name": name, "location": location})

    def insert_bucket(self, resource: dict[str, Any], query: dict[str, str] | None = None) -> Bucket:
        """A new bucket; `query` are a request's parameters. Raises StorageError 400, 409."""
        bucket = self.catalog.insert(resource, query or {})
        self._versions.add_bucket(bucket.name)
        self.context.activity.emit("storage", bucket.name, "bucket created")
        return bucket

    def restore_bucket(self, name: str, generation: int) -> Bucket:
        """Bring back a bucket that was deleted, empty as it then was. Raises StorageError 404, 409."""
        bucket = self.catalog.restore(name, generation)
        self._versions.add_bucket(name)
        self.context.activity.emit("storage", name, "bucket restored")
        return bucket

    def buckets(self) -> list[Bucket]:
        """All buckets in name order."""
        return self.catalog.all()

    def delete_bucket(self, name: str, conditions: Preconditions) -> None:
        """Remove an empty bucket. Raises StorageError 404, 412, 409 if it holds any version of an object."""
        self.catalog.get(name, conditions)
        if self._versions.index(name):
            raise StorageError(409, "The bucket you tried to delete is not empty.")
        deleted = self._versions.index(name, soft_deleted=True)
        self._commit(Change(remove=[item for known in deleted.names for item in deleted.versions(known)]))
        self.catalog.delete(name)
        for upload in self.parts.of(name):
            self.parts.abort(upload)
        self._versions.remove_bucket(name)
        self.context.activity.emit("storage", name, "bucket deleted")

    # Objects: reading

    def index(self, bucket: str, *, soft_deleted: bool = False) -> Index:
        """The objects of a bucket, or those that can be restored. Raises StorageError 404."""
        self.catalog.get(bucket)
        return self._versions.index(bucket, soft_deleted=soft_deleted)

    def object(
        self,
        bucket: str,
        name: str,
        generation: int | None = None,
        conditions: Preconditions = NONE,
        *,
        reading: bool = False,
        soft_deleted: bool = False,
    ) -> StoredObject:
        """The live version, or the one of that generation. Raises StorageError 404, 412, 304."""
        item = self.index(bucket, soft_deleted=soft_deleted).find(name, generation)
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
        bucket = self.catalog.get(target.bucket)
        if current is not None and not bucket.versioned:
            retention.check_removal(current, bucket, self.microseconds())
        if target.acl is not None:
            access.refuse_uniform(bucket)
        retention.check_retention(target.fields.get("retention"), bucket, self.microseconds())

    def resource(self, item: StoredObject) -> dict[str, Any]:
        """The object as JSON, without its ACL."""
        shown = item.resource(self.context.http_url)
        bucket = self.catalog.get(item.bucket)
        if bucket.retention_s and (expiration := retention.expiration(item, bucket)):
            shown["retentionExpirationTime"] = timestamp(expiration)
        return shown

    def read(self, item: StoredObject, start: int, end: int) -> bytes | Iterator[bytes]:
        """Bytes `start` to `end` (exclusive): at once when small, else in blocks, whatever happens meanwhile."""
        return self._versions.read(item, start, end)

    def new_writer(self) -> PayloadWriter:
        """Where the bytes of a new object go."""
        return PayloadWriter(self._store.new_blob().with_suffix(FILE_SUFFIX))

    # Objects: writing

    def insert(
        self,
        target: Target,
        payload: Payload,
        *,
        components: int | None = None,
        upload: Session | None = None,
        remove: Sequence[StoredObject] = (),
        rows: Sequence[Row] = (),
    ) -> StoredObject:
        """A new live version with this payload, the end of `upload` and of the live objects in `remove`, and `rows`.

        Whatever is raised, the payload's file is gone.
        """
        try:
            payload.verify(target.checksums)
            self.check_insert(target)
            item = self._new(target, payload, components)
            change = self._supersession(item, payload.data)
            for source in remove:
                change += self._deletion(source)
            change.rows += rows
            result = b""
            if upload is not None:
                result = _encode(self.resource(item))
                change.rows.append(self.uploads.completion(upload, result))
            self._commit(change)
        except BaseException:
            payload.discard()
            raise
        self._last_generation = item.generation
        if upload is not None:
            self.uploads.complete(upload, result)
        return item

    def _new(self, target: Target, payload: Payload, components: int | None) -> StoredObject:
        bucket, now = self.catalog.get(target.bucket), self.microseconds()
        fields = resources.checked(resources.merged({}, target.fields))
        if bucket.fields.get("defaultEventBasedHold"):
            fields.setdefault("eventBasedHold", True)
        return StoredObject(
            bucket=bucket.name,
            name=target.name,
            generation=max(now, self._last_generation + 1),
            size=payload.size,
            crc32c=payload.crc32c,
            created=now,
            updated=now,
            storage_class=target.storage_class or bucket.storage_class,
            fields=fields,
            md5=payload.md5,
            components=components,
            file="" if payload.path is None else payload.path.name,
            acl=bucket.default_object_acl if target.acl is None else target.acl,
            key_sha256=target.key_sha256,
            kms_key=target.kms_key,
        )

    def _supersession(self, item: StoredObject, data: bytes | None) -> Change:
        """What a new live version does to the store: it takes the place of the old one."""
        change = Change(put=[item], rows=[(_META, _LAST_GENERATION, str(item.generation).encode())])
        if data is not None:
            change.rows.append((PAYLOADS, item.key, data))
        old = self._versions.index(item.bucket).live.get(item.name)
        overwrote = {}
        if old is not None:
            archives = self.catalog.get(item.bucket).versioned
            overwritten = {"overwrittenByGeneration": str(item.generation)}
            change = self._removal(old, archives, item.created, overwritten) + change
            overwrote["overwroteGeneration"] = str(old.generation)
        change.events.append(Event(FINALIZE, item, overwrote))
        return change

    def _removal(
        self, item: StoredObject, archives: bool, now: int, attributes: Mapping[str, str] | None = None
    ) -> Change:
        """What the end of a version does to the store: it is noncurrent, can be restored for a time, or is gone."""
        gone = item if item.deleted else msgspec.structs.replace(item, deleted=now)
        if archives:
            return Change(put=[gone], events=[Event(ARCHIVE, gone, attributes or {})])
        event = Event(DELETE, gone, attributes or {})
        kept_s = self.catalog.get(item.bucket).soft_delete_s
        if not kept_s:
            return Change(remove=[item], events=[event])
        kept = msgspec.structs.replace(gone, soft_deleted=now, hard_delete=now + kept_s * 1_000_000)
        return Change(put=[kept], events=[event])

    def patch(
        self,
        bucket: str,
        name: str,
        changes: dict[str, Any],
        *,
        generation: int | None = None,
        conditions: Preconditions = NONE,
        replace: bool = False,
        override_retention: bool = False,
        acl: list[dict[str, Any]] | None = None,
    ) -> StoredObject:
        """Merge `changes` into the object's metadata, or replace it by them; `acl` replaces its access list."""
        item = self.object(bucket, name, generation, conditions)
        now, settings = self.microseconds(), self.catalog.get(bucket)
        fields = resources.checked(resources.merged({} if replace else item.fields, changes))
        if fields.get("retention") != item.fields.get("retention"):
            retention.check_change(item, fields.get("retention"), settings, now, override=override_retention)
        members: dict[str, Any] = {"fields": fields}
        if item.fields.get("eventBasedHold") and not fields.get("eventBasedHold"):
            members["released"] = now
        if acl is not None and acl != access.object_entries(item):
            access.refuse_uniform(settings)
            members["acl"] = acl
        return self.change(item, **members)

    def change(self, item: StoredObject, **members: Any) -> StoredObject:
        """The version with other members than its content; its metadata is a new one."""
        item = msgspec.structs.replace(
            item, metageneration=item.metageneration + 1, updated=self.microseconds(), **members
        )
        self._commit(Change(put=[item], events=[Event(METADATA_UPDATE, item)]))
        return item

    def delete(
        self, bucket: str, name: str, *, generation: int | None = None, conditions: Preconditions = NONE
    ) -> None:
        """Remove a version for good, or make the live one noncurrent where the bucket keeps versions."""
        item = self.object(bucket, name, generation, conditions)
        self._commit(self._deletion(item, permanent=generation is not None))

    def _deletion(self, item: StoredObject, *, permanent: bool = False) -> Change:
        """What deleting a version does. Raises StorageError 403."""
        bucket, now = self.catalog.get(item.bucket), self.microseconds()
        archives = bucket.versioned and item.deleted is None and not permanent
        if not archives:
            retention.check_removal(item, bucket, now)
        return self._removal(item, archives, now)

    def expire(self, item: StoredObject) -> None:
        """Delete a version as a lifecycle rule does, unless it must be kept."""
        try:
            change = self._deletion(item)
        except StorageError:
            return  # held or retained: a later pass will find it again
        self._commit(change)

    def purge(self, item: StoredObject) -> None:
        """Remove a soft-deleted version for good."""
        self._commit(Change(remove=[item]))

    def restore(self, item: StoredObject, conditions: Preconditions, *, with_acl: bool) -> StoredObject:
        """A new live version with the content and the metadata of a soft-deleted one. Raises StorageError 412, 403."""
        target = Target(
            item.bucket,
            item.name,
            fields=item.copied_fields,
            storage_class=item.storage_class,
            key_sha256=item.key_sha256,
            kms_key=item.kms_key,
        )
        return self.copy(
            item, msgspec.structs.replace(target, conditions=conditions, acl=item.acl if with_acl else None)
        )

    def copy(self, source: StoredObject, target: Target, *, moves: bool = False) -> StoredObject:
        """A new object with the bytes of `source`; if the target has no fields also with its metadata.

        One that `moves` ends the source, both or neither.
        """
        self.check_insert(target)
        data = None if source.file else self._versions.row(source)
        payload = Payload(size=source.size, crc32c=source.crc32c, md5=source.md5, data=data, path=None)
        if source.file:
            path = self._store.new_blob().with_suffix(FILE_SUFFIX)
            os.link(self._store.blobs / source.file, path)
            payload = msgspec.structs.replace(payload, path=path)
        target = msgspec.structs.replace(target, fields=target.fields or source.copied_fields)
        return self.insert(target, payload, components=source.components, remove=[source] if moves else [])

    async def compose(
        self, sources: Sequence[StoredObject], target: Target, *, delete_sources: bool = False
    ) -> StoredObject:
        """A new object with the bytes of all `sources` one after the other. Raises StorageError 400, 404, 412, 403."""
        if not 1 <= len(sources) <= MAX_COMPONENTS:
            raise invalid(
                f"The number of source components provided ({len(sources)}) is not between 1 and {MAX_COMPONENTS}."
            )
        self.check_insert(target)
        parts = [self.read(source, 0, source.size) for source in sources]
        payload = await asyncio.to_thread(joined, self.new_writer(), parts)
        components = sum(source.components or 1 for source in sources)
        remove = {source.key: source for source in sources} if delete_sources else {}
        current = self._versions.index(target.bucket).live.get(target.name)
        if current is not None:
            remove.pop(current.key, None)  # it is replaced anyway
        return self.insert(
            target, msgspec.structs.replace(payload, md5=None), components=components, remove=list(remove.values())
        )

    def _commit(self, change: Change) -> None:
        """Write the changes and tell the listeners, all or nothing."""
        self._versions.commit(change, self._tell)
        for event in change.events:
            self.context.activity.emit(
                "storage",
                f"{event.item.bucket}/{event.item.name}",
                CLOUD_EVENTS[event.type].rpartition(".")[2],
                "%d bytes",
                event.item.size,
            )

    def _tell(self, event: Event) -> None:
        resource = self.resource(event.item)
        for listener in self._listeners:
            listener(CLOUD_EVENTS[event.type], resource)
        self.catalog.notifications.tell(event.type, resource, event.attributes)
