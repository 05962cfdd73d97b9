"""How does an HTTP request reach a service, and its answer the caller? `{http_url}/run/<service>/<path>`.

`{http_url}/run/<tag>---<service>/<path>` leads to the revision that has the tag. An answer whose request waited for an
instance to start says for how long: `Server-Timing: cold-start;dur=<milliseconds>`. Apart from that path, query and
body go on as the bytes they came as, both ways as a stream. A request is never sent twice, unless the first connection
was refused before a byte of it was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from multidict import CIMultiDict
from starlette.routing import BaseRoute, Match
from starlette.types import Message, Receive, Scope, Send

from localcloud.faults import CUT, INVOCATION, ConnectionLost, Fault
from localcloud.identity import InvalidToken
from localcloud.run.errors import (
    Forbidden,
    Injected,
    InstanceFailed,
    RequestTimeout,
    RequestTooLarge,
    RunError,
    Unauthenticated,
)
from localcloud.run.instances import ColdStart, Instance
from localcloud.run.pool import Pool
from localcloud.run.service import Run, Service

if TYPE_CHECKING:  # a tenth of a second at the start, needed once there is somebody to call
    import aiohttp

PREFIX = b"/run"
MAX_REQUEST_BYTES = 32 * 2**20  # HTTP/1: https://cloud.google.com/run/quotas
KILL_AFTER_S = 0.05  # long enough for the instance to have the request in hand
ENDED_WAIT_S = 1.0
_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te")
) | frozenset((b"trailer", b"transfer-encoding", b"upgrade"))

_Acquire = Callable[[], Awaitable[tuple[Pool, Instance]]]

log = logging.getLogger(__name__)


def routes(run: Run) -> list[BaseRoute]:
    """The services themselves. The Admin API is in `admin`, what gcloud asks for in its older form in `knative`."""
    return [_ServiceRoute(Proxy(run))]


class _ServiceRoute(BaseRoute):
    """Matches the path as it was sent: Starlette's own routes see it decoded, where `%2F` has become a slash."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        is_mine = scope["type"] == "http" and scope["raw_path"].startswith(PREFIX + b"/")
        return (Match.FULL if is_mine else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._proxy(scope, receive, send)


class Proxy:
    """An ASGI application that passes requests on to instances."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._clock = run.context.clock
        self._faults = run.context.faults
        self._identity = run.context.identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; when its caller goes away, so does the request to the instance."""
        self._run.in_flight += 1
        request, reply, began = _Request(scope, receive), _Reply(send), self._clock.time()
        work = asyncio.ensure_future(self._answer(request, reply))
        gone = asyncio.ensure_future(request.abandoned())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            work.cancel()
            await asyncio.wait({work})
            self._run.in_flight -= 1
            self._run.context.activity.emit(
                "run", request.service, "request", "%s %s: %d after %.3f s",
                request.method, request.path[:200], reply.status, self._clock.time() - began,
                level="error" if reply.status >= 500 else "info",
            )  # fmt: skip
        if not work.cancelled():
            work.result()

    async def _answer(self, request: _Request, reply: _Reply) -> None:
        try:
            service, tag = self._run.addressed(request.service)
            authorization = self._authorize(service, request)
            await request.begin()
            fault = self._faults.take("run.services.invoke", service.spec.name, INVOCATION)
            if fault is not None and fault.action == "fail":
                raise Injected(fault.http_status)
            if fault is not None and fault.action == "drop":
                raise ConnectionLost
            pool = service.pool(tag)
            limit_s = pool.spec.timeout_s
            work = self._invoke(partial(service.acquire, pool, tag), request, reply, authorization, fault)
            try:
                await self._clock.timeout(work, limit_s)
            except TimeoutError:
                raise RequestTimeout(
                    "upstream request timeout", hint=f"The time limit of the service is {limit_s:g} s."
                ) from None
        except RunError as error:
            if reply.started:  # all that is left is to break the connection
                log.warning("%s: response broken off: %s", request.service, error.message)
            else:
                await reply.error(error)
        except _Gone:
            log.debug("%s: the caller went away", request.service)

    def _authorize(self, service: Service, request: _Request) -> str | None:
        """The `Authorization` header as the service gets to see it. Raises Unauthenticated, Forbidden."""
        header = request.header(b"authorization")
        if service.spec.public:
            return header
        try:
            self._identity.verify(header, service.url)
        except InvalidToken as error:
            if header is None:
                message = (
                    "The request was not authenticated. Either allow unauthenticated invocations or set the proper"
                    " Authorization header."
                )
                raise Forbidden(message, hint=str(error)) from error
            raise Unauthenticated(
                "The access token could not be verified.",
                hint=str(error),
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            ) from error
        # As Cloud Run does, so that a service cannot use its caller's identity.
        return (header or "").rpartition(".")[0] + ".SIGNATURE_REMOVED_BY_GOOGLE"

    async def _invoke(
        self, acquire: _Acquire, request: _Request, reply: _Reply, authorization: str | None, fault: Fault | None
    ) -> None:
        import aiohttp

        if fault is not None and fault.action == "delay":
            await self._clock.sleep(fault.delay_s)
        for is_last in (False, True):
            asked = time.time()
            pool, instance = await acquire()
            reply.note_cold_start(instance.cold_start, asked)
            try:
                await self._exchange(instance, request, reply, authorization, fault)
                return
            except aiohttp.ClientConnectorError as error:  # nothing of the request was sent
                if is_last:
                    raise _lost(instance, error) from error
                with contextlib.suppress(TimeoutError):  # most likely it has just died
                    await asyncio.wait_for(instance.ended.wait(), ENDED_WAIT_S)
            except aiohttp.ClientError as error:
                raise request.failure or _lost(instance, error) from error
            finally:
                pool.release(instance)

    async def _exchange(
        self,
        instance: Instance,
        request: _Request,
        reply: _Reply,
        authorization: str | None,
        fault: Fault | None,
    ) -> None:
        answer = self._send(instance, request, authorization)
        if fault is not None and fault.action == "kill":
            await _kill_with_request(instance, request, answer)
        async with await answer as response:
            if fault is not None and fault.action in ("fail_after", "disconnect"):
                await self._lose_answer(fault, response)
            await reply.start(response.status, response.raw_headers)
            async for chunk in response.content.iter_any():
                await reply.body(chunk)
            await reply.end()

    async def _lose_answer(self, fault: Fault, response: aiohttp.ClientResponse) -> None:
        cut = CUT.get()
        if fault.action == "disconnect" and fault.after_bytes is not None and cut is not None:
            cut.after_bytes = fault.after_bytes  # it goes on, and ends early
            return
        await response.read()
        raise Injected(fault.http_status) if fault.action == "fail_after" else ConnectionLost

    async def _send(self, instance: Instance, request: _Request, authorization: str | None) -> aiohttp.ClientResponse:
        from yarl import URL

        url = URL.build(
            scheme="http",
            host="127.0.0.1",
            port=instance.port,
            path=request.path,
            query_string=request.query,
            encoded=True,
        )
        return await self._run.client.request(
            request.method,
            url,
            headers=request.headers(authorization),
            data=request.data(),
            allow_redirects=False,
        )


async def _kill_with_request(
    instance: Instance, request: _Request, sending: Coroutine[Any, Any, aiohttp.ClientResponse]
) -> NoReturn:
    """Kill the instance once it has the request, before its answer is passed on."""
    answer, sent = asyncio.ensure_future(sending), asyncio.ensure_future(request.sent.wait())
    try:
        await asyncio.wait({answer, sent}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(KILL_AFTER_S)
        instance.kill()
    finally:
        sent.cancel()
        answer.cancel()
        await asyncio.wait({answer})
    if not answer.cancelled() and answer.exception() is None:
        answer.result().close()
    raise _lost(instance, Injected(InstanceFailed.code))


def _lost(instance: Instance, error: Exception) -> InstanceFailed:
    return InstanceFailed(
        "The request failed because either the HTTP response was malformed or connection to the instance had an error.",
        hint=f"Instance {instance.name}: {error}.",
    )


class _Gone(Exception):
    """The caller closed its connection."""


class _Request:
    """What came in, as it goes on."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        below: str = scope["raw_path"].removeprefix(PREFIX + b"/").decode("ascii")  # still percent-encoded
        self.service, _, path = below.partition("/")
        self.path = "/" + path
        self.query: str = scope["query_string"].decode("latin-1")
        self.sent = asyncio.Event()  # the body is with the instance, or on its way there
        self.failure: Exception | None = None  # why the body ended early
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._receive = receive
        self._first: Message = {}
        self._whole = asyncio.Event()  # the body has been read

    async def begin(self) -> None:
        """Read the first part of the body. Raises RequestTooLarge."""
        length = self.header(b"content-length")
        if length is not None and int(length) > MAX_REQUEST_BYTES:
            raise _too_large()
        self._first = await self._next()
        if len(self._first.get("body", b"")) > MAX_REQUEST_BYTES:
            raise _too_large()

    async def abandoned(self) -> None:
        """Return when the caller has gone. Looks only once the body has been read."""
        await self._whole.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def header(self, name: bytes) -> str | None:
        """The first header of this (lower case) name."""
        return next((value.decode("latin-1") for key, value in self._headers if key == name), None)

    def headers(self, authorization: str | None) -> CIMultiDict[str]:
        """All headers that are not of the connection."""
        connection = (self.header(b"connection") or "").lower()
        dropped = {name.strip().encode() for name in connection.split(",")} | _HOP_BY_HOP | {b"expect"}
        headers = CIMultiDict(
            (key.decode("latin-1"), _text(value))
            for key, value in self._headers
            if key not in dropped and key != b"authorization"
        )
        if authorization is not None:
            headers["Authorization"] = authorization
        headers["X-Forwarded-For"] = "127.0.0.1"
        headers["X-Forwarded-Proto"] = "http"
        return headers

    def data(self) -> bytes | AsyncIterator[bytes] | None:
        """The body: whole if it came in one piece, else as a stream."""
        if self._first.get("more_body"):
            return self._stream()
        self.sent.set()
        return self._first.get("body") or None

    async def _stream(self) -> AsyncIterator[bytes]:
        message, size = self._first, 0
        while True:
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > MAX_REQUEST_BYTES:
                self.failure = _too_large()
                raise self.failure
            if chunk:
                yield chunk
            if not message.get("more_body"):
                break
            message = await self._next()
        self.sent.set()

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.failure = _Gone()
            raise self.failure
        if not message.get("more_body"):
            self._whole.set()
        return message


class _Reply:
    """What goes back to the caller."""

    def __init__(self, send: Send) -> None:
        self.started = False
        self.status = 0  # none sent yet
        self._send = send
        self._own: list[tuple[bytes, bytes]] = []  # headers besides those of the instance

    def note_cold_start(self, start: ColdStart, asked: float) -> None:
        """Have the answer say how long the request, which came at `asked`, waited for its instance to start.

        https://www.w3.org/TR/server-timing/
        """
        if start.ready is not None and start.ready >= asked:
            waited_ms = 1000 * (time.time() - asked)
            self._own = [(b"server-timing", b"cold-start;dur=%.1f" % waited_ms)]

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send the head."""
        self.started, self.status = True, status
        dropped = _HOP_BY_HOP | ({b"content-length"} if status in (204, 304) else frozenset())
        kept = [(key, value) for key, value in headers if key.lower() not in dropped]
        await self._send({"type": "http.response.start", "status": status, "headers": [*kept, *self._own]})

    async def body(self, chunk: bytes) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        """The body is complete."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def error(self, error: RunError) -> None:
        """Send an error as the whole answer."""
        body = error.body()
        headers = [
            (b"content-type", b"application/json; charset=UTF-8"),
            (b"content-length", str(len(body)).encode()),
            *((key.encode(), value.encode()) for key, value in error.headers.items()),
        ]
        await self.start(error.code, headers)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


def _too_large() -> RequestTooLarge:
    return RequestTooLarge(
        "Request Entity Too Large",
        hint=f"Cloud Run takes up to {MAX_REQUEST_BYTES} bytes. Send a reference to an object instead.",
    )


def _text(value: bytes) -> str:
    """aiohttp writes headers as UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
