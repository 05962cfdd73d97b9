"""What is the same at the edge of every service: requests in, answers or clear errors out, health, a server.

A service is a Starlette application of `json_route`s; its work runs in threads, so the health routes always answer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zeroidle import logs
from zeroidle.contracts import codec
from zeroidle.contracts.services import ErrorBody, ErrorResponse
from zeroidle.errors import Conflict, PermanentError, TemporaryError, ZeroidleError

MAX_REQUEST_BYTES = 4 * 2**20
# Not /healthz: Google's front end keeps that path for itself. https://cloud.google.com/run/docs/known-issues
LIVE_PATH, READY_PATH = "/health/live", "/health/ready"

log = logging.getLogger(__name__)


def json_route(path: str, kind: type[Any], work: Callable[[Any], Any]) -> Route:
    """POST `path`: decode the body as `kind`, run `work` on it in a thread, answer what it returns as JSON."""

    async def endpoint(request: Request) -> Response:
        body = await read_body(request)
        message = codec.decode(body, kind, what="request")
        logs.label(job_id=getattr(message, "job_id", ""), attempt=getattr(message, "attempt", ""))
        started = time.monotonic()
        result = await anyio.to_thread.run_sync(work, message)
        log.info("%s took %.3f s", path, time.monotonic() - started)
        return Response(codec.encode(result), media_type="application/json")

    return Route(path, endpoint, methods=["POST"])


async def read_body(request: Request, limit: int = MAX_REQUEST_BYTES) -> bytes:
    """The request's body. Raises PermanentError when it is larger than `limit` bytes."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise PermanentError(
                f"the request is larger than {limit} bytes",
                code="REQUEST_TOO_LARGE",
                hint="Send references to objects, or split the request.",
            )
        chunks.append(chunk)
    return b"".join(chunks)


def application(
    routes: Sequence[BaseRoute],
    *,
    is_ready: Callable[[], bool] = lambda: True,
    waiting_for: Callable[[], str] = lambda: "",
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]] | None = None,
) -> Starlette:
    """A service with `routes`, health routes and error answers. `is_ready`: work may come."""

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(_: Request) -> Response:
        if is_ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "starting", "reason": waiting_for()}, 503)

    return Starlette(
        routes=[*routes, Route(LIVE_PATH, live), Route(READY_PATH, ready)],
        middleware=[Middleware(Ending)],
        exception_handlers={ZeroidleError: _known, HTTPException: _http, Exception: _unknown},
        lifespan=lifespan,
    )


class Ending:
    """Answers 503 where the server gives a request up to shut down; its own answer, 500, would never be retried."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        is_answered = False

        async def noted(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:
            if scope["type"] != "http" or is_answered:
                raise
            log.warning("given up at %s: the instance is shutting down", scope["path"])
            await _unavailable(TemporaryError("the instance is shutting down"))(scope, receive, send)


def serve(factory: Callable[[], Starlette], *, port: str | None = None) -> None:
    """Run a service until SIGTERM on `HOST` (loopback unless told) and `port`, else `PORT` (8080)."""
    logs.configure(os.environ.get("LOG_LEVEL", "INFO"))
    uvicorn.run(
        factory(),
        host=os.environ.get("HOST", "127.0.0.1"),
        port=int(port or os.environ.get("PORT", "8080")),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=8,  # Cloud Run kills 10 s after SIGTERM
    )


def error_response(error: ZeroidleError, status: int, headers: dict[str, str] | None = None) -> Response:
    """An error as every caller gets it."""
    body = ErrorResponse(
        error=ErrorBody(code=error.code, message=error.message, hint=error.hint, details=error.details)
    )
    return Response(codec.encode(body), status, headers, media_type="application/json")


async def _known(_: Request, error: Exception) -> Response:
    assert isinstance(error, ZeroidleError)  # noqa: S101  # registered for this type only
    log.warning("%s: %s", error.code, error.message)
    match error:
        case PermanentError():
            return error_response(error, 422)
        case Conflict():
            return error_response(error, 409)
        case TemporaryError():
            return _unavailable(error)
        case _:
            return error_response(error, 500)


def _unavailable(error: TemporaryError) -> Response:
    return error_response(error, 503, {"Retry-After": str(max(1, round(error.retry_after_s)))})


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # as above
    return error_response(ZeroidleError(str(error.detail), code=f"HTTP_{error.status_code}"), error.status_code)


async def _unknown(request: Request, error: Exception) -> Response:
    log.error("unhandled error at %s", request.url.path, exc_info=error)
    return error_response(ZeroidleError("internal error", hint="The service's log has the stack trace."), 500)
