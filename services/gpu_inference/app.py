"""The HTTP edge of GPU inference: `python -m services.gpu_inference.app` serves it on `PORT`.

POST /v1/infer      InferRequest -> InferResponse, for the file pipeline
POST /v1/predict    online requests in the Vertex AI contract
GET  /metrics       for Prometheus
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import TypeVar

import anyio
import anyio.to_thread
import torch
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gpu_inference import device as devices
from services.gpu_inference.batching import Device, Overloaded, Turns
from services.gpu_inference.metrics import Metrics
from services.gpu_inference.model import load
from services.gpu_inference.online import THREADS, DeadlineExceeded, Online
from services.gpu_inference.registry import Registry
from services.gpu_inference.settings import Settings
from services.gpu_inference.shards import Shards
from zeroidle import logs
from zeroidle.contracts import codec
from zeroidle.contracts.services import InferRequest, InferResponse, ModelRef
from zeroidle.errors import TemporaryError, ZeroidleError
from zeroidle.gcp.objects import GoogleObjects
from zeroidle.http import application, error_response, read_body, serve
from zeroidle.ports import Objects

T = TypeVar("T")

SHARD_THREADS = 16  # shards in progress at the same time; they share the device batch by batch
RETRY_S = (1.0, 30.0)  # first and longest pause before the default model is tried again
PROBE = "The first answer warms the device up."

log = logging.getLogger(__name__)


class CallerGone(TemporaryError):
    """Nobody waits for the answer any more."""

    code = "CALLER_GONE"


@dataclass(slots=True)
class Service:
    """The parts of one instance."""

    settings: Settings
    registry: Registry
    device: Device
    shards: Shards
    online: Online
    metrics: Metrics
    scratch: tempfile.TemporaryDirectory[str]  # of downloaded models, unless there is a cache
    waiting_for: str = field(default="the default model is not loaded yet")  # empty when ready

    async def infer(self, request: Request) -> Response:
        """POST /v1/infer."""
        message = codec.decode(await read_body(request), InferRequest, what="request")
        gone = Event()
        check = partial(_check, gone, time.monotonic() + self.settings.shard_deadline_s)
        logs.label(job_id=message.job_id, attempt=message.attempt)
        work = partial(anyio.to_thread.run_sync, self._infer, message, check, limiter=self.shards.threads)
        return await _answer(request, work, gone)

    async def predict(self, request: Request) -> Response:
        """POST /v1/predict."""
        body = await read_body(request)
        return await _answer(request, partial(self.online.predict, body))

    async def scrape(self, _: Request) -> Response:
        """GET /metrics."""
        return Response(self.metrics.page(), media_type="text/plain; version=0.0.4")

    async def health(self, _: Request) -> Response:
        """The health route of Vertex AI: 200 when work may come."""
        return JSONResponse({"status": self.waiting_for or "ready"}, 503 if self.waiting_for else 200)

    async def prepare(self) -> None:
        """Load the default model and let it answer once; try again until it does."""
        pause, longest = RETRY_S
        while self.waiting_for:
            try:
                await anyio.to_thread.run_sync(self._answer_once)
                self.waiting_for = ""
                log.info("ready with %s", self.settings.default_model)
            except Exception as error:  # whatever it is, the instance says so and tries again
                known = isinstance(error, ZeroidleError)
                self.waiting_for = f"the default model is not ready: {error}"
                log.warning("%s; trying again in %g s", self.waiting_for, pause, exc_info=None if known else error)
                await anyio.sleep(pause)
                pause = min(longest, pause * 2)

    def _answer_once(self) -> None:
        with self.registry.use(ModelRef.parse(self.settings.default_model)) as model:
            (work,) = self.device.submit("shard", model, [model.decode([PROBE])])
            work.done.result()

    def _infer(self, message: InferRequest, check: Callable[[], None]) -> InferResponse:
        response = self.shards.infer(message, check)
        log.info(
            "%d records of %s by %s on %s in %s: %.3f s",
            response.records, message.shard.name, response.model, response.device, response.dtype, response.elapsed_s,
        )  # fmt: skip
        return response


def create_app(settings: Settings | None = None, objects: Objects | None = None) -> Starlette:
    """The service; without arguments as the environment says."""
    settings = settings or Settings.from_env(os.environ)
    service = assemble(settings, objects or GoogleObjects.connect())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.device.start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.prepare)
            yield
            tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(service.device.stop)
        service.registry.close()
        service.scratch.cleanup()

    predict = {"/v1/predict", *filter(None, [settings.predict_route])}
    routes = [
        Route("/v1/infer", service.infer, methods=["POST"]),
        *(Route(path, service.predict, methods=["POST"]) for path in sorted(predict)),
        Route("/metrics", service.scrape),
    ]
    if settings.health_route:
        routes.append(Route(settings.health_route, service.health))
    app = application(
        routes, is_ready=lambda: not service.waiting_for, waiting_for=lambda: service.waiting_for, lifespan=lifespan
    )
    app.add_middleware(Measured, metrics=service.metrics, paths={"/v1/infer", *predict})
    return app


def assemble(settings: Settings, objects: Objects) -> Service:
    """The parts, wired."""
    runtime = devices.choose(devices.detect(), settings.device, settings.dtype, devices.cores(settings.cpu_limit))
    log.info(
        "computing on %s in %s because %s; %d threads", runtime.device, runtime.dtype, runtime.reason, runtime.threads
    )
    # A batch is spread over the cores in parts, so an operation itself takes one thread; see model.Model.
    os.environ.setdefault("RAYON_NUM_THREADS", str(runtime.threads))  # of tokenizers
    torch.set_num_threads(1 if runtime.device == "cpu" else runtime.threads)
    budget = devices.token_budget(runtime, settings.token_budget)
    metrics = Metrics()
    scratch = tempfile.TemporaryDirectory(prefix="models-")
    registry = Registry(
        objects,
        settings.model_bucket,
        Path(settings.model_cache or scratch.name),
        partial(load, runtime=runtime),
        limit_bytes=settings.memory_limit_mb << 20 or runtime.memory_bytes // 2,
        metrics=metrics,
    )
    turns = Turns(token_budget=budget, max_wait_s=settings.max_wait_ms / 1000, queue_limit=settings.queue_limit)
    device = Device(turns, metrics)
    return Service(
        settings=settings,
        registry=registry,
        device=device,
        shards=Shards(objects, registry, device, metrics, budget, anyio.CapacityLimiter(SHARD_THREADS)),
        online=Online(registry, device, metrics, settings, anyio.CapacityLimiter(THREADS)),
        metrics=metrics,
        scratch=scratch,
    )


class Measured:
    """Counts and times the answers of `paths`."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: set[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        started = time.monotonic()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.observe_request(scope["path"], message["status"], time.monotonic() - started)
            await send(message)

        await self._app(scope, receive, counted)


