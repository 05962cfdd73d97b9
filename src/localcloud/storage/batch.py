"""What does a batch answer: up to a hundred metadata calls in one request, each with a status of its own?

https://cloud.google.com/storage/docs/batch
"""

from __future__ import annotations

import secrets
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.types import Message

from localcloud.faults import Injected
from localcloud.storage.errors import StorageError, invalid
from localcloud.storage.multipart import batch_parts
from localcloud.storage.wire import Call, Handler, Reply, error_reply, injected, split_path, split_query

MAX_CALLS = 100
MAX_BATCH_BYTES = 10 * 2**20
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


async def run_batch(call: Call, handle: Handler) -> Reply:
    """Answer every call of the batch by `handle`, in order. Raises StorageError 400, 413."""
    parts = batch_parts(call, await call.body(MAX_BATCH_BYTES))
    if not 1 <= len(parts) <= MAX_CALLS:
        raise invalid(f"The batch has {len(parts)} calls, expected 1 to {MAX_CALLS}.")
    boundary = f"batch_{secrets.token_hex(12)}"
    body = bytearray()
    for content_id, request in parts:
        reply = await _answer(request, handle)
        body += f"--{boundary}\r\nContent-Type: application/http\r\n".encode()
        if content_id:
            body += b"Content-ID: " + _response_id(content_id).encode("ascii", "replace") + b"\r\n"
        body += b"\r\n" + _http_response(reply) + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return Reply(200, [(b"content-type", f"multipart/mixed; boundary={boundary}".encode())], bytes(body))


async def _answer(request: bytes, handle: Handler) -> Reply:
    try:
        call = _parse(request)
        if call.service != "storage" or call.query.get("alt") == "media":
            raise invalid("A batch cannot carry uploads, downloads or batches.")
        return await handle(call)
    except StorageError as error:
        return error_reply(error)
    except Injected as fault:
        return error_reply(injected(fault))


def _parse(request: bytes) -> Call:
    """An HTTP request as text; its lines may end with or without a carriage return. Raises StorageError 400."""
    head, _, body = request.replace(b"\r\n", b"\n").partition(b"\n\n")
    first, *lines = head.split(b"\n")
    words = first.split(b" ")
    if len(words) != 3:
        raise invalid(f"A call of the batch begins with {first[:60]!r}, expected method, URL and HTTP version.")
    try:
        url = urlsplit(words[1])
    except ValueError as error:
        raise invalid(f"A call of the batch has the URL {words[1][:60]!r}: {error}.") from error
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    service, path = split_path(url.path)
    query = split_query(url.query)
    return Call(words[0].decode("latin-1"), service, path, query, headers, receive, url.path, url.query)


def _response_id(content_id: str) -> str:
    return f"<response-{content_id.strip('<>')}>"


def _http_response(reply: Reply) -> bytes:
    assert isinstance(reply.body, bytes)  # noqa: S101  # downloads, the only streams, are refused above
    status_line = f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, 'Unknown')}\r\n"
    head = status_line.encode() + b"Content-Length: %d\r\n" % len(reply.body)
    for name, value in reply.headers:
        head += name.title() + b": " + value + b"\r\n"
    return head + b"\r\n" + reply.body
