"""How does a push request reach its endpoint, and what is the answer? HTTP/1.1 over connections that are kept.

A push is one POST of which only the status matters. A general client takes longer for that than all the rest of a push
takes together, and sends it some turns of the event loop later.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

import httptools

CONNECT_TIMEOUT_S = 10.0
IDLE_S = 15.0  # a connection is kept, unless the endpoint closes it before
_KEPT_IN_URLS = "/%:=&?~+!$,;'@()*[]"
_FINAL, _PROCESSING = 200, 102  # an answer below the first is followed by another one, which nobody waits for after 102


class NotAnswered(Exception):
    """There is no status; the message says why."""


class Connections:
    """The connections of all pushes, used by one request at a time."""

    def __init__(self) -> None:
        self._idle: dict[_Origin, list[_Connection]] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer, however long it takes.

        Raises:
            NotAnswered: the endpoint gave none.
            OSError: there is no connection.
            ValueError: a header would be more than one line.
        """
        target = _target(url)
        fields = {**target.headers, **headers, "Content-Length": str(len(body))}
        lines = [f"{name}: {value}" for name, value in fields.items()]
        if any(len(line.splitlines()) > 1 for line in lines):
            raise ValueError("a header has a line break")
        head = "\r\n".join((target.start, *lines, "\r\n"))
        request = head.encode() + body
        kept = self._take(target.origin)
        if kept is not None:
            with suppress(NotAnswered):  # the endpoint closed it just as we used it: once more on a fresh one
                return await self._exchange(kept, target.origin, request)
        return await self._exchange(await _connect(target.origin), target.origin, request)

    def close(self) -> None:
        """Let go of the connections that are idle; the others belong to requests."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _exchange(self, connection: _Connection, origin: _Origin, request: bytes) -> int:
        try:
            status = await connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        if connection.reusable:
            self._keep(connection, origin)
        else:
            connection.close()
        return status

    def _take(self, origin: _Origin) -> _Connection | None:
        idle = self._idle.get(origin, [])
        while idle:
            connection = idle.pop()
            if connection.reusable:
                return connection
        return None

    def _keep(self, connection: _Connection, origin: _Origin) -> None:
        now = connection.idle_since = asyncio.get_running_loop().time()
        idle = self._idle.setdefault(origin, [])
        idle.append(connection)
        while idle[0].idle_since < now - IDLE_S or not idle[0].reusable:
            idle.pop(0).close()


class _Origin(NamedTuple):
    host: str
    port: int
    is_tls: bool


class _Target(NamedTuple):
    origin: _Origin
    start: str  # the request line
    headers: Mapping[str, str]


@lru_cache(maxsize=256)
def _target(url: str) -> _Target:
    """Where a request to that URL goes, and how it begins."""
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    host = parts.hostname or ""
    path = quote(parts.path or "/", _KEPT_IN_URLS) + (f"?{quote(parts.query, _KEPT_IN_URLS)}" if parts.query else "")
    headers = {"Host": parts.netloc.rpartition("@")[2].encode("idna").decode()}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    return _Target(_Origin(host, parts.port or (443 if is_tls else 80), is_tls), f"POST {path} HTTP/1.1", headers)


async def _connect(origin: _Origin) -> _Connection:
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context() if origin.is_tls else None
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        _, connection = await loop.create_connection(_Connection, origin.host, origin.port, ssl=context)
    return connection


class _Connection(asyncio.Protocol):
    """One connection. Its parser calls the methods `on_...`."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.reusable = False
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._is_framed = False  # the answer says where it ends

    async def exchange(self, request: bytes) -> int:
        """The status that the endpoint answers. Raises NotAnswered."""
        assert self._transport is not None  # noqa: S101  # connected
        self.reusable = False
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # of a stream

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        if self._status and not self._is_framed:  # the answer ends with its connection
            self._answered(self._status)
        else:
            self._failed(str(exc) if exc else "the connection was closed before the answer")

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nobody asked
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._failed(f"the answer is no HTTP: {error}")
            self.close()

    def on_message_begin(self) -> None:
        self._status, self._is_framed = 0, False

    def on_header(self, name: bytes, _: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._is_framed = True

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        status, self._status = self._status, 0
        if status >= _FINAL or status == _PROCESSING:
            self.reusable = status >= _FINAL and self._answer is not None and self._parser.should_keep_alive()
            self._answered(status)

    def _answered(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)
        self._answer = None

    def _failed(self, reason: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NotAnswered(reason))
        self._answer = None
