"""How is REST called on the local cloud's HTTP port? Google's emulator answers, as it answers gRPC on its own port."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from localcloud.gateway import MAX_MESSAGE_BYTES, error, read_body
from localcloud.official.bridge import Bridge

COLLECTIONS = ("topics", "subscriptions", "snapshots", "schemas")
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def routes(bridge: Bridge) -> list[BaseRoute]:
    """All of Pub/Sub's paths, forwarded."""

    async def forward(request: Request) -> Response:
        try:
            body = await read_body(request, MAX_MESSAGE_BYTES)
        except ValueError as problem:
            return error(400, str(problem))
        import aiohttp

        url = f"{bridge.url}{request.url.path}"
        # It answers "Not Found" to what doesn't say that it is JSON.
        headers = {"Content-Type": "application/json"}
        try:
            async with bridge.session.request(
                request.method, url, params=request.query_params.multi_items(), data=body or None, headers=headers
            ) as answer:
                return Response(await answer.read(), answer.status, media_type=answer.content_type)
        except (aiohttp.ClientError, OSError) as problem:
            return error(503, f"Google's Pub/Sub emulator does not answer: {problem}")

    paths = [f"/v1/projects/{{project}}/{collection}" for collection in COLLECTIONS]
    return [Route(path, forward, methods=METHODS) for each in paths for path in (each, f"{each}/{{name:path}}")]
