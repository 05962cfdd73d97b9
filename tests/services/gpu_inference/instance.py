"""A service that runs: models and shards in local storage, the application on a real socket."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import uvicorn

from services.gpu_inference.app import create_app
from services.gpu_inference.settings import Settings
from zeroidle.contracts import codec
from zeroidle.contracts.models import INDEX, ModelIndex, describe
from zeroidle.contracts.services import InferRequest, ModelRef, ObjectRef
from zeroidle.ports import Objects


def add_model(
    objects: Objects, bucket: str, directory: Path, name: str = "classifier", version: str = "1"
) -> ModelIndex:
    """A model in the bucket, as `zeroidle models add` puts it there: the index last."""
    index = describe(directory, name=name, version=version)
    for file in index.files:
        objects.write(ObjectRef(bucket=bucket, name=f"{name}/{version}/{file}"), directory / file)
    objects.write(ObjectRef(bucket=bucket, name=f"{name}/{version}/{INDEX}"), codec.encode(index))
    return index


def shard_bytes(texts: list[str]) -> bytes:
    """A shard as preprocess writes it."""
    table = pa.table(
        {
            "row": pa.array(range(len(texts)), pa.int64()),
            "id": pa.array([f"id-{i}" for i in range(len(texts))], pa.string()),
            "line": pa.array(range(1, len(texts) + 1), pa.int64()),
            "text": pa.array(texts, pa.string()),
            "label": pa.array([None] * len(texts), pa.string()),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def infer_request(
    bucket: str, *, model: str = "classifier", version: str | None = None, shard: str = "s"
) -> InferRequest:
    """For the shard `<shard>.arrow` in `bucket`; predictions beside it."""
    return InferRequest(
        job_id="job-1",
        attempt=1,
        shard=ObjectRef(bucket=bucket, name=f"{shard}.arrow"),
        predictions=ObjectRef(bucket=bucket, name=f"{shard}-predictions.arrow"),
        model=ModelRef(name=model, version=version),
    )


def read_predictions(objects: Objects, request: InferRequest) -> pa.Table:
    """What was written for a request."""
    return pa.ipc.open_file(objects.read(request.predictions)[0]).read_all()


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    """Return as soon as it holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        threading.Event().wait(0.005)


class Instance:
    """The service in a thread, on a port of its own."""

    def __init__(self, objects: Objects, bucket: str, **settings: Any) -> None:
        options = {"model_bucket": bucket, "default_model": "classifier", "device": "cpu", "cpu_limit": 2, **settings}
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.app = create_app(Settings(**options), objects)
        self._server = uvicorn.Server(uvicorn.Config(self.app, log_level="warning", timeout_graceful_shutdown=5))
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Return when /health/ready says so."""
        wait_until(lambda: self.get("/health/ready")[0] == 200)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        connection = self.connect()
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()

    def post(self, path: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        """Status, decoded body and headers."""
        connection = self.connect()
        connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body))
        response = connection.getresponse()
        return response.status, json.loads(response.read()), {k.lower(): v for k, v in response.getheaders()}

    def connect(self) -> HTTPConnection:
        """A connection, for callers that hang up."""
        parts = urlsplit(self.url)
        return HTTPConnection(parts.hostname or "", parts.port, timeout=30)

    def metric(self, name: str) -> float:
        """The value of a line of /metrics that begins with `name`; 0 where there is none."""
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(name):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def stop(self) -> None:
        """As on SIGTERM."""
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()
