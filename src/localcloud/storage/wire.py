"""How does a request reach the handlers, and their reply the client?

Plain ASGI without a request object: names come from the raw path, since a decoded one no longer says which slashes were
part of a name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from starlette.types import Receive, Scope, Send

from localcloud.faults import ConnectionLost, Injected
from localcloud.storage.errors import StorageError, invalid, printable

MAX_JSON_BYTES = 2**20
JSON = b"application/json; charset=UTF-8"
log = logging.getLogger(__name__)
Headers = list[tuple[bytes, bytes]]


class Disconnected(Exception):
    """The client went away before its request was complete."""


class Call(msgspec.Struct):
    """One request. `service` is the first part of the path, `path` the rest, its segments decoded."""

    method: str
    service: str
    path: tuple[str, ...]
    query: dict[str, str]
    headers: MutableMapping[bytes, bytes]
    receive: Receive
    raw_path: bytes = b""
    raw_query: bytes = b""
    resource: dict[str, Any] = {}  # the JSON body, once it has been read

    def header(self, name: bytes) -> str | None:
        """A request header, by its name in lower case."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def values(self, name: str) -> list[str]:
        """All values of a parameter that may be repeated."""
        return [value for key, value in parse_qsl(self.raw_query.decode("ascii")) if key == name]

    @property
    def base(self) -> str:
        """The address the client used."""
        return f"http://{self.header(b'host') or 'localhost'}"

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises Disconnected."""
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            more = message.get("more_body", False)
            if body := message.get("body", b""):
                yield body

    async def body(self, limit: int = MAX_JSON_BYTES) -> bytes:
        """The whole body. Raises StorageError 413."""
        parts, size = [], 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise StorageError(413, f"The request is larger than {limit} bytes.")
            parts.append(chunk)
        return b"".join(parts)

    async def drain(self) -> None:
        """Read the body and forget it."""
        async for _ in self.chunks():
            pass

    async def json(self) -> dict[str, Any]:
        """The body as a JSON object, {} if there is none. Raises StorageError 400, 413."""
        return json_object(await self.body())


class Reply(msgspec.Struct):
    """A response; a body too large for memory is an iterator."""

    status: int = 200
    headers: Headers = []
    body: bytes | Iterator[bytes] = b""


Handler = Callable[[Call], Awaitable[Reply]]
Answer = Callable[
    ..., Any
]  # (storage, call, *names in the path): the answer's JSON, or a Reply; or an awaitable of one


class Method(msgspec.Struct, frozen=True):
    """One method of the API: `name` as in its discovery document, `path` with "" for each name that a caller gives.

    `target` says what the method is about, as faults name resources.
    """

    name: str
    verb: str
    path: tuple[str, ...]
    answer: Answer
    target: Callable[[Call, list[str]], str]

    @property
    def has_body(self) -> bool:
        """Whether requests carry JSON."""
        return self.verb in ("POST", "PUT", "PATCH")

    def match(self, path: tuple[str, ...]) -> list[str] | None:
        """The names in a path of this length, None if it is another method's."""
        names = []
        for wanted, part in zip(self.path, path, strict=True):
            if not wanted:
                names.append(part)
            elif wanted != part:
                return None
        return names


def method(
    name: str, verb: str, path: str, answer: Answer, target: Callable[[Call, list[str]], str] | None = None
) -> Method:
    """A row of the table; `path` as in the discovery document, `b/{bucket}/o`.

    Unless `target` says otherwise, a method is about the bucket, or the object, that its path begins with.
    """
    parts = tuple("" if part.startswith("{") else part for part in path.split("/"))
    depth = 2 if parts[2:4] == ("o", "") else 1
    return Method(f"storage.{name}", verb, parts, answer, target or (lambda call, names: "/".join(names[:depth])))


def json_object(data: bytes) -> dict[str, Any]:
    """Raises StorageError 400."""
    if not data.strip():
        return {}
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StorageError(400, f"Parse Error: {error}", reason="parseError") from error


def json_reply(value: object, status: int = 200) -> Reply:
    """A value as JSON."""
    return Reply(status, [(b"content-type", JSON)], msgspec.json.encode(value))


def error_reply(error: StorageError) -> Reply:
    """An error as JSON."""
    if error.status == 304:
        return Reply(304)
    return Reply(error.status, [(b"content-type", JSON)], error.body())


def split_path(raw: bytes) -> tuple[str, tuple[str, ...]]:
    """Service and segments: `/upload/storage/v1/b/x/o` is ("upload", ("b", "x", "o")). Raises StorageError 400."""
    first, _, rest = raw.lstrip(b"/").removeprefix(b"resumable/").partition(b"/")
    if first != b"storage":
        rest = rest.partition(b"/")[2]
    segments = rest.partition(b"/")[2].split(b"/")
    try:
        return first.decode(), tuple(unquote_to_bytes(segment).decode() for segment in segments)
    except UnicodeDecodeError as error:
        raise invalid("Invalid URL: a name in it is not valid UTF-8.") from error


def split_query(raw: bytes) -> dict[str, str]:
    """Parameters of a query string, the last of each name. Raises StorageError 400."""
    if not raw:
        return {}
    try:
        return dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict"))
    except ValueError as error:
        raise invalid("Invalid query string: it is not valid UTF-8.") from error


async def serve(
    handler: Handler, scope: Scope, receive: Receive, send: Send, refuse: Callable[[StorageError], Reply]
) -> None:
    """Answer one HTTP request; errors in the form of `refuse`."""
    try:
        raw_path, raw_query = scope["raw_path"], scope["query_string"]
        service, path = split_path(raw_path)
        query = split_query(raw_query)
        headers = dict(scope["headers"])
        reply = await handler(Call(scope["method"], service, path, query, headers, receive, raw_path, raw_query))
    except StorageError as error:
        reply = refuse(error)
    except Injected as fault:
        reply = refuse(injected(fault))
    except ConnectionLost:
        raise
    except Disconnected:
        return
    except Exception:  # a bug of ours: the caller gets an error, the log the trace
        log.exception("unhandled error: %s %s", scope["method"], printable(scope["path"]))
        reply = refuse(StorageError(500, "Internal error; the log of the local cloud has the details."))
    await _respond(reply, send)


def injected(fault: Injected) -> StorageError:
    """The error that was ordered."""
    return StorageError(fault.http_status, str(fault))


async def _respond(reply: Reply, send: Send) -> None:
    body = reply.body
    if isinstance(body, bytes):
        if reply.status not in (204, 304):
            reply.headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
    for block in body:
        await send({"type": "http.response.body", "body": block, "more_body": True})
        await asyncio.sleep(0)  # `send` returns at once while the client keeps up: let others have a turn
    await send({"type": "http.response.body", "body": b""})
