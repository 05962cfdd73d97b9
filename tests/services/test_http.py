"""What every service does at its edge, on a real socket."""

from __future__ import annotations

import io
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest
import uvicorn

from zeroidle.contracts.codec import Contract
from zeroidle.errors import PermanentError
from zeroidle.http import application, json_route
from zeroidle.logs import JsonFormatter


class Request(Contract, frozen=True, kw_only=True):
    """Some work of a job."""

    job_id: str
    attempt: int = 1


class Service:
    """One route in a thread; what is still running when it stops is given up at once."""

    def __init__(self, work: Callable[[Request], object]) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        config = uvicorn.Config(
            application([json_route("/v1/work", Request, work)]), log_level="critical", timeout_graceful_shutdown=0
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()

    def post(self, body: bytes) -> tuple[int, dict[str, dict[str, str]], str | None]:
        """Status, body and Retry-After."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", "/v1/work", body)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.getheader("Retry-After")

    def stop(self) -> None:
        """As on SIGTERM."""
        self._server.should_exit = True
        self._thread.join(20)


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, object]]]]:
    """What is logged meanwhile, decoded."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.getLogger("zeroidle").addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.getLogger("zeroidle").removeHandler(handler)


def test_a_request_cut_short_by_the_end_of_its_instance_is_worth_another_try() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def work(_: Request) -> None:
        begun.set()
        may_end.wait(30)

    service = Service(work)
    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(service.post, b'{"job_id": "j"}')
        assert begun.wait(20)
        service.stop()
        may_end.set()

        status, body, retry_after = answer.result()

    assert (status, body["error"]["code"], retry_after) == (503, "UNAVAILABLE", "1")


@pytest.mark.parametrize(
    ("error", "status"),
    [pytest.param(PermanentError("no"), 422, id="known"), pytest.param(RuntimeError("oops"), 500, id="unknown")],
)
def test_the_line_about_an_error_carries_the_job(
    error: Exception, status: int, lines: Callable[[], list[dict[str, object]]]
) -> None:
    def work(_: Request) -> None:
        raise error

    service = Service(work)
    answered, _, _ = service.post(b'{"job_id": "u-1", "attempt": 2}')
    service.stop()

    assert answered == status
    labels = {"job_id": "u-1", "attempt": "2"}
    assert [line["logging.googleapis.com/labels"] for line in lines()] == [labels]
