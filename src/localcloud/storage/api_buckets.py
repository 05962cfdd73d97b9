"""What do the methods of buckets and of their notification configurations answer?

https://cloud.google.com/storage/docs/json_api/v1/buckets https://cloud.google.com/storage/docs/json_api/v1/notifications
"""

from __future__ import annotations

from typing import Any

from localcloud.storage import access, listing, preconditions
from localcloud.storage.buckets import PROJECT_NUMBER, Bucket
from localcloud.storage.errors import required
from localcloud.storage.preconditions import flag, number
from localcloud.storage.state import Storage
from localcloud.storage.wire import Call, Reply, method

Answer = dict[str, Any]


def shown(storage: Storage, call: Call, bucket: Bucket) -> Answer:
    """The bucket as JSON, with its ACLs where the caller wants all."""
    base = storage.context.http_url
    result = bucket.resource(base)
    if call.query.get("projection") == "full" and not bucket.has_uniform_access:
        result["owner"] = {"entity": f"project-owners-{PROJECT_NUMBER}"}
        result["acl"] = [
            access.entry_resource(access.BUCKET, base, bucket, entry) for entry in access.bucket_entries(bucket)
        ]
        result["defaultObjectAcl"] = [
            access.entry_resource(access.OBJECT, base, bucket, entry) for entry in access.default_entries(bucket)
        ]
    return result


def _insert(storage: Storage, call: Call) -> Answer:
    return shown(storage, call, storage.insert_bucket(call.resource, call.query))


def _list(storage: Storage, call: Call) -> Answer:
    limit = min(number(call.query, "maxResults") or listing.MAX_RESULTS, listing.MAX_RESULTS)
    first = listing.decode_token(call.query.get("pageToken", ""))
    prefix = call.query.get("prefix", "")
    buckets = storage.catalog.deleted() if flag(call.query, "softDeleted") else storage.buckets()
    found = [b for b in buckets if (b.name, b.created) >= first and b.name.startswith(prefix)]
    result: Answer = {"kind": "storage#buckets"}
    if found:
        result["items"] = [shown(storage, call, bucket) for bucket in found[:limit]]
    if len(found) > limit:
        result["nextPageToken"] = listing.encode_token(found[limit].name, found[limit].created)
    return result


def _get(storage: Storage, call: Call, name: str) -> Answer:
    if flag(call.query, "softDeleted"):
        return shown(storage, call, storage.catalog.get_deleted(name, _generation(call)))
    bucket = storage.catalog.get(name, preconditions.from_query(call.query), reading=True)
    return shown(storage, call, bucket)


def _change(storage: Storage, call: Call, name: str) -> Answer:
    conditions = preconditions.from_query(call.query)
    bucket = storage.catalog.patch(name, call.resource, call.query, conditions, replace=call.method == "PUT")
    return shown(storage, call, bucket)


def _delete(storage: Storage, call: Call, name: str) -> Reply:
    storage.delete_bucket(name, preconditions.from_query(call.query))
    return Reply(204)


def _restore(storage: Storage, call: Call, name: str) -> Answer:
    return shown(storage, call, storage.restore_bucket(name, _generation(call)))


def _generation(call: Call) -> int:
    generation = number(call.query, "generation")
    if generation is None:
        raise required("generation")
    return generation


def _lock_retention(storage: Storage, call: Call, name: str) -> Answer:
    return shown(storage, call, storage.catalog.lock_retention(name, preconditions.from_query(call.query)))


def _storage_layout(storage: Storage, call: Call, name: str) -> Answer:
    bucket = storage.catalog.get(name)
    return {
        "kind": "storage#storageLayout",
        "bucket": name,
        "location": bucket.location,
        "locationType": bucket.location_type,
        "hierarchicalNamespace": {"enabled": False},
    }


def _insert_notification(storage: Storage, call: Call, bucket: str) -> Answer:
    return storage.catalog.add_notification(bucket, call.resource).resource(storage.context.http_url)


def _list_notifications(storage: Storage, call: Call, bucket: str) -> Answer:
    configs = storage.catalog.notifications.list(storage.catalog.get(bucket).name)
    result: Answer = {"kind": "storage#notifications"}
    if configs:
        result["items"] = [config.resource(storage.context.http_url) for config in configs]
    return result


def _get_notification(storage: Storage, call: Call, bucket: str, id_: str) -> Answer:
    config = storage.catalog.notifications.get(storage.catalog.get(bucket).name, id_)
    return config.resource(storage.context.http_url)


def _delete_notification(storage: Storage, call: Call, bucket: str, id_: str) -> Reply:
    storage.catalog.remove_notification(bucket, id_)
    return Reply(204)


METHODS = (
    method("buckets.insert", "POST", "b", _insert, lambda call, names: str(call.resource.get("name", ""))),
    method("buckets.list", "GET", "b", _list, lambda call, names: call.query.get("project", "")),
    method("buckets.get", "GET", "b/{bucket}", _get),
    method("buckets.patch", "PATCH", "b/{bucket}", _change),
    method("buckets.update", "PUT", "b/{bucket}", _change),
    method("buckets.delete", "DELETE", "b/{bucket}", _delete),
    method("buckets.restore", "POST", "b/{bucket}/restore", _restore),
    method("buckets.lockRetentionPolicy", "POST", "b/{bucket}/lockRetentionPolicy", _lock_retention),
    method("buckets.getStorageLayout", "GET", "b/{bucket}/storageLayout", _storage_layout),
    method("notifications.insert", "POST", "b/{bucket}/notificationConfigs", _insert_notification),
    method("notifications.list", "GET", "b/{bucket}/notificationConfigs", _list_notifications),
    method("notifications.get", "GET", "b/{bucket}/notificationConfigs/{notification}", _get_notification),
    method("notifications.delete", "DELETE", "b/{bucket}/notificationConfigs/{notification}", _delete_notification),
)
