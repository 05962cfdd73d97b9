"""The service as it is deployed: a process of its own, called over HTTP, with the real storage client."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.services.local_storage import LocalStorage
from tests.services.preprocess.pipeline import Pipeline
from zeroidle.contracts import codec
from zeroidle.http import READY_PATH

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def service(local_storage: LocalStorage) -> Iterator[str]:
    """The URL of a running service."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {**os.environ, "PORT": str(port), "STORAGE_EMULATOR_HOST": local_storage.url}
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-m", "services.preprocess.app"], cwd=ROOT, env=environ)
    try:
        _wait_until_ready(url, process)
        yield url
    finally:
        process.terminate()
        assert process.wait(20) is not None


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the service ended"
        try:
            urllib.request.urlopen(url + READY_PATH, timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the service never became ready")


def post(url: str, body: bytes) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(url + "/v1/preprocess", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, msgspec.json.decode(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, msgspec.json.decode(error.read())


def test_a_file_becomes_shards(service: str, pipeline: Pipeline) -> None:
    request = pipeline.request(pipeline.upload("a.jsonl", b'{"text": "a"}\n{"text": "b"}\nbad\n'))

    status, answer = post(service, codec.encode(request))

    assert status == 200
    assert (answer["records"], answer["rejected"], answer["shards"], answer["format"]) == (2, 1, 1, "jsonl")
    assert [record["text"] for record in pipeline.records()] == ["a", "b"]


def test_a_file_that_can_never_work_is_answered_with_the_reason(service: str, pipeline: Pipeline) -> None:
    status, answer = post(service, codec.encode(pipeline.request(pipeline.upload("a.txt", b"%PDF-1.7"))))

    assert status == 422
    assert answer["error"]["code"] == "WRONG_TYPE"
    assert answer["error"]["hint"]


def test_a_request_that_breaks_the_contract_is_refused(service: str) -> None:
    status, answer = post(service, b'{"job_id": "j", "attempt": 0}')

    assert status == 422
    assert answer["error"]["code"] == "INVALID_MESSAGE"
    assert "attempt" in answer["error"]["message"]


def test_a_picture_is_read_by_the_service(service: str, pipeline: Pipeline) -> None:
    sign = (ROOT / "examples" / "sign.png").read_bytes()

    status, answer = post(service, codec.encode(pipeline.request(pipeline.upload("sign.png", sign))))

    assert (status, answer.get("format")) == (200, "image"), answer
