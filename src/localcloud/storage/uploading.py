"""How does an object arrive: in one request, as metadata and media, or in chunks?

https://cloud.google.com/storage/docs/uploads-downloads#uploads
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from localcloud.faults import Around
from localcloud.storage import fields, resources
from localcloud.storage.api_objects import shown, target_of
from localcloud.storage.errors import StorageError, invalid, required
from localcloud.storage.multipart import RelatedUpload
from localcloud.storage.payloads import PayloadWriter
from localcloud.storage.preconditions import number
from localcloud.storage.resources import Target
from localcloud.storage.state import Storage
from localcloud.storage.uploads import ContentRange, Session, content_range
from localcloud.storage.wire import JSON, Call, Reply, json_reply

_HASH_FIELDS = {"crc32c": "crc32c", "md5": "md5Hash"}


class Uploading:
    """`POST`, `PUT` and `DELETE` below `/upload`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def handle(self, call: Call, bucket: str) -> Reply:
        """Answer one call. Raises StorageError."""
        kind = call.query.get("uploadType")
        upload_id = call.query.get("upload_id")
        match call.method, kind:
            case "POST", "media":
                return await self._media(call, bucket)
            case "POST", "multipart":
                return await self._multipart(call, bucket)
            case "POST", "resumable" if upload_id is None:
                return await self._begin(call, bucket)
            case "PUT" | "POST", _ if upload_id is not None:
                return await self.resume(call, self._storage.uploads.get(upload_id))
            case "DELETE", _ if upload_id is not None:
                return await self._cancel(self._storage.uploads.get(upload_id))
            case "POST", _:
                raise invalid(
                    f"Invalid value for uploadType: {kind!r}, expected media, multipart or resumable.",
                    ("parameter", "uploadType"),
                )
            case _:
                raise StorageError(405, f"Method Not Allowed: {call.method}")

    async def _media(self, call: Call, bucket: str) -> Reply:
        self._storage.catalog.get(bucket)
        with self._storage.new_writer() as writer:
            async for chunk in call.chunks():
                writer.write(chunk)
            target = _target(self._storage, call, bucket, {}, call.header(b"content-type"))
            return await self._store(call, msgspec.structs.replace(target, checksums=body_hashes(call)), writer)

    async def _multipart(self, call: Call, bucket: str) -> Reply:
        self._storage.catalog.get(bucket)
        with self._storage.new_writer() as writer:
            upload = RelatedUpload(writer)
            metadata = await upload.receive(call)
            return await self._store(call, _target(self._storage, call, bucket, metadata, upload.content_type), writer)

    async def _store(self, call: Call, target: Target, writer: PayloadWriter) -> Reply:
        async with self._faulty(target):
            item = self._storage.insert(target, writer.finish())
            return json_reply(fields.select(shown(self._storage, call, item), call.query.get("fields")))

    async def _begin(self, call: Call, bucket: str) -> Reply:
        metadata = await call.json()
        target = _target(self._storage, call, bucket, metadata, call.header(b"x-upload-content-type"))
        self._storage.check_insert(target)
        announced = call.header(b"x-upload-content-length")
        total = number({"X-Upload-Content-Length": announced}, "X-Upload-Content-Length") if announced else None
        session = self._storage.uploads.begin(target, total)
        location = f"{call.base}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={session.id}"
        headers = [(b"location", location.encode("latin-1")), (b"x-guploader-uploadid", session.id.encode())]
        return Reply(200, headers)

    async def resume(self, call: Call, session: Session) -> Reply:
        """Take the next chunk of a session, or tell how far it has come. Raises StorageError."""
        async with self._storage.uploads.lock(session):
            session = self._storage.uploads.get(session.id)
            if session.result:
                await call.drain()
                return Reply(200, [(b"content-type", JSON)], session.result)
            place = content_range(call.header(b"content-range"))
            writer = self._storage.uploads.writer(session)
            completes = place.completes(writer.persisted)
            async with self._faulty(session.target) if completes else contextlib.nullcontext():
                if place.start is not None:
                    await _take_chunk(call, place, writer)
                if not completes:
                    writer.drop_tail()
                    return _incomplete(writer)
                return self._complete(session, call, writer, place)

    def _complete(self, session: Session, call: Call, writer: PayloadWriter, place: ContentRange) -> Reply:
        uploads = self._storage.uploads
        try:
            for total in (place.total, session.total):
                if total is not None and writer.size != total:
                    raise invalid(f"The upload has {writer.size} bytes, {total} were announced.")
            checksums = {**session.target.checksums, **_sent_hashes(call)}
            target = msgspec.structs.replace(session.target, checksums=checksums)
            item = self._storage.insert(target, writer.finish(), upload=session)
        except BaseException:  # the payload is gone, whatever the reason
            uploads.cancel(session)
            raise
        return json_reply(self._storage.resource(item))

    async def _cancel(self, session: Session) -> Reply:
        async with self._storage.uploads.lock(session):
            self._storage.uploads.cancel(self._storage.uploads.get(session.id))
            return Reply(499)

    def _faulty(self, target: Target) -> Around:
        return self._storage.context.faults.around("storage.objects.insert", f"{target.bucket}/{target.name}")


