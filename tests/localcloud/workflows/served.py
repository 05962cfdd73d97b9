"""A Workflows service behind both wires."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc
import uvicorn
from google.cloud.workflows import executions_v1

from localcloud import gateway
from localcloud.interruptions import Interceptor, interruptible
from localcloud.workflows import api
from tests.localcloud.workflows.workflows_cloud import Cloud, running_cloud

SLEEPER = """
main:
  params: [args]
  steps:
    - nap:
        call: sys.sleep
        args: {seconds: 100}
    - out:
        return: ${args}
"""


@dataclass
class Served:
    """A cloud behind both wires."""

    cloud: Cloud
    client: executions_v1.ExecutionsAsyncClient
    http: aiohttp.ClientSession
    channel: Any
    url: str
    grpc_address: str

    async def rest(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.http.request(method, f"{self.url}/v1/{path}", **options) as response:
            return response.status, await response.json()


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with running_cloud(http_url=url) as cloud, aiohttp.ClientSession() as session:
        app = gateway.application(interruptible(cloud.context.faults, "workflows", api.routes(cloud.workflows)))
        rest = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
        serving = asyncio.create_task(rest.serve([listener]))
        server = grpc.aio.server(interceptors=[Interceptor(cloud.context.faults)])
        server.add_generic_rpc_handlers(tuple(api.grpc_handlers(cloud.workflows)))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            transport = executions_v1.services.executions.transports.ExecutionsGrpcAsyncIOTransport(channel=channel)
            client = executions_v1.ExecutionsAsyncClient(transport=transport)
            yield Served(cloud, client, session, channel, url, f"127.0.0.1:{port}")
        await server.stop(None)
        await cloud.workflows.stop()  # before the server that it may be calling
        rest.should_exit = True
        await serving


def on_wire(scenario: Callable[[Served], Coroutine[Any, Any, None]]) -> None:
    async def scene() -> None:
        async with served() as both:
            await asyncio.wait_for(scenario(both), 30)

    asyncio.run(scene())
