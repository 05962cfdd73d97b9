"""Which request does what? The JSON API of Cloud Storage on the wire.

https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from localcloud.storage import downloads, listing, preconditions, resources
from localcloud.storage.batch import run_batch
from localcloud.storage.errors import StorageError, condition_not_met, invalid, not_modified, required
from localcloud.storage.preconditions import number
from localcloud.storage.resources import StoredObject, Target
from localcloud.storage.state import Storage
from localcloud.storage.uploading import Uploading
from localcloud.storage.wire import Call, Faulty, Reply, error_reply, json_reply, serve

_PREFIXES = ("/storage/v1/", "/upload/storage/v1/", "/download/storage/v1/", "/batch/storage/v1")


def routes(storage: Storage) -> list[BaseRoute]:
    """Everything below the prefixes of Cloud Storage, for a Starlette application."""
    return [_StorageRoute(StorageApi(storage))]


class _StorageRoute(BaseRoute):
    """Takes whole prefixes: object names are matched in the raw path, which Starlette's patterns don't see."""

    def __init__(self, api: StorageApi) -> None:
        self._api = api

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path is one of ours."""
        ours = scope["type"] == "http" and scope["path"].startswith(_PREFIXES)
        return (Match.FULL if ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        await serve(self._api.handle, scope, receive, send)


class StorageApi:
    """The calls, by method and path."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._uploading = Uploading(storage)

    async def handle(self, call: Call) -> Reply:
        """Answer one call. Raises StorageError."""
        match call.service, call.method, call.path:
            case "storage", "GET", ("b", bucket, "o", name):
                return await self._get_object(call, bucket, name)
            case "download", "GET", ("b", bucket, "o", name):
                return await self._download(call, bucket, name)
            case "upload", _, ("b", bucket, "o"):
                return await self._uploading.handle(call, bucket)
            case "storage", "GET", ("b", bucket, "o"):
                return await self._list_objects(call, bucket)
            case "storage", "DELETE", ("b", bucket, "o", name):
                return await self._delete_object(call, bucket, name)
            case "storage", "PATCH" | "PUT", ("b", bucket, "o", name):
                return await self._patch_object(call, bucket, name)
            case "storage", "POST", ("b", bucket, "o", name, "compose"):
                return await self._compose(call, bucket, name)
            case "storage", "POST", (
                "b",
                source_bucket,
                "o",
                source,
                "copyTo" | "rewriteTo" as verb,
                "b",
                bucket,
                "o",
                name,
            ):
                return await self._copy(call, verb, (source_bucket, source), bucket, name)
            case "storage", _, ("b",):
                return await self._buckets(call)
            case "storage", _, ("b", bucket):
                return await self._bucket(call, bucket)
            case "storage", "GET", ("b", bucket, "notificationConfigs"):
                self._storage.bucket(bucket)
                return json_reply({"kind": "storage#notifications"})
            case "batch", "POST", _:
                return await run_batch(call, self.handle)
            case _:
                raise StorageError(404, f"Not Found: {call.method} on this path is not emulated.")

    def _faulty(self, name: str, resource: str) -> Faulty:
        return Faulty(self._storage.context, name, resource)

    # Buckets

    async def _buckets(self, call: Call) -> Reply:
        match call.method:
            case "POST":
                resource = await call.json()
                async with self._faulty("storage.buckets.insert", str(resource.get("name", ""))):
                    bucket = self._storage.insert_bucket(resource)
                    return json_reply(bucket.resource(self._base))
            case "GET":
                async with self._faulty("storage.buckets.list", call.query.get("project", "")):
                    return json_reply(self._list_buckets(call.query))
            case _:
                raise _no_method(call)

    def _list_buckets(self, query: Mapping[str, str]) -> dict[str, Any]:
        limit = min(number(query, "maxResults") or listing.MAX_RESULTS, listing.MAX_RESULTS)
        first, _ = listing.decode_token(query.get("pageToken", ""))
        prefix = query.get("prefix", "")
        found = [b for b in self._storage.buckets() if b.name >= first and b.name.startswith(prefix)]
        result: dict[str, Any] = {"kind": "storage#buckets"}
        if found:
            result["items"] = [bucket.resource(self._base) for bucket in found[:limit]]
        if len(found) > limit:
            result["nextPageToken"] = listing.encode_token(found[limit].name)
        return result

    async def _bucket(self, call: Call, name: str) -> Reply:
        conditions = preconditions.from_query(call.query)
        match call.method:
            case "GET":
                async with self._faulty("storage.buckets.get", name):
                    return json_reply(self._storage.bucket(name, conditions, reading=True).resource(self._base))
            case "PATCH" | "PUT":
                resource = await call.json()
                async with self._faulty("storage.buckets.patch", name):
                    bucket = self._storage.patch_bucket(name, resource, conditions, replace=call.method == "PUT")
                    return json_reply(bucket.resource(self._base))
            case "DELETE":
                async with self._faulty("storage.buckets.delete", name):
                    self._storage.delete_bucket(name, conditions)
                    return Reply(204)
            case _:
                raise _no_method(call)

    @property
    def _base(self) -> str:
        return self._storage.context.http_url

    # Objects: reading

    async def _get_object(self, call: Call, bucket: str, name: str) -> Reply:
        if call.query.get("alt") == "media":
            return await self._download(call, bucket, name)
        async with self._faulty("storage.objects.get", f"{bucket}/{name}"):
            return json_reply(self._storage.resource(self._read(call, bucket, name)))

    async def _download(self, call: Call, bucket: str, name: str) -> Reply:
        try:
            async with self._faulty("storage.objects.get", f"{bucket}/{name}"):
                item = self._read(call, bucket, name)
                return downloads.media(self._storage, item, call.header(b"range"), call.header(b"accept-encoding"))
        except StorageError as error:
            if error.status != 404:
                return error_reply(error)
            # Downloads answer in plain text.
            return Reply(404, [(b"content-type", b"text/html; charset=UTF-8")], error.message.encode())

    def _read(self, call: Call, bucket: str, name: str) -> StoredObject:
        conditions = preconditions.from_query(call.query)
        item = self._storage.object(bucket, name, number(call.query, "generation"), conditions, reading=True)
        wanted, known = call.header(b"if-match"), call.header(b"if-none-match")
        if wanted is not None and not _names_etag(wanted, item.etag):
            raise condition_not_met("If-Match")
        if known is not None and _names_etag(known, item.etag):
            raise not_modified("If-None-Match")
        return item

    async def _list_objects(self, call: Call, bucket: str) -> Reply:
        async with self._faulty("storage.objects.list", f"{bucket}/{call.query.get('prefix', '')}"):
            query = listing.Query.from_parameters(call.query)
            page = listing.list_page(self._storage.index(bucket), query)
            result: dict[str, Any] = {"kind": "storage#objects"}
            if page.items:
                result["items"] = [self._storage.resource(item) for item in page.items]
            if page.prefixes:
                result["prefixes"] = page.prefixes
            if page.next_token:
                result["nextPageToken"] = page.next_token
            return json_reply(result)

    # Objects: writing

    async def _delete_object(self, call: Call, bucket: str, name: str) -> Reply:
        async with self._faulty("storage.objects.delete", f"{bucket}/{name}"):
            self._storage.delete(
                bucket,
                name,
                generation=number(call.query, "generation"),
                conditions=preconditions.from_query(call.query),
            )
            return Reply(204)

    async def _patch_object(self, call: Call, bucket: str, name: str) -> Reply:
        changes = resources.object_fields(await call.json())
        async with self._faulty("storage.objects.patch", f"{bucket}/{name}"):
            item = self._storage.patch(
                bucket,
                name,
                changes,
                generation=number(call.query, "generation"),
                conditions=preconditions.from_query(call.query),
                replace=call.method == "PUT",
            )
            return json_reply(self._storage.resource(item))

    async def _copy(self, call: Call, verb: str, source: tuple[str, str], bucket: str, name: str) -> Reply:
        body = await call.json()
        async with self._faulty("storage.objects.rewrite", f"{bucket}/{name}"):
            origin = self._storage.object(
                *source,
                number(call.query, "sourceGeneration"),
                preconditions.from_query(call.query, "Source"),
            )
            item = self._storage.copy(origin, _target(call, bucket, name, body))
            resource = self._storage.resource(item)
        if verb == "copyTo":
            return json_reply(resource)
        return json_reply(
            {
                "kind": "storage#rewriteResponse",
                "totalBytesRewritten": resource["size"],
                "objectSize": resource["size"],
                "done": True,
                "resource": resource,
            }
        )

    async def _compose(self, call: Call, bucket: str, name: str) -> Reply:
        body = await call.json()
        destination = body.get("destination") or {}
        if not isinstance(destination, dict):
            raise invalid(f"Invalid value for destination: {destination!r:.40}, expected an object.")
        async with self._faulty("storage.objects.compose", f"{bucket}/{name}"):
            sources = body.get("sourceObjects")
            if not isinstance(sources, list) or not all(isinstance(source, dict) for source in sources):
                raise required("sourceObjects")
            item = await self._storage.compose(
                [self._component(bucket, source) for source in sources],
                _target(call, bucket, name, destination),
            )
            return json_reply(self._storage.resource(item))

    def _component(self, bucket: str, source: Mapping[str, Any]) -> StoredObject:
        name = source.get("name")
        if not isinstance(name, str):
            raise required("sourceObjects.name")
        conditions = source.get("objectPreconditions") or {}
        if not isinstance(conditions, dict):
            raise invalid(f"Invalid value for objectPreconditions: {conditions!r:.40}, expected an object.")
        texts = {"generation": source.get("generation"), **conditions}
        query = {key: str(value) for key, value in texts.items() if value is not None}
        return self._storage.object(bucket, name, number(query, "generation"), preconditions.from_query(query))


def _target(call: Call, bucket: str, name: str, resource: Mapping[str, Any]) -> Target:
    storage_class = resource.get("storageClass")
    return Target(
        bucket=bucket,
        name=name,
        fields=resources.object_fields(resource),
        storage_class=storage_class if isinstance(storage_class, str) else None,
        conditions=preconditions.from_query(call.query),
    )


def _names_etag(header: str, etag: str) -> bool:
    return any(candidate.strip().strip('"') in ("*", etag) for candidate in header.split(","))


def _no_method(call: Call) -> StorageError:
    return StorageError(405, f"Method Not Allowed: {call.method}")
