"""What do all methods of the API share? How bodies are read, and the errors, operations and pages they answer with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from localcloud.compute import listing, operations, views
from localcloud.compute.errors import ComputeError
from localcloud.compute.operations import Operation
from localcloud.compute.state import Compute
from localcloud.gateway import read_body

MAX_BODY_BYTES = 2**20

Endpoint = Callable[[Request], Awaitable[dict[str, Any]]]


class Calls:
    """The base of those of one kind of resource, one method a method of the API."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._base = views.base_of(compute)

    def _begin(self, request: Request, scope: str, verb: str, target: str) -> Operation:
        return self._compute.operations.begin(scope, verb, target, request.query_params.get("requestId", ""))

    def _done(self, request: Request, scope: str, verb: str, target: str) -> dict[str, Any]:
        operation = self._begin(request, scope, verb, target)
        self._compute.operations.end(operation)
        return self._shown(operation)

    def _shown(self, operation: Operation) -> dict[str, Any]:
        return operations.shown(operation, self._base)

    def _repeated(self, request: Request) -> dict[str, Any] | None:
        """The answer to a request with an id that was seen before: the same call again does nothing."""
        before = self._compute.operations.requested(request.query_params.get("requestId", ""))
        return None if before is None else self._shown(before)

    def _page(self, request: Request, kind: str, found: list[dict[str, Any]]) -> dict[str, Any]:
        items, token = listing.page(request.query_params, found)
        page: dict[str, Any] = {"kind": kind, "id": request.url.path, "items": items}
        return {**page, "nextPageToken": token} if token else page


def answered(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint with its answers, refusals too, as JSON."""

    async def answer(request: Request) -> Response:
        try:
            return _json(await endpoint(request))
        except ComputeError as refusal:
            return _json(refusal.body(), refusal.status)

    return answer


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object in a request. Raises ComputeError 400."""
    try:
        data = await read_body(request, MAX_BODY_BYTES)
        return msgspec.json.decode(data or b"{}", type=dict[str, Any])
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise ComputeError(400, f"Parse Error: {error!s:.300}", "parseError") from error


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json; charset=UTF-8")
