"""Does the engine do what Google's documentation says? One test for each case of `conformance.jsonl`.

`ZEROIDLE_CONFORMANCE` names another file of cases.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from localcloud.workflows.errors import DeploymentError
from localcloud.workflows.state import WorkflowSpec
from tests.localcloud.workflows.workflows_cloud import Cloud, running_cloud

CASES = [
    json.loads(line)
    for line in Path(os.environ.get("ZEROIDLE_CONFORMANCE", Path(__file__).with_name("conformance.jsonl")))
    .read_text()
    .splitlines()
]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_engine_conforms_to_the_documentation(case: dict[str, Any]) -> None:
    asyncio.run(_check(case))


async def _check(case: dict[str, Any]) -> None:
    async with running_cloud() as cloud, _stub(case.get("stub", []), cloud) as url:
        source = case["yaml"].replace("__STUB__", url)
        expected_error = case["expect"].get("error")
        refusal = _refusal(cloud, source)
        if refusal is not None:
            assert expected_error, refusal
            assert expected_error.get("deploy") in (True, "either"), refusal
            assert expected_error["message_contains"] in refusal
            return
        assert not expected_error or expected_error.get("deploy") is not True, "deployed"

        started = cloud.clock.time()
        execution = await cloud.run(source, case["args"])

        assert cloud.clock.time() - started >= case.get("min_seconds", 0)
        if expected_error:
            assert execution.state == "FAILED", execution.result
            assert execution.error is not None
            payload = json.loads(execution.error.payload)
            assert expected_error["message_contains"] in json.dumps(payload, ensure_ascii=False)
            assert set(expected_error["tags"]) <= set(payload["tags"] if expected_error["tags"] else [])
        else:
            assert execution.state == "SUCCEEDED", execution.error
            assert _same(json.loads(execution.result or "null"), case["expect"].get("result"))


def _refusal(cloud: Cloud, source: str) -> str | None:
    try:
        cloud.workflows.deploy(WorkflowSpec("flow", source))
    except DeploymentError as error:
        return str(error)
    return None


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: numbers by value, booleans strictly."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


@asynccontextmanager
async def _stub(routes: list[dict[str, Any]], cloud: Cloud) -> AsyncIterator[str]:
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
