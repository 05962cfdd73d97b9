"""What do the methods of objects answer, uploads apart?

https://cloud.google.com/storage/docs/json_api/v1/objects
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from localcloud.storage import access, downloads, encryption, listing, preconditions, resources, rewriting
from localcloud.storage.errors import (
    StorageError,
    condition_not_met,
    invalid,
    not_modified,
    required,
)
from localcloud.storage.preconditions import Preconditions, flag, number
from localcloud.storage.resources import StoredObject, Target
from localcloud.storage.state import Storage
from localcloud.storage.wire import Call, Reply, method

Answer = dict[str, Any]


def shown(storage: Storage, call: Call, item: StoredObject) -> Answer:
    """The object as JSON, with its ACL where the caller wants all."""
    result = storage.resource(item)
    if item.key_sha256 and encryption.key_of(call) != item.key_sha256:
        for name in ("crc32c", "md5Hash"):  # only for those who may read the content
            result.pop(name, None)
    bucket = storage.catalog.get(item.bucket)
    if call.query.get("projection") == "full" and not bucket.has_uniform_access:
        base = storage.context.http_url
        result["acl"] = [
            access.entry_resource(access.OBJECT, base, bucket, entry, item) for entry in access.object_entries(item)
        ]
    return result


def target_of(storage: Storage, call: Call, bucket: str, name: str, resource: Mapping[str, Any]) -> Target:
    """Where an object goes, by the request's parameters and the `resource` in its body.

    Raises StorageError 400, 404.
    """
    acl_parameter = "predefinedAcl" if call.service == "upload" else "destinationPredefinedAcl"
    target = Target(
        bucket=bucket,
        name=name,
        key_sha256=encryption.key_of(call),
        fields=resources.object_fields(resource),
        storage_class=resources.storage_class_of(resource),
        conditions=preconditions.from_query(call.query),
        acl=access.wanted(resource, "acl", call.query, acl_parameter),
    )
    kms_key = encryption.kms_key_of(target, storage.catalog.get(bucket), call.query)
    return msgspec.structs.replace(target, kms_key=kms_key) if kms_key else target


# Reading


def _get(storage: Storage, call: Call, bucket: str, name: str) -> Answer | Reply:
    if call.query.get("alt") == "media" or call.service == "download":
        return _download(storage, call, bucket, name)
    soft_deleted = flag(call.query, "softDeleted")
    if soft_deleted and "generation" not in call.query:
        raise required("generation")
    conditions = preconditions.from_query(call.query)
    item = read(storage, call, bucket, name, conditions, soft_deleted=soft_deleted)
    if key := encryption.key_of(call):  # without one its hashes are left out
        encryption.check(item, key)
    return shown(storage, call, item)


def _download(storage: Storage, call: Call, bucket: str, name: str) -> Reply:
    try:
        item = read(storage, call, bucket, name, preconditions.from_query(call.query))
        encryption.check(item, encryption.key_of(call))
        return downloads.media(storage, item, call.header(b"range"), call.header(b"accept-encoding"))
    except StorageError as error:
        if error.status != 404:
            raise
        # Downloads answer in plain text.
        return Reply(404, [(b"content-type", b"text/html; charset=UTF-8")], error.message.encode())


def read(
    storage: Storage,
    call: Call,
    bucket: str,
    name: str,
    conditions: Preconditions,
    *,
    soft_deleted: bool = False,
) -> StoredObject:
    """The version that a request reads, on its conditions. Raises StorageError 404, 412, 304."""
    generation = number(call.query, "generation")
    item = storage.object(bucket, name, generation, conditions, reading=True, soft_deleted=soft_deleted)
    wanted, known = call.header(b"if-match"), call.header(b"if-none-match")
    if wanted is not None and not _names_etag(wanted, item.etag):
        raise condition_not_met("If-Match")
    if known is not None and _names_etag(known, item.etag):
        raise not_modified("If-None-Match")
    return item


def _list(storage: Storage, call: Call, bucket: str) -> Answer:
    query = listing.Query.from_parameters(call.query)
    page = listing.list_page(storage.index(bucket, soft_deleted=query.soft_deleted), query)
    result: Answer = {"kind": "storage#objects"}
    if page.items:
        result["items"] = _shown_all(storage, call, bucket, page.items)
    if page.prefixes:
        result["prefixes"] = page.prefixes
    if page.next_token:
        result["nextPageToken"] = page.next_token
    return result


def _shown_all(storage: Storage, call: Call, bucket: str, items: Sequence[StoredObject]) -> list[Answer | msgspec.Raw]:
    """The objects of a page. Where nothing depends on the caller or the bucket their JSON is ready."""
    if "fields" in call.query or call.query.get("projection") == "full" or storage.catalog.get(bucket).retention_s:
        return [shown(storage, call, item) for item in items]
    return [shown(storage, call, item) if item.key_sha256 else storage.rendered.json(item) for item in items]


# Writing


def _delete(storage: Storage, call: Call, bucket: str, name: str) -> Reply:
    generation, conditions = number(call.query, "generation"), preconditions.from_query(call.query)
    storage.delete(bucket, name, generation=generation, conditions=conditions)
    return Reply(204)


def _change(storage: Storage, call: Call, bucket: str, name: str) -> Answer:
    item = storage.patch(
        bucket,
        name,
        resources.object_fields(call.resource),
        generation=number(call.query, "generation"),
        conditions=preconditions.from_query(call.query),
        replace=call.method == "PUT",
        override_retention=flag(call.query, "overrideUnlockedRetention"),
        acl=access.wanted(call.resource, "acl", call.query, "predefinedAcl"),
    )
    return shown(storage, call, item)


def _source(storage: Storage, call: Call, bucket: str, name: str) -> StoredObject:
    conditions = preconditions.from_query(call.query, "Source")
    item = storage.object(bucket, name, number(call.query, "sourceGeneration"), conditions)
    encryption.check(item, encryption.key_of(call, b"copy-source-"))
    return item


def _copy(storage: Storage, call: Call, source_bucket: str, source: str, bucket: str, name: str) -> Answer:
    origin = _source(storage, call, source_bucket, source)
    return shown(storage, call, storage.copy(origin, target_of(storage, call, bucket, name, call.resource)))


def _rewrite(storage: Storage, call: Call, source_bucket: str, source: str, bucket: str, name: str) -> Answer:
    origin = _source(storage, call, source_bucket, source)
    target = target_of(storage, call, bucket, name, call.resource)
    storage.check_insert(target)
    written, token = rewriting.progress(storage, origin, target, call.query)
    answer = {
        "kind": "storage#rewriteResponse",
        "totalBytesRewritten": str(written),
        "objectSize": str(origin.size),
        "done": not token,
    }
    if token:
        return {**answer, "rewriteToken": token}
    return {**answer, "resource": shown(storage, call, storage.copy(origin, target))}


def _move(storage: Storage, call: Call, bucket: str, source: str, name: str) -> Answer:
    conditions = preconditions.from_query(call.query, "Source")
    origin = storage.object(bucket, source, number(call.query, "sourceGeneration"), conditions)
    if source == name:
        raise invalid("The source object and the destination object must have different names.")
    target = Target(
        bucket,
        name,
        storage_class=origin.storage_class,
        conditions=preconditions.from_query(call.query),
        key_sha256=origin.key_sha256,
        kms_key=origin.kms_key,
    )
    return shown(storage, call, storage.copy(origin, target, moves=True))


def _restore(storage: Storage, call: Call, bucket: str, name: str) -> Answer:
    generation = number(call.query, "generation")
    if generation is None:
        raise required("generation")
    item = storage.object(bucket, name, generation, soft_deleted=True)
    with_acl = flag(call.query, "copySourceAcl")
    return shown(storage, call, storage.restore(item, preconditions.from_query(call.query), with_acl=with_acl))


async def _compose(storage: Storage, call: Call, bucket: str, name: str) -> Answer:
    destination = call.resource.get("destination") or {}
    if not isinstance(destination, dict):
        raise invalid(f"Invalid value for destination: {destination!r:.40}, expected an object.")
    sources = call.resource.get("sourceObjects")
    if not isinstance(sources, list) or not all(isinstance(source, dict) for source in sources):
        raise required("sourceObjects")
    item = await storage.compose(
        [_component(storage, call, bucket, source) for source in sources],
        target_of(storage, call, bucket, name, destination),
        delete_sources=call.resource.get("deleteSourceObjects") is True,
    )
    return shown(storage, call, item)


def _component(storage: Storage, call: Call, bucket: str, source: Mapping[str, Any]) -> StoredObject:
    name = source.get("name")
    if not isinstance(name, str):
        raise required("sourceObjects.name")
    conditions = source.get("objectPreconditions") or {}
    if not isinstance(conditions, dict):
        raise invalid(f"Invalid value for objectPreconditions: {conditions!r:.40}, expected an object.")
    texts = {"generation": source.get("generation"), **conditions}
    query = {key: str(value) for key, value in texts.items() if value is not None}
    item = storage.object(bucket, name, number(query, "generation"), preconditions.from_query(query))
    encryption.check(item, encryption.key_of(call))
    return item


def _names_etag(header: str, etag: str) -> bool:
    return any(candidate.strip().strip('"') in ("*", etag) for candidate in header.split(","))


def _listed(call: Call, names: list[str]) -> str:
    return f"{names[0]}/{call.query.get('prefix', '')}"


def _destination(call: Call, names: list[str]) -> str:
    return "/".join(names[-2:])


_COPY = "b/{sourceBucket}/o/{sourceObject}/copyTo/b/{destinationBucket}/o/{destinationObject}"
_REWRITE = "b/{sourceBucket}/o/{sourceObject}/rewriteTo/b/{destinationBucket}/o/{destinationObject}"
_MOVE = "b/{bucket}/o/{sourceObject}/moveTo/o/{destinationObject}"
METHODS = (
    method("objects.list", "GET", "b/{bucket}/o", _list, _listed),
    method("objects.get", "GET", "b/{bucket}/o/{object}", _get),
    method("objects.patch", "PATCH", "b/{bucket}/o/{object}", _change),
    method("objects.update", "PUT", "b/{bucket}/o/{object}", _change),
    method("objects.delete", "DELETE", "b/{bucket}/o/{object}", _delete),
    method("objects.compose", "POST", "b/{bucket}/o/{object}/compose", _compose),
    method("objects.restore", "POST", "b/{bucket}/o/{object}/restore", _restore),
    method("objects.copy", "POST", _COPY, _copy, _destination),
    method("objects.rewrite", "POST", _REWRITE, _rewrite, _destination),
    method("objects.move", "POST", _MOVE, _move, lambda call, names: f"{names[0]}/{names[2]}"),
)