async def _answer(request: Request, work: Callable[[], Awaitable[object]], gone: Event | None = None) -> Response:
    """What `work` returns, as JSON. When the caller goes away first, `gone` is set and `work` cancelled."""
    try:
        return Response(codec.encode(await _while_wanted(request, work, gone)), media_type="application/json")
    except Overloaded as error:
        return error_response(error, 429, {"Retry-After": str(max(1, round(error.retry_after_s)))})
    except DeadlineExceeded as error:
        return error_response(error, 504)
    except CallerGone as error:
        log.info("dropped: %s", error.message)
        return error_response(error, 503)  # nobody reads it


async def _while_wanted(request: Request, work: Callable[[], Awaitable[T]], gone: Event | None) -> T:
    """What `work` returns or raises; raises CallerGone when the caller went first."""
    # A scope, not a task to cancel: it lets a thread end before what the thread uses is taken away.
    with anyio.CancelScope() as wanted:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            if gone:
                gone.set()
            wanted.cancel()

        watching = asyncio.create_task(watch())
        try:
            return await work()
        finally:
            watching.cancel()
    raise CallerGone("the caller is gone")


def _check(gone: Event, deadline: float) -> None:
    if gone.is_set():
        raise CallerGone("the caller is gone")
    if time.monotonic() > deadline:
        raise DeadlineExceeded("the shard took too long", hint="Make shards smaller, or raise SHARD_DEADLINE_S.")


if __name__ == "__main__":
    serve(create_app, port=os.environ.get("AIP_HTTP_PORT"))
