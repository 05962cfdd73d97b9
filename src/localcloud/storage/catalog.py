"""Which buckets are there, and how do they change?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from localcloud.storage import access, buckets, names
from localcloud.storage.buckets import Bucket
from localcloud.storage.errors import StorageError, invalid, no_bucket
from localcloud.storage.notifications import NotificationConfig, Notifications
from localcloud.storage.preconditions import NONE, Preconditions, flag
from localcloud.store import Store

DEFAULT_LOCATION = "US"
_TABLE, _DELETED = "storage.buckets", "storage.deletedBuckets"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Bucket).decode


class Catalog:
    """The buckets of one project, with what belongs to them but isn't an object."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        """Load what the store holds."""
        self._store = store
        self._now = now  # microseconds
        self._buckets = {key: _decode(value) for key, value in store.items(_TABLE)}
        self._deleted = {key: _decode(value) for key, value in store.items(_DELETED)}
        self.notifications = Notifications(store, now)

    def all(self) -> list[Bucket]:
        """All buckets in name order."""
        return [self._buckets[name] for name in sorted(self._buckets)]

    def __contains__(self, name: object) -> bool:
        return name in self._buckets

    def get(self, name: str, conditions: Preconditions = NONE, *, reading: bool = False) -> Bucket:
        """The bucket. Raises StorageError 404, 412, 304."""
        bucket = self._buckets.get(name)
        if bucket is None:
            raise no_bucket()
        if conditions is not NONE:
            conditions.check(bucket, reading=reading)
        return bucket

    def insert(self, resource: dict[str, Any], query: dict[str, str]) -> Bucket:
        """A new bucket; `query` are the request's parameters. Raises StorageError 400, 409."""
        name = resource.get("name")
        name = names.check_bucket(name if isinstance(name, str) else "")
        if name in self._buckets:
            raise StorageError(
                409, "Your previous request to create the named bucket succeeded and you already own it."
            )
        location = resource.get("location") or DEFAULT_LOCATION
        if not isinstance(location, str) or not location.replace("-", "").isalnum():
            raise invalid(f"Invalid value for location: {location!r:.40}, expected for example us-central1 or EU.")
        now = self._now()
        # Settings settle as in a change, which counts one metageneration too many.
        empty = Bucket(name=name, location=location.upper(), created=now, updated=now, fields={}, metageneration=0)
        bucket = buckets.changed(empty, buckets.settings(resource), now)
        if flag(query, "enableObjectRetention"):
            bucket.fields["objectRetention"] = {"mode": "Enabled"}
        return self._save(_with_acls(bucket, resource, query))

    def patch(
        self,
        name: str,
        resource: dict[str, Any],
        query: dict[str, str],
        conditions: Preconditions = NONE,
        *,
        replace: bool = False,
    ) -> Bucket:
        """Merge `resource` into the bucket's settings, or replace them by it. Raises StorageError."""
        bucket = self.get(name, conditions)
        bucket = buckets.changed(bucket, buckets.settings(resource), self._now(), replace=replace)
        return self._save(_with_acls(bucket, resource, query))

    def change(self, bucket: Bucket, **members: Any) -> Bucket:
        """The bucket with other ACLs or another policy."""
        return self._save(
            msgspec.structs.replace(bucket, metageneration=bucket.metageneration + 1, updated=self._now(), **members)
        )

    def lock_retention(self, name: str, conditions: Preconditions) -> Bucket:
        """Lock the bucket's retention policy for good. Raises StorageError 400, 404, 412."""
        if conditions.metageneration_match is None:
            raise invalid("Required parameter: ifMetagenerationMatch", ("parameter", "ifMetagenerationMatch"))
        return self._save(buckets.locked(self.get(name, conditions), self._now()))

    def add_notification(self, name: str, resource: dict[str, Any]) -> NotificationConfig:
        """A new rule for what the bucket tells Pub/Sub. Raises StorageError 400, 404."""
        with self._store.transaction():
            config = self.notifications.insert(self.get(name).name, resource)
            self.change(self.get(name))
        return config

    def remove_notification(self, name: str, id_: str) -> None:
        """Raises StorageError 404."""
        with self._store.transaction():
            self.notifications.delete(self.notifications.get(self.get(name).name, id_))
            self.change(self.get(name))

    def delete(self, name: str) -> None:
        """Remove a bucket; one with a soft delete policy can be restored for the time that it sets."""
        bucket, now = self._buckets[name], self._now()
        ends = now + bucket.soft_delete_s * 1_000_000
        kept = msgspec.structs.replace(bucket, soft_deleted=now, hard_delete=ends)
        with self._store.transaction():
            self._store.delete(_TABLE, name)
            self.notifications.forget(name)
            if bucket.soft_delete_s:
                self._store.put(_DELETED, _deleted_key(kept), _encode(kept))
        del self._buckets[name]
        if bucket.soft_delete_s:
            self._deleted[_deleted_key(kept)] = kept

    def deleted(self) -> list[Bucket]:
        """The buckets that can be restored, in the order of names and generations."""
        for key, bucket in list(self._deleted.items()):
            if (bucket.hard_delete or 0) <= self._now():
                self._store.delete(_DELETED, key)
                del self._deleted[key]
        return sorted(self._deleted.values(), key=lambda bucket: (bucket.name, bucket.created))

    def get_deleted(self, name: str, generation: int) -> Bucket:
        """A bucket that can be restored. Raises StorageError 404."""
        found = (bucket for bucket in self.deleted() if (bucket.name, bucket.created) == (name, generation))
        bucket = next(found, None)
        if bucket is None:
            raise no_bucket()
        return bucket

    def restore(self, name: str, generation: int) -> Bucket:
        """Bring a deleted bucket back. Raises StorageError 404, 409."""
        deleted = self.get_deleted(name, generation)
        if name in self._buckets:
            raise StorageError(409, "A bucket of this name exists: delete it before you restore this one.")
        with self._store.transaction():
            self._store.delete(_DELETED, _deleted_key(deleted))
            restored = self.change(deleted, soft_deleted=None, hard_delete=None)
        del self._deleted[_deleted_key(deleted)]
        return restored

    def _save(self, bucket: Bucket) -> Bucket:
        self._store.put(_TABLE, bucket.name, _encode(bucket))
        self._buckets[bucket.name] = bucket
        return bucket


def _deleted_key(bucket: Bucket) -> str:
    return f"{bucket.name}/{bucket.created}"


def _with_acls(bucket: Bucket, resource: dict[str, Any], query: dict[str, str]) -> Bucket:
    """The bucket with the ACLs that a request sets, if it does. Raises StorageError 400."""
    own = access.wanted(resource, "acl", query, "predefinedAcl")
    default = access.wanted(resource, "defaultObjectAcl", query, "predefinedDefaultObjectAcl")
    # A client that writes back what it has read may name them; only a change is one.
    if own is not None and own != access.bucket_entries(bucket):
        access.refuse_uniform(bucket)
        bucket = msgspec.structs.replace(bucket, acl=own)
    if default is not None and default != access.default_entries(bucket):
        access.refuse_uniform(bucket)
        bucket = msgspec.structs.replace(bucket, default_object_acl=default)
    return bucket
