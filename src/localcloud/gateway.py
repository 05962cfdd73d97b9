"""Where does a call enter the local cloud? One HTTP port and one gRPC port, both on the loopback interface only.

The sockets are bound before anything is served, so that every service can be told the addresses. Requests must name a
loopback host: a web page that has its own name point to 127.0.0.1 (DNS rebinding), or that posts here from elsewhere,
is refused.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Sequence

import grpc
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from localcloud import interruptions
from localcloud.faults import Faults
from localcloud.interruptions import Interceptor

HOST = "127.0.0.1"
MAX_MESSAGE_BYTES = 20 * 2**20  # Pub/Sub takes 10 MB, and the client batches
QUICK_SHUTDOWN_S = 1

_LOOPBACK = re.compile(rb"(([-\w]+\.)*localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_STATUS = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 405: "UNIMPLEMENTED"}

log = logging.getLogger(__name__)


class PortInUse(Exception):
    """Another program listens on the port; the message names it."""


class Gateway:
    """Both servers. Make it on the loop that is to run it; the sockets are bound from then on."""

    def __init__(self, http_port: int = 0, grpc_port: int = 0, faults: Faults | None = None) -> None:
        """Port 0 takes any free one; `faults` hit the calls over gRPC.

        Raises:
            PortInUse: a port given is taken.
        """
        self._socket = bind(http_port, "HTTP")
        self.http_port = int(self._socket.getsockname()[1])
        self.http_url = f"http://{HOST}:{self.http_port}"
        self._grpc = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),  # two local clouds must not share a port
            ],
            interceptors=() if faults is None else (Interceptor(faults),),
        )
        try:
            self.grpc_port = int(self._grpc.add_insecure_port(f"{HOST}:{grpc_port}"))
        except RuntimeError as error:
            self._socket.close()
            raise PortInUse(f"gRPC port {grpc_port} is in use by another program; choose another one or 0") from error
        self.grpc_address = f"{HOST}:{self.grpc_port}"
        self._http: _HttpServer | None = None

    async def start(self, routes: Sequence[BaseRoute], grpc_handlers: Sequence[grpc.GenericRpcHandler] = ()) -> None:
        """Serve; returns once both ports answer."""
        self._http = _HttpServer(application(routes))
        await self._http.start(self._socket)
        self._grpc.add_generic_rpc_handlers(tuple(grpc_handlers))
        await self._grpc.start()

    async def stop(self) -> None:
        """Close both ports; what is still being answered gets a second."""
        stopping = asyncio.ensure_future(self._grpc.stop(QUICK_SHUTDOWN_S))
        if self._http is not None:
            await self._http.stop()
        await stopping
        self._socket.close()


def application(routes: Sequence[BaseRoute]) -> ASGIApp:
    """All routes behind the check of the host, with Google's JSON errors for what none of them knows."""
    handlers = {HTTPException: _refused, Exception: _failed, **interruptions.HANDLERS}
    app = Starlette(routes=list(routes), exception_handlers=handlers)
    app.router.redirect_slashes = False  # no Google API answers with a redirect
    return _LoopbackOnly(interruptions.Cuttable(app))


def error(code: int, message: str) -> Response:
    """An error in the form of Google's JSON APIs: https://cloud.google.com/apis/design/errors"""
    body = {"error": {"code": code, "message": message, "status": _STATUS.get(code, "INTERNAL")}}
    return Response(msgspec.json.encode(body), code, media_type="application/json")


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request. Raises ValueError as soon as it is larger than `most` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise ValueError(f"the body is larger than {most} bytes")
    return bytes(body)


class Protocol(HttpToolsProtocol):
    """HTTP, with connections that an application can close."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["extensions"] = {interruptions.CLOSE: self.transport.close}  # type: ignore[dict-item]  # any value may


class _Config(Config):
    """What uvicorn's protocol reads of its configuration, without what loading it imports: uvicorn's command line."""

    def load(self) -> None:
        """Set what a connection reads."""
        self.loaded_app = self.app
        self.encoded_headers = []
        self.ws_protocol_class = None
        self.loaded = True


class _HttpServer:
    """uvicorn's protocol without its server, which looks ten times a second whether it should end."""

    def __init__(self, app: ASGIApp) -> None:
        self._config = _Config(
            app,
            interface="asgi3",
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            # Answers of the instances pass unchanged, with the headers they came with.
            date_header=False,
            timeout_keep_alive=75,
        )
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    async def start(self, bound: socket.socket) -> None:
        """Serve on a socket that is bound."""
        self._config.load()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Protocol(self._config, self._state, {}), sock=bound, backlog=self._config.backlog
        )

    async def stop(self) -> None:
        """Take no more; what is being answered gets a second."""
        if self._server is None:
            return
        self._server.close()
        for connection in tuple(self._state.connections):
            connection.shutdown()  # now, or after the answer under way
        if self._state.tasks:
            _, late = await asyncio.wait(self._state.tasks, timeout=QUICK_SHUTDOWN_S)
            for task in late:
                task.cancel()
        for connection in tuple(self._state.connections):
            connection.transport.close()
        await self._server.wait_closed()


class _LoopbackOnly:
    """Lets requests through that were sent to this machine by a program of this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host, origin = b"", b""
        for key, value in scope.get("headers", ()):
            if key == b"host":
                host = value
            elif key == b"origin":
                origin = value
        if not is_loopback(host):
            await error(403, f"The Host header is {_shown(host)}; this server answers to {HOST} and localhost.")(
                scope, receive, send
            )
        elif origin and not is_loopback(origin.partition(b"://")[2]):
            await error(403, f"Requests from web pages of {_shown(origin)} are refused.")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def is_loopback(authority: bytes) -> bool:
    """Whether `host[:port]` means this machine by a name that nobody else can give it."""
    return _LOOPBACK.fullmatch(authority) is not None


def _shown(value: bytes) -> str:
    return repr(value.decode("latin-1")[:80])


def bind(port: int, service: str) -> socket.socket:
    """A socket that holds the port, or any free one for 0. Raises PortInUse, which names the service."""
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError as failure:
        bound.close()
        raise PortInUse(
            f"{service} port {port} cannot be used ({failure.strerror}); choose another one or 0"
        ) from failure
    return bound


async def _refused(request: Request, exception: Exception) -> Response:
    assert isinstance(exception, HTTPException)  # noqa: S101  # registered for this type only
    where = f"{request.method} {request.url.path}"
    return error(exception.status_code, f"{where[:200]!r}: {exception.detail}.")


async def _failed(request: Request, exception: Exception) -> Response:
    log.error("unhandled error at %s %s", request.method, request.url.path, exc_info=exception)
    return error(500, "Internal error encountered. The log of the local cloud has the details.")