async def _take_chunk(call: Call, place: ContentRange, writer: PayloadWriter) -> None:
    """Add a chunk to what has arrived; what the client sends again is skipped."""
    start = place.start or 0
    skip = writer.persisted - start
    if skip < 0:
        raise StorageError(
            503,
            f"Invalid request. According to the Content-Range header, the upload offset is {start} byte(s), which"
            f" exceeds already uploaded size of {writer.persisted} byte(s).",
        )
    room = None if place.end is None else place.end - start + 1
    taken = 0
    try:
        async for chunk in call.chunks():
            taken += len(chunk)
            if room is not None and taken > room:
                raise invalid(f"The chunk has more than the {room} bytes that its Content-Range names.")
            writer.write(chunk[skip:] if skip else chunk)
            skip = max(0, skip - len(chunk))
        if room is not None and taken < room:
            raise invalid(f"The chunk has {taken} bytes, its Content-Range names {room}.")
    except BaseException:
        writer.drop_tail()
        raise


def _incomplete(writer: PayloadWriter) -> Reply:
    """308: how many bytes are safe, nothing at all if none are."""
    headers = [(b"range", b"bytes=0-%d" % (writer.persisted - 1))] if writer.persisted else []
    return Reply(308, headers)


def _target(storage: Storage, call: Call, bucket: str, metadata: Mapping[str, Any], content_type: str | None) -> Target:
    """Where an upload goes. The query's name wins over the metadata's, the metadata's type over the header's."""
    name = call.query.get("name", metadata.get("name"))
    if not isinstance(name, str):
        raise required("name")
    target = target_of(storage, call, bucket, name, metadata)
    if content_type and not target.fields.get("contentType"):
        target.fields.update(resources.object_fields({"contentType": content_type}))
    if "contentEncoding" in call.query:
        target.fields.update(resources.object_fields({"contentEncoding": call.query["contentEncoding"]}))
    checksums = {kind: metadata[key] for kind, key in _HASH_FIELDS.items() if isinstance(metadata.get(key), str)}
    return msgspec.structs.replace(target, checksums={**checksums, **_sent_hashes(call)})


def body_hashes(call: Call) -> dict[str, str]:
    """Checksums of a request whose body is the object: those of the object, and `Content-MD5`."""
    md5 = call.header(b"content-md5")
    return {**({"md5": md5.strip()} if md5 else {}), **_sent_hashes(call)}


def _sent_hashes(call: Call) -> dict[str, str]:
    """Checksums of the object in the header `x-goog-hash: crc32c=...,md5=...`."""
    hashes = {}
    for part in (call.header(b"x-goog-hash") or "").split(","):
        kind, separator, value = part.strip().partition("=")
        if separator and kind in _HASH_FIELDS:
            hashes[kind] = value
    return hashes
