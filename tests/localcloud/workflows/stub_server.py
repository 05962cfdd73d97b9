"""An HTTP server with scripted routes, as the README of the conformance cases describes them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.localcloud.workflows.workflows_cloud import Cloud


@asynccontextmanager
async def stub_server(routes: list[dict[str, Any]], cloud: Cloud) -> AsyncIterator[str]:
    """The server's base URL."""
    if not routes:
        yield "http://127.0.0.1:1"
        return
    sleeping = [0]
    cloud.sleeping_calls = lambda: sleeping[0]
    app = web.Application()
    for route in routes:
        app.router.add_route("*", route["path"], _handler(route, cloud, sleeping))
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def _handler(route: dict[str, Any], cloud: Cloud, sleeping: list[int]) -> Any:
    remaining = list(route.get("responses", []))

    async def handle(request: web.Request) -> web.StreamResponse:
        if route.get("echo"):
            return await _echo(request)
        if route.get("truncate"):
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"only this")
            assert request.transport is not None
            request.transport.close()
            return response
        answer = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        if delay_s := answer.get("delay_s"):
            sleeping[0] += 1
            await cloud.clock.sleep(delay_s)
            sleeping[0] -= 1
        return web.Response(
            status=answer["status"], headers=answer.get("headers", {}), body=answer.get("body", "").encode()
        )

    return handle


async def _echo(request: web.Request) -> web.Response:
    text = await request.text()
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    return web.json_response(
        {
            "method": request.method,
            "path": request.path,
            "query": {name: request.query.getall(name) for name in request.query},
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "text": text,
            "json": content,
        }
    )
