"""A local Pub/Sub behind real servers, for tests: gRPC and HTTP on ephemeral ports, on one uvloop in a thread."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import uvicorn
import uvloop
from google import pubsub_v1 as pubsub_v1_gapic
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.schema_service.transports import SchemaServiceGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from localcloud import gateway
from localcloud.clock import Clock
from localcloud.context import Context
from localcloud.eventarc import api as eventarc_api
from localcloud.eventarc.state import Eventarc
from localcloud.faults import Faults
from localcloud.identity import Identity
from localcloud.interruptions import Interceptor, interruptible
from localcloud.pubsub import api
from localcloud.pubsub.state import PubSub
from localcloud.store import Store

PROJECT, LOCATION = "demo-project", "europe-west4"
START = 1_800_000_000.0
PATIENCE_S = 20.0
T = TypeVar("T")


class Cloud:
    """Pub/Sub and Eventarc on a stopped clock. Services live at `service_base`/run/<name>."""

    def __init__(self, directory: Path | None = None, *, service_base: str = "", start: float = START) -> None:
        self.clock = Clock(start=start, frozen=True)
        self._http_socket = socket.create_server(("127.0.0.1", 0))
        self.http_url = f"http://127.0.0.1:{self._http_socket.getsockname()[1]}"
        self.context = Context(
            project=PROJECT,
            location=LOCATION,
            clock=self.clock,
            store=Store(directory),
            faults=Faults(),
            identity=Identity(self.clock),
            http_url=service_base or self.http_url,
            grpc_address="",
        )
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._end = asyncio.Event()
        self._failure: BaseException | None = None
        self._channels: list[Any] = []  # and REST transports
        self._http: tuple[uvicorn.Server, asyncio.Task[None]] | None = None
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        if self._failure is not None:
            raise self._failure

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` on the cloud's loop, where all state lives."""

        async def run() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE_S)

    def wait_until(self, condition: Callable[[], object], what: str = "the condition") -> None:
        """Wait, in real time, until `condition` holds on the cloud's loop."""
        wait_until(lambda: self.call(condition), what)

    def advance(self, **delta: float) -> None:
        """Move the clock and wake what is due."""
        self.clock.advance(**delta)

    def serve_http(self) -> None:
        """Answer REST at `http_url` too, on the same loop; it costs each test a tenth of a second."""
        if self._http is None:
            self.call(self._start_http)

    def publisher(self) -> pubsub_v1.PublisherClient:
        return pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=self._channel()))

    def unbatched_publisher(self) -> pubsub_v1_gapic.PublisherClient:
        """The generated client, which sends each request as it is."""
        return pubsub_v1_gapic.PublisherClient(transport=PublisherGrpcTransport(channel=self._channel()))

    def subscriber(self) -> pubsub_v1.SubscriberClient:
        return pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=self._channel()))

    def over_rest(self, client: type[T], transport: type[Any]) -> T:
        """A generated client on its REST transport."""
        self.serve_http()
        host = self.http_url.removeprefix("http://")
        rest = transport(host=host, url_scheme="http", credentials=AnonymousCredentials())
        self._channels.append(rest)
        return client(transport=rest)

    def schemas(self) -> pubsub_v1.SchemaServiceClient:
        return pubsub_v1.SchemaServiceClient(transport=SchemaServiceGrpcTransport(channel=self._channel()))

    def close(self) -> None:
        for channel in self._channels:
            channel.close()
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self.context.store.close()
        if self._failure is not None:
            raise self._failure

    def _channel(self) -> grpc.Channel:
        channel = grpc.insecure_channel(self.grpc_address, options=[("grpc.max_receive_message_length", -1)])
        self._channels.append(channel)
        return channel

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001  # raised again in the test's thread
            self._failure = error
        finally:
            self._ready.set()
            self.loop.close()

    async def _serve(self) -> None:
        self.pubsub = PubSub(self.context)
        self.eventarc = Eventarc(self.context, self.pubsub)
        rpc = grpc.aio.server(
            options=[("grpc.max_receive_message_length", api.MAX_REQUEST_BYTES)],
            interceptors=[Interceptor(self.context.faults)],
        )
        rpc.add_generic_rpc_handlers(tuple(api.grpc_handlers(self.pubsub)))
        self.grpc_address = f"127.0.0.1:{rpc.add_insecure_port('127.0.0.1:0')}"
        await rpc.start()
        await self.pubsub.start()
        await self.eventarc.start()
        self._ready.set()
        await self._end.wait()
        await self.eventarc.stop()
        await self.pubsub.stop()
        await rpc.stop(None)
        if self._http is not None:
            server, serving = self._http
            server.should_exit = True
            await serving
        self._http_socket.close()

    def _start_http(self) -> None:
        app = gateway.application(
            [
                *interruptible(self.context.faults, "pubsub", api.routes(self.pubsub)),
                *interruptible(self.context.faults, "eventarc", eventarc_api.routes(self.eventarc)),
            ]
        )
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        self._http = server, asyncio.create_task(server.serve(sockets=[self._http_socket]))


@dataclass
class Received:
    """A request as the receiver got it."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """An HTTP server that answers what a test tells it to, request by request, then 204."""

    answers: list[int | threading.Event] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._hanging: list[threading.Event] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._test = 1
        app = Starlette(routes=[Route("/{test:int}/{path:path}", self._receive, methods=["POST"])])
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where to send; another after each `reset`, so that stragglers of one test do not reach the next."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/{self._test}"

    def wait_for(self, count: int) -> list[Received]:
        """The requests, once there are `count` of them."""
        wait_until(lambda: len(self.requests) >= count, f"{count} requests; there were {len(self.requests)}")
        return self.requests

    def reset(self) -> None:
        """Let go of requests that hang, forget the rest."""
        for event in self._hanging:
            event.set()
        self._test += 1
        self.answers, self.requests, self._hanging = [], [], []

    def close(self) -> None:
        self.reset()
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(PATIENCE_S)

    async def _receive(self, request: Request) -> Response:
        body = await request.body()
        if request.path_params["test"] != self._test:
            return Response(status_code=204)
        answer = self.answers.pop(0) if self.answers else 204
        self.requests.append(Received(f"/{request.path_params['path']}", dict(request.headers), body))
        if isinstance(answer, threading.Event):
            self._hanging.append(answer)
            await asyncio.to_thread(answer.wait, PATIENCE_S)
            answer = 204
        return Response(status_code=answer)


def wait_until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait, in real time, until `condition` holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {PATIENCE_S} s for {what}")
        time.sleep(0.002)


def topic_path(name: str) -> str:
    return f"projects/{PROJECT}/topics/{name}"


def subscription_path(name: str) -> str:
    return f"projects/{PROJECT}/subscriptions/{name}"


def stop(streaming: pubsub_v1.subscriber.futures.StreamingPullFuture) -> None:
    """End a streaming pull."""
    streaming.cancel()
    try:
        streaming.result(PATIENCE_S)
    except (FutureTimeout, exceptions.Cancelled):
        return
