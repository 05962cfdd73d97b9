"""What is in the buckets, folder by folder, and how is an object shown without trusting what is in it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.responses import Response, StreamingResponse

from localcloud.endpoints import HEADERS
from localcloud.storage import downloads, listing
from localcloud.storage.resources import StoredObject
from localcloud.storage.state import Storage

PAGE = 200
PREVIEW_BYTES = 64 * 1024
# What a browser may render of an object. Not SVG, which is a document with scripts.
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
# Opened by itself, it is a document of no origin that may load and run nothing.
SANDBOXED = {**HEADERS, "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'"}


class BucketView(msgspec.Struct):
    """A bucket. `created` is microseconds since the epoch."""

    name: str
    location: str
    storage_class: str
    is_versioned: bool
    created: int
    objects: int


class ObjectView(msgspec.Struct):
    """A live object in a listing. `updated` is microseconds since the epoch."""

    name: str
    size: int
    content_type: str
    updated: int
    generation: str  # a number that JavaScript cannot hold
    metageneration: str


class Folder(msgspec.Struct):
    """One page of what is below a prefix; `next_page` is empty at the end."""

    folders: list[str]
    objects: list[ObjectView]
    next_page: str


class ObjectDetail(msgspec.Struct):
    """An object as the API shows it, and its versions, the latest first."""

    resource: dict[str, Any]
    versions: list[dict[str, Any]]
    is_image: bool


def buckets(storage: Storage) -> list[BucketView]:
    """All buckets by name."""
    return [
        BucketView(
            name=bucket.name,
            location=bucket.location,
            storage_class=bucket.storage_class,
            is_versioned=bucket.versioned,
            created=bucket.created,
            objects=len(storage.index(bucket.name).live),
        )
        for bucket in storage.buckets()
    ]


def folder(storage: Storage, bucket: str, prefix: str, page: str) -> Folder:
    """A page of a folder. Raises StorageError 404, 400."""
    query = listing.Query(prefix=prefix, delimiter="/", max_results=PAGE, page_token=page)
    found = listing.list_page(storage.index(bucket), query)
    return Folder(found.prefixes, [_view(item) for item in found.items], found.next_token)


def detail(storage: Storage, bucket: str, name: str, generation: int | None) -> ObjectDetail:
    """An object, the live version if no generation is given. Raises StorageError 404."""
    item = storage.object(bucket, name, generation)
    versions = storage.index(bucket).versions(name)
    return ObjectDetail(
        resource=storage.resource(item),
        versions=[storage.resource(version) for version in reversed(versions)],
        is_image=_content_type(item) in IMAGES,
    )


def download(storage: Storage, item: StoredObject) -> Response:
    """The object as a file to save."""
    name = item.name.rstrip("/").rpartition("/")[2] or "object"
    headers = {**SANDBOXED, "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
    return StreamingResponse(_content(storage, item), media_type="application/octet-stream", headers=headers)


def preview(storage: Storage, item: StoredObject) -> Response:
    """An image as it is, or the start of anything else as plain text."""
    if _content_type(item) in IMAGES:
        return StreamingResponse(_content(storage, item), media_type=_content_type(item), headers=SANDBOXED)
    start = bytearray()
    for block in _content(storage, item):
        start += block
        if len(start) > PREVIEW_BYTES:
            break
    is_cut = "true" if len(start) > PREVIEW_BYTES else "false"
    return Response(bytes(start[:PREVIEW_BYTES]), media_type="text/plain", headers={**SANDBOXED, "X-Cut": is_cut})


def _content(storage: Storage, item: StoredObject) -> Iterator[bytes]:
    """Its bytes, decompressed where they are stored compressed."""
    content = downloads.media(storage, item, None, None).body
    return iter([content]) if isinstance(content, bytes) else content


def _content_type(item: StoredObject) -> str:
    return str(item.fields.get("contentType", "application/octet-stream")).partition(";")[0].strip().lower()


def _view(item: StoredObject) -> ObjectView:
    return ObjectView(
        name=item.name,
        size=item.size,
        content_type=_content_type(item),
        updated=item.updated,
        generation=str(item.generation),
        metageneration=str(item.metageneration),
    )
