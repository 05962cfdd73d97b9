"""What do the methods of ACLs, IAM policies and HMAC keys answer?

https://cloud.google.com/storage/docs/json_api/v1/bucketAccessControls and its siblings
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.storage import access, listing
from localcloud.storage.access import Entries
from localcloud.storage.buckets import PROJECT_NUMBER, Bucket
from localcloud.storage.errors import required
from localcloud.storage.preconditions import flag, number
from localcloud.storage.resources import StoredObject
from localcloud.storage.state import Storage
from localcloud.storage.wire import Call, Method, Reply, method

Answer = dict[str, Any]


class _List:
    """An access list where it is: a bucket's own, its default for objects, or an object's."""

    def __init__(self, storage: Storage, call: Call, names: list[str]) -> None:
        self._storage = storage
        self._collection = next(part for part in reversed(call.path) if part in ("acl", "defaultObjectAcl"))
        self._bucket: Bucket = storage.catalog.get(names[0])
        self._item: StoredObject | None = None
        access.refuse_uniform(self._bucket)
        if call.path[2] == "o":
            self._item = storage.object(names[0], names[1], number(call.query, "generation"))

    def read(self) -> Entries:
        if self._item is not None:
            return access.object_entries(self._item)
        if self._collection == "acl":
            return access.bucket_entries(self._bucket)
        return access.default_entries(self._bucket)

    def write(self, entries: Entries) -> None:
        if self._item is not None:
            self._item = self._storage.change(self._item, acl=entries)
        elif self._collection == "acl":
            self._bucket = self._storage.catalog.change(self._bucket, acl=entries)
        else:
            self._bucket = self._storage.catalog.change(self._bucket, default_object_acl=entries)

    @property
    def kind(self) -> str:
        return access.BUCKET if self._item is None and self._collection == "acl" else access.OBJECT

    def shown(self, entry: Mapping[str, Any]) -> Answer:
        return access.entry_resource(self.kind, self._storage.context.http_url, self._bucket, entry, self._item)


def _list(storage: Storage, call: Call, *names: str) -> Answer:
    entries = _List(storage, call, list(names))
    return {"kind": f"storage#{entries.kind}s", "items": [entries.shown(entry) for entry in entries.read()]}


def _get(storage: Storage, call: Call, *names: str) -> Answer:
    entries = _List(storage, call, list(names))
    return entries.shown(access.find(entries.read(), names[-1]))


def _insert(storage: Storage, call: Call, *names: str) -> Answer:
    entries = _List(storage, call, list(names))
    entry = access.entry(call.resource)
    entries.write(access.with_entry(entries.read(), entry))
    return entries.shown(entry)


def _change(storage: Storage, call: Call, *names: str) -> Answer:
    entries = _List(storage, call, list(names))
    known = access.find(entries.read(), names[-1])
    entry = access.entry({**known, "role": call.resource.get("role", known["role"])})
    entries.write(access.with_entry(entries.read(), entry))
    return entries.shown(entry)


def _delete(storage: Storage, call: Call, *names: str) -> Reply:
    entries = _List(storage, call, list(names))
    entries.write(access.without(entries.read(), access.find(entries.read(), names[-1])["entity"]))
    return Reply(204)


# IAM


def _subject(storage: Storage, call: Call, names: tuple[str, ...]) -> tuple[Bucket, StoredObject | None]:
    bucket = storage.catalog.get(names[0])
    if len(names) == 1:
        return bucket, None
    return bucket, storage.object(names[0], names[1], number(call.query, "generation"))


def _get_policy(storage: Storage, call: Call, *names: str) -> Answer:
    return access.policy_of(*_subject(storage, call, names))


def _set_policy(storage: Storage, call: Call, *names: str) -> Answer:
    bucket, item = _subject(storage, call, names)
    policy = access.checked_policy(call.resource, access.policy_of(bucket, item))
    if item is None:
        return access.policy_of(storage.catalog.change(bucket, policy=policy))
    return access.policy_of(bucket, storage.change(item, policy=policy))


def _test_permissions(storage: Storage, call: Call, *names: str) -> Answer:
    """Everybody may do everything."""
    _subject(storage, call, names)
    permissions = call.values("permissions")
    if not permissions:
        raise required("permissions")
    return {"kind": "storage#testIamPermissionsResponse", "permissions": permissions}


# HMAC keys, and the account in whose name Cloud Storage publishes


def _create_key(storage: Storage, call: Call, project: str) -> Answer:
    email = call.query.get("serviceAccountEmail")
    if not email:
        raise required("serviceAccountEmail")
    key = storage.hmac_keys.create(project, email)
    return {"kind": "storage#hmacKey", "metadata": key.resource(storage.context.http_url), "secret": key.secret}


def _list_keys(storage: Storage, call: Call, project: str) -> Answer:
    query = call.query
    limit = min(number(query, "maxResults") or listing.MAX_RESULTS, listing.MAX_RESULTS)
    first, _ = listing.decode_token(query.get("pageToken", ""))
    deleted = flag(query, "showDeletedKeys")
    keys = storage.hmac_keys.list(project, query.get("serviceAccountEmail"), deleted=deleted)
    found = [key for key in keys if key.access_id >= first]
    result: Answer = {"kind": "storage#hmacKeysMetadata"}
    if found:
        result["items"] = [key.resource(storage.context.http_url) for key in found[:limit]]
    if len(found) > limit:
        result["nextPageToken"] = listing.encode_token(found[limit].access_id)
    return result


def _get_key(storage: Storage, call: Call, project: str, access_id: str) -> Answer:
    return storage.hmac_keys.get(project, access_id).resource(storage.context.http_url)


def _update_key(storage: Storage, call: Call, project: str, access_id: str) -> Answer:
    state, etag = call.resource.get("state"), call.resource.get("etag")
    return storage.hmac_keys.update(project, access_id, state, etag).resource(storage.context.http_url)


def _delete_key(storage: Storage, call: Call, project: str, access_id: str) -> Reply:
    storage.hmac_keys.delete(project, access_id)
    return Reply(204)


def _service_account(storage: Storage, call: Call, project: str) -> Answer:
    email = f"service-{PROJECT_NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
    return {"kind": "storage#serviceAccount", "email_address": email}


def _acl_methods(resource: str, path: str) -> tuple[Method, ...]:
    one = f"{path}/{{entity}}"
    return (
        method(f"{resource}.list", "GET", path, _list),
        method(f"{resource}.insert", "POST", path, _insert),
        method(f"{resource}.get", "GET", one, _get),
        method(f"{resource}.patch", "PATCH", one, _change),
        method(f"{resource}.update", "PUT", one, _change),
        method(f"{resource}.delete", "DELETE", one, _delete),
    )


METHODS = (
    *_acl_methods("bucketAccessControls", "b/{bucket}/acl"),
    *_acl_methods("defaultObjectAccessControls", "b/{bucket}/defaultObjectAcl"),
    *_acl_methods("objectAccessControls", "b/{bucket}/o/{object}/acl"),
    method("buckets.getIamPolicy", "GET", "b/{bucket}/iam", _get_policy),
    method("buckets.setIamPolicy", "PUT", "b/{bucket}/iam", _set_policy),
    method("buckets.testIamPermissions", "GET", "b/{bucket}/iam/testPermissions", _test_permissions),
    method("objects.getIamPolicy", "GET", "b/{bucket}/o/{object}/iam", _get_policy),
    method("objects.setIamPolicy", "PUT", "b/{bucket}/o/{object}/iam", _set_policy),
    method("objects.testIamPermissions", "GET", "b/{bucket}/o/{object}/iam/testPermissions", _test_permissions),
    method("hmacKeys.create", "POST", "projects/{project}/hmacKeys", _create_key),
    method("hmacKeys.list", "GET", "projects/{project}/hmacKeys", _list_keys),
    method("hmacKeys.get", "GET", "projects/{project}/hmacKeys/{accessId}", _get_key),
    method("hmacKeys.update", "PUT", "projects/{project}/hmacKeys/{accessId}", _update_key),
    method("hmacKeys.delete", "DELETE", "projects/{project}/hmacKeys/{accessId}", _delete_key),
    method("serviceAccount.get", "GET", "projects/{project}/serviceAccount", _service_account),
)
