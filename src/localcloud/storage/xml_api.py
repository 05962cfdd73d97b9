"""What do paths like `/<bucket>/<object>` answer? The part of the XML API that client libraries use.

Signed URLs, signed forms, and uploads in parts. A request without a signature is let through, like every other one: but
one that has a signature must have a valid one. https://cloud.google.com/storage/docs/xml-api/overview
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from urllib.parse import quote, unquote_to_bytes, urlencode
from xml.etree.ElementTree import Element, ParseError, SubElement, XMLParser, tostring

import msgspec
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from localcloud.faults import Around
from localcloud.storage import downloads, encryption, forms, resources, signing
from localcloud.storage.api_objects import read
from localcloud.storage.errors import StorageError, invalid
from localcloud.storage.parts import MAX_PARTS
from localcloud.storage.preconditions import Preconditions, number
from localcloud.storage.resources import StoredObject, Target
from localcloud.storage.signing import Signers
from localcloud.storage.state import Storage
from localcloud.storage.uploading import Uploading, body_hashes
from localcloud.storage.wire import Call, Headers, Reply, serve

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_XML = b"application/xml; charset=UTF-8"
_META = "x-goog-meta-"
_FIELD_HEADERS = {
    "content-type": "contentType",
    "content-encoding": "contentEncoding",
    "content-disposition": "contentDisposition",
    "content-language": "contentLanguage",
    "cache-control": "cacheControl",
    "x-goog-custom-time": "customTime",
}
_SUBRESOURCES = frozenset({"acl", "cors", "lifecycle", "tagging", "torrent", "uploadId", "uploads", "versions"})
MAX_COMPLETE_BYTES = 2**20


def routes(storage: Storage) -> list[BaseRoute]:
    """What is left for buckets by name: goes after the routes of everybody else."""
    return [_BucketRoute(storage)]


class _BucketRoute(BaseRoute):
    """Takes paths that begin with a bucket, and those of signed URLs whatever they begin with."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._api = XmlApi(storage)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path is one of ours."""
        if scope["type"] != "http":
            return Match.NONE, {}
        first = scope["path"].lstrip("/").partition("/")[0]
        ours = first in self._storage.catalog or b"X-Goog-Signature=" in scope["query_string"]
        return (Match.FULL if ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        await serve(self._api.handle, scope, receive, send, error_reply)


class XmlApi:
    """The calls, by method and parameters."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._uploading = Uploading(storage)
        identity, clock = storage.context.identity, storage.context.clock
        self._signers = Signers(identity.is_signed_by, storage.hmac_keys.secret, clock.now)

    async def handle(self, call: Call) -> Reply:
        """Answer one call. Raises StorageError."""
        bucket, name = _split(call.raw_path)
        if signing.is_signed(call.query):
            signing.check_url(call, self._signers)
        self._storage.catalog.get(bucket)
        query = call.query
        match call.method, bool(name):
            case "GET" | "HEAD", True if not _SUBRESOURCES.intersection(query):
                return await self._get(call, bucket, name)
            case "PUT", True if "uploadId" in query:
                return await self._put_part(call, bucket, name)
            case "PUT", True if "upload_id" in query:
                return await self._resume(call)
            case "PUT", True:
                return await self._put(call, bucket, name)
            case "DELETE", True if "uploadId" in query:
                async with self._faulty("storage.multipartUploads.abort", bucket, name):
                    self._storage.parts.abort(self._storage.parts.get(bucket, name, query["uploadId"]))
                    return Reply(204)
            case "DELETE", True:
                async with self._faulty("storage.objects.delete", bucket, name):
                    self._storage.delete(
                        bucket, name, generation=number(query, "generation"), conditions=_conditions(call)
                    )
                    return Reply(204)
            case "POST", True if "uploads" in query:
                return await self._begin_parts(call, bucket, name)
            case "POST", True if "uploadId" in query:
                return await self._complete_parts(call, bucket, name)
            case "POST", True if call.header(b"x-goog-resumable") == "start":
                return await self._begin(call, bucket, name)
            case "POST", False:
                return await self._form(call, bucket)
            case _:
                raise StorageError(501, f"{call.method} on this path is not emulated.")

    def _faulty(self, method: str, bucket: str, name: str) -> Around:
        return self._storage.context.faults.around(method, f"{bucket}/{name}")

    # Whole objects

    async def _get(self, call: Call, bucket: str, name: str) -> Reply:
        async with self._faulty("storage.objects.get", bucket, name):
            item = read(self._storage, call, bucket, name, _conditions(call))
            encryption.check(item, encryption.key_of(call))
            wanted, encoding = call.header(b"range"), call.header(b"accept-encoding")
            only_headers = call.method == "HEAD"
            reply = downloads.media(self._storage, item, wanted, encoding, only_headers=only_headers)
        given = {b"etag": _etag(item).encode()}
        for parameter, header in (
            ("response-content-type", b"content-type"),
            ("response-content-disposition", b"content-disposition"),
        ):
            if parameter in call.query and reply.status in (200, 206):
                value = resources.object_fields({"contentType": call.query[parameter]})["contentType"]
                given[header] = value.encode()
        reply.headers = [(key, value) for key, value in reply.headers if key not in given] + list(given.items())
        return reply

    async def _put(self, call: Call, bucket: str, name: str) -> Reply:
        if call.header(b"x-goog-copy-source") is not None:
            raise StorageError(501, "x-goog-copy-source is not emulated.")
        with self._storage.new_writer() as writer:
            async for chunk in call.chunks():
                writer.write(chunk)
            _check_length(call, writer.size)
            async with self._faulty("storage.objects.insert", bucket, name):
                item = self._storage.insert(_target(call, bucket, name), writer.finish())
        return Reply(200, _stored(item))

    async def _form(self, call: Call, bucket: str) -> Reply:
        with self._storage.new_writer() as writer:
            form = forms.Form(writer)
            await form.receive(call)
            forms.check(form.fields, bucket, writer.size, self._signers)
            name = form.fields.get("key", "").replace("${filename}", form.filename)
            target = _form_target(form, bucket, name)
            async with self._faulty("storage.objects.insert", bucket, name):
                item = self._storage.insert(target, writer.finish())
        location = f"{call.base}/{bucket}/{quote(name, safe='/~')}"
        redirect = form.fields.get("success_action_redirect")
        if redirect is not None:
            told = urlencode({"bucket": bucket, "key": name, "etag": _etag(item)})
            where = quote(redirect, safe=":/?#[]@!$&'()*+,;=%~") + ("&" if "?" in redirect else "?") + told
            return Reply(303, [(b"location", where.encode())])
        headers = [*_stored(item), (b"location", location.encode())]
        status = form.fields.get("success_action_status")
        if status != "201":
            return Reply(200 if status == "200" else 204, headers)
        body = _element("PostResponse", {"Location": location, "Bucket": bucket, "Key": name, "ETag": _etag(item)})
        return Reply(201, [*headers, (b"content-type", _XML)], body)

    # Resumable uploads

    async def _begin(self, call: Call, bucket: str, name: str) -> Reply:
        async for _ in call.chunks():
            raise invalid("The request that begins a resumable upload has no body.")
        target = _target(call, bucket, name)
        self._storage.check_insert(target)
        session = self._storage.uploads.begin(target, None)
        path = call.raw_path.decode("ascii", "replace")
        location = f"{call.base}{path}?upload_id={session.id}"
        return Reply(201, [(b"location", location.encode()), (b"x-guploader-uploadid", session.id.encode())])

    async def _resume(self, call: Call) -> Reply:
        reply = await self._uploading.resume(call, self._storage.uploads.get(call.query["upload_id"]))
        return Reply(200) if reply.status == 200 else reply

    # Uploads in parts

    async def _begin_parts(self, call: Call, bucket: str, name: str) -> Reply:
        await call.drain()
        target = _target(call, bucket, name)
        self._storage.check_insert(target)
        async with self._faulty("storage.multipartUploads.create", bucket, name):
            upload = self._storage.parts.begin(target)
            members = {"Bucket": bucket, "Key": name, "UploadId": upload.id}
            return Reply(200, [(b"content-type", _XML)], _element("InitiateMultipartUploadResult", members))

    async def _put_part(self, call: Call, bucket: str, name: str) -> Reply:
        upload = self._storage.parts.get(bucket, name, call.query["uploadId"])
        place = number(call.query, "partNumber") or 0
        if not 1 <= place <= MAX_PARTS:
            raise invalid(f"Part number must be an integer between 1 and {MAX_PARTS}, not {place}.")
        with self._storage.new_writer() as writer:
            async for chunk in call.chunks():
                writer.write(chunk)
            async with self._faulty("storage.multipartUploads.uploadPart", bucket, name):
                payload = writer.finish()
                try:
                    payload.verify(body_hashes(call))
                except StorageError:
                    payload.discard()
                    raise
                part = self._storage.parts.add(upload, place, payload)
        hashes = f"crc32c={payload.crc32c},md5={payload.md5}"
        return Reply(200, [(b"etag", f'"{part.etag}"'.encode()), (b"x-goog-hash", hashes.encode())])

    async def _complete_parts(self, call: Call, bucket: str, name: str) -> Reply:
        wanted = _parts(await call.body(MAX_COMPLETE_BYTES))
        async with self._faulty("storage.multipartUploads.complete", bucket, name):
            upload = self._storage.parts.get(bucket, name, call.query["uploadId"])
            target = msgspec.structs.replace(upload.target, conditions=_conditions(call))
            self._storage.check_insert(target)
            payload = await self._storage.parts.join(upload, wanted, self._storage.new_writer())
            try:
                self._storage.parts.get(bucket, name, upload.id)  # still there after the joining
            except StorageError:
                payload.discard()
                raise
            item = self._storage.insert(target, payload, rows=self._storage.parts.ending(upload))
            self._storage.parts.end(upload)
        location = f"{call.base}/{bucket}/{quote(name, safe='/~')}"
        members = {"Location": location, "Bucket": bucket, "Key": name, "ETag": _etag(item)}
        return Reply(200, [*_stored(item), (b"content-type", _XML)], _element("CompleteMultipartUploadResult", members))


def error_reply(error: StorageError) -> Reply:
    """An error as XML."""
    if error.status == 304:
        return Reply(304)
    return Reply(error.status, [(b"content-type", _XML)], error.xml())


def _split(raw: bytes) -> tuple[str, str]:
    """Bucket and object of a path. Raises StorageError 400."""
    bucket, _, name = raw.lstrip(b"/").partition(b"/")
    try:
        return unquote_to_bytes(bucket).decode(), unquote_to_bytes(name).decode()
    except UnicodeDecodeError as error:
        raise invalid("Invalid URL: a name in it is not valid UTF-8.") from error


def _conditions(call: Call) -> Preconditions:
    def condition(name: str) -> int | None:
        value = call.header(f"x-goog-if-{name}".encode())
        return None if value is None else number({name: value}, name)

    return Preconditions(
        generation_match=condition("generation-match"),
        metageneration_match=condition("metageneration-match"),
    )


def _target(call: Call, bucket: str, name: str) -> Target:
    headers = {key.decode("latin-1"): value.decode("utf-8", "replace") for key, value in call.headers.items()}
    target = _described(headers.get, headers, bucket, name, _conditions(call), body_hashes(call))
    return msgspec.structs.replace(target, key_sha256=encryption.key_of(call))


def _form_target(form: forms.Form, bucket: str, name: str) -> Target:
    def field(key: str) -> str | None:
        return form.fields.get(key) or (form.content_type if key == "content-type" else None)

    return _described(field, form.fields, bucket, name, Preconditions(), {})


def _described(
    value: Callable[[str], str | None],
    names: dict[str, str],
    bucket: str,
    name: str,
    conditions: Preconditions,
    checksums: dict[str, str],
) -> Target:
    """Where an object goes, and as what, by headers or by the fields of a form."""
    resource: dict[str, object] = {
        field: text for header, field in _FIELD_HEADERS.items() if (text := value(header)) is not None
    }
    metadata = {key.removeprefix(_META): text for key, text in names.items() if key.startswith(_META)}
    if metadata:
        resource["metadata"] = metadata
    return Target(
        bucket=bucket,
        name=name,
        fields=resources.object_fields(resource),
        storage_class=resources.storage_class_of({"storageClass": value("x-goog-storage-class")}),
        conditions=conditions,
        checksums=checksums,
    )


def _check_length(call: Call, size: int) -> None:
    """The header `x-goog-content-length-range: 0,1024`. Raises StorageError 400."""
    text = call.header(b"x-goog-content-length-range")
    if text is None:
        return
    bounds = text.split(",")
    limits = [number({"bound": bound.strip()}, "bound") for bound in bounds]
    if len(limits) != 2:
        raise invalid(f"Invalid value for x-goog-content-length-range: {text[:40]!r}, expected for example 0,1024.")
    least, most = limits
    if size > (most or 0) or size < (least or 0):
        code = "EntityTooLarge" if size > (most or 0) else "EntityTooSmall"
        raise StorageError(400, f"The upload has {size} bytes, outside of the range {text[:40]}.", xml_code=code)


def _parts(body: bytes) -> list[tuple[int, str]]:
    """Number and etag of each part in a `CompleteMultipartUpload`. Raises StorageError 400."""
    malformed = StorageError(
        400,
        "The XML you provided was not well-formed or did not validate against our published schema.",
        xml_code="MalformedCompleteMultipartUploadRequest",
    )
    if b"<!" in body:  # no entities, which may grow beyond all bounds
        raise malformed
    try:
        parser = XMLParser()  # noqa: S314  # no document type, so no entities
        parser.feed(body)
        root = parser.close()
        return [
            (int(part.findtext("{*}PartNumber", "")), part.findtext("{*}ETag", "")) for part in root.iterfind("{*}Part")
        ]
    except (ParseError, ValueError) as error:
        raise malformed from error


def _element(name: str, members: dict[str, str]) -> bytes:
    root = Element(name, xmlns=_NAMESPACE)
    for member, text in members.items():
        SubElement(root, member).text = text
    encoded: bytes = tostring(root, encoding="UTF-8", xml_declaration=True)
    return encoded


def _etag(item: StoredObject) -> str:
    """As the XML API has it: the MD5 in hexadecimal where there is one."""
    return f'"{base64.b64decode(item.md5).hex()}"' if item.md5 else f'"-{item.etag}"'


def _stored(item: StoredObject) -> Headers:
    hashes = f"crc32c={item.crc32c}" + (f",md5={item.md5}" if item.md5 else "")
    return [
        (b"etag", _etag(item).encode()),
        (b"x-goog-generation", b"%d" % item.generation),
        (b"x-goog-metageneration", b"%d" % item.metageneration),
        (b"x-goog-hash", hashes.encode()),
        (b"x-goog-stored-content-length", b"%d" % item.size),
        (b"x-goog-stored-content-encoding", item.fields.get("contentEncoding", "identity").encode()),
    ]
