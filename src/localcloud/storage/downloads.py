"""What does a download answer: which bytes, under which headers?

https://cloud.google.com/storage/docs/json_api/v1/objects/get https://cloud.google.com/storage/docs/transcoding
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from email.utils import formatdate
from functools import lru_cache

from localcloud.storage.resources import StoredObject
from localcloud.storage.state import Storage
from localcloud.storage.wire import Headers, Reply

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_GZIP_MAGIC = b"\x1f\x8b"
_INFLATE_BYTES = 256 * 1024


def media(
    storage: Storage,
    item: StoredObject,
    range_header: str | None,
    accept_encoding: str | None,
    *,
    only_headers: bool = False,
) -> Reply:
    """The object's bytes, all or the range asked for; decompressed where the client does not take gzip."""
    headers = _headers(item)
    if _must_decompress(item, accept_encoding):
        if only_headers:
            return Reply(200, headers, iter(()))
        blocks = storage.read(item, 0, item.size)
        headers += [(b"warning", b"214 UploadServer gunzipped"), (b"vary", b"Accept-Encoding")]
        # A range would be one of the compressed bytes: it is ignored, as in the cloud.
        return Reply(200, headers, _gunzipped(iter([blocks]) if isinstance(blocks, bytes) else blocks))
    if encoding := item.fields.get("contentEncoding"):
        headers.append((b"content-encoding", encoding.encode()))
    bounds = _bounds(range_header, item.size)
    if bounds is None:
        if only_headers:
            return Reply(200, [*headers, (b"content-length", b"%d" % item.size)], iter(()))
        return _reply(storage, item, headers, 200, 0, item.size)
    start, end = bounds
    if start >= end:
        headers = [(b"content-range", b"bytes */%d" % item.size), (b"content-type", b"text/html; charset=UTF-8")]
        return Reply(416, headers, b"Requested range not satisfiable")
    headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, item.size)))
    if only_headers:
        return Reply(206, [*headers, (b"content-length", b"%d" % (end - start))], iter(()))
    return _reply(storage, item, headers, 206, start, end)


def _reply(storage: Storage, item: StoredObject, headers: Headers, status: int, start: int, end: int) -> Reply:
    body = storage.read(item, start, end)
    if not isinstance(body, bytes):
        headers.append((b"content-length", b"%d" % (end - start)))
    return Reply(status, headers, body)


def _bounds(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and end (exclusive) of a range; None for the whole, also where the header makes no sense."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _headers(item: StoredObject) -> Headers:
    fields = item.fields
    hashes = f"crc32c={item.crc32c}" + (f",md5={item.md5}" if item.md5 else "")
    headers = [
        (b"content-type", fields.get("contentType", "application/octet-stream").encode()),
        (b"etag", item.etag.encode()),
        (b"last-modified", _http_date(item.updated // 1_000_000)),
        (b"accept-ranges", b"bytes"),
        (b"cache-control", fields.get("cacheControl", "no-cache, no-store, max-age=0, must-revalidate").encode()),
        (b"x-goog-generation", b"%d" % item.generation),
        (b"x-goog-metageneration", b"%d" % item.metageneration),
        (b"x-goog-hash", hashes.encode()),
        # Not of the service, which has origins of its own for this: a browser must not run what is in an object as a
        # page of the address where the console and the admin API are.
        (b"content-security-policy", b"sandbox"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-goog-storage-class", item.storage_class.encode()),
        (b"x-goog-stored-content-length", b"%d" % item.size),
        (b"x-goog-stored-content-encoding", fields.get("contentEncoding", "identity").encode()),
    ]
    for field, header in (
        ("contentDisposition", b"content-disposition"),
        ("contentLanguage", b"content-language"),
    ):
        if field in fields:
            headers.append((header, fields[field].encode()))
    if item.components is not None:
        headers.append((b"x-goog-component-count", b"%d" % item.components))
    return headers


@lru_cache(maxsize=1024)  # many downloads of few objects, or of such as were written together
def _http_date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()


def _must_decompress(item: StoredObject, accept_encoding: str | None) -> bool:
    return (
        item.fields.get("contentEncoding") == "gzip"
        and "gzip" not in (accept_encoding or "")
        and "no-transform" not in item.fields.get("cacheControl", "")
    )


def _gunzipped(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompressed in bounded memory; what only claims to be gzip passes as it is."""
    first = next(blocks, b"")
    if not first.startswith(_GZIP_MAGIC):
        yield first
        yield from blocks
        return
    inflate = zlib.decompressobj(wbits=31)
    block = first
    while True:
        while block:
            yield inflate.decompress(block, _INFLATE_BYTES)
            block = inflate.unconsumed_tail
            if inflate.eof:
                # gzip files may follow each other.
                block, inflate = inflate.unused_data, zlib.decompressobj(wbits=31)
        try:
            block = next(blocks)
        except StopIteration:
            return
