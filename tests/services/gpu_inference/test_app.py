"""The service as its callers see it: health, online requests, limits, overload, metrics."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.gpu_inference import app
from services.gpu_inference.batching import Device, Work
from services.gpu_inference.model import Encoded, Model, Output
from tests.services.gpu_inference.instance import Instance, add_model, infer_request, shard_bytes, wait_until
from zeroidle.contracts import codec
from zeroidle.gcp.objects import GoogleObjects

TEXTS = ["the film was good", "very " * 300, "", "bad"]


class Brake(threading.Event):
    """While it is cleared, the device waits at the beginning of each batch. Counts the batches that began."""

    batches = 0


@pytest.fixture
def brake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Brake]:
    brake = Brake()
    brake.set()
    original = Model.predict

    def predict(model: Model, batch: Sequence[Encoded]) -> list[Output]:
        brake.batches += 1
        assert brake.wait(20)
        return original(model, batch)

    monkeypatch.setattr(Model, "predict", predict)
    yield brake
    brake.set()


def predict(instance: Instance, *texts: str) -> tuple[int, Any, dict[str, str]]:
    return instance.post("/v1/predict", {"instances": list(texts)})


def test_an_instance_is_alive_before_it_is_ready_and_says_what_it_waits_for(
    start: Callable[..., Instance],
    objects: GoogleObjects,
    bucket: str,
    directory: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "RETRY_S", (0.05, 0.05))
    instance = start(ready=False)

    assert instance.get("/health/live")[0] == 200
    wait_until(lambda: "is not in bucket" in instance.get("/health/ready")[1])
    status, body = instance.get("/health/ready")
    assert (status, json.loads(body)["status"]) == (503, "starting")
    assert "model 'classifier' is not in bucket" in json.loads(body)["reason"]

    add_model(objects, bucket, directory("BertForSequenceClassification"))
    instance.wait_until_ready()


def test_an_instance_is_ready_only_after_its_model_has_answered_once(
    start: Callable[..., Instance], objects: GoogleObjects, bucket: str, directory: Callable[[str], Path], brake: Brake
) -> None:
    add_model(objects, bucket, directory("BertForSequenceClassification"))
    brake.clear()
    instance = start(ready=False)
    wait_until(lambda: instance.metric("inference_models ") == 1)

    assert instance.get("/health/ready")[0] == 503
    brake.set()
    instance.wait_until_ready()
    assert instance.metric('inference_records_total{kind="shard"}') == 1


def test_predictions_come_in_order_with_what_computed_them(start: Callable[..., Instance], classifier: Model) -> None:
    instance = start()

    status, body, _ = instance.post("/v1/predict", {"instances": [TEXTS[0], *({"text": text} for text in TEXTS[1:])]})

    assert status == 200
    expected = classifier.predict(classifier.decode(TEXTS))
    np.testing.assert_allclose([one["scores"] for one in body["predictions"]], expected, atol=1e-6)
    assert all(one["score"] == max(one["scores"]) for one in body["predictions"])
    assert (body["model"], body["deployedModelId"], body["truncated"]) == ("classifier@1", "classifier@1", 1)
    assert body["runtime"]["dtype"] == "float32"
    assert instance.metric("inference_truncated_total") == 1


def test_another_model_can_be_asked_for(
    start: Callable[..., Instance], objects: GoogleObjects, bucket: str, directory: Callable[[str], Path]
) -> None:
    instance = start()
    add_model(objects, bucket, directory("DistilBertForTokenClassification"), "entities", "3")

    status, body, _ = instance.post("/v1/predict", {"instances": ["maria"], "parameters": {"model": "entities@3"}})

    assert (status, body["model"]) == (200, "entities@3")
    assert set(body["predictions"][0]) == {"entities"}


def test_vertex_ai_chooses_the_routes(start: Callable[..., Instance]) -> None:
    instance = start(predict_route="/v1/endpoints/7:predict", health_route="/health", deployed_model_id="42")

    status, body, _ = instance.post("/v1/endpoints/7:predict", {"instances": ["good"]})

    assert (status, body["deployedModelId"]) == (200, "42")
    assert instance.get("/health")[0] == 200


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        pytest.param(b"{", "INVALID_MESSAGE", "not JSON", id="not JSON"),
        pytest.param({}, "INVALID_MESSAGE", "instances", id="no instances"),
        pytest.param({"instances": [7]}, "INVALID_MESSAGE", "instances[0]", id="a number"),
        pytest.param({"instances": [{"txt": "a"}]}, "INVALID_MESSAGE", "instances[0]", id="wrong field"),
        pytest.param({"instances": ["a"] * 9}, "TOO_MANY_INSTANCES", "9 are more than 8", id="too many"),
        pytest.param({"instances": ["a", "b" * 501]}, "TEXT_TOO_LONG", "instances[1]: 501 characters", id="too long"),
        pytest.param(
            {"instances": ["a"], "parameters": {"model": "no@1"}}, "MODEL_NOT_FOUND", "'no@1'", id="unknown model"
        ),
        pytest.param(
            {"instances": ["a"], "parameters": {"model": "../x"}}, "INVALID_MESSAGE", "../x", id="bad model name"
        ),
        pytest.param(b" " * (5 * 2**20), "REQUEST_TOO_LARGE", "larger than", id="too many bytes"),
    ],
)
def test_a_wrong_request_is_refused_in_words(
    body: Any, code: str, message: str, start: Callable[..., Instance]
) -> None:
    instance = start(max_instances=8, max_text_chars=500)

    status, answer, _ = instance.post("/v1/predict", body)

    assert (status, answer["error"]["code"]) == (422, code)
    assert message in answer["error"]["message"]


def test_no_instances_give_no_predictions(start: Callable[..., Instance]) -> None:
    status, body, _ = predict(start())

    assert (status, body["predictions"]) == (200, [])


def test_requests_at_the_same_time_share_batches(
    start: Callable[..., Instance], brake: Brake, classifier: Model
) -> None:
    instance = start()
    texts = [f"the film was {word}" for word in ("good", "bad", "dull", "great")] * 4
    brake.clear()

    with ThreadPoolExecutor(len(texts)) as callers:
        answers = [callers.submit(predict, instance, text) for text in texts]
        wait_until(lambda: instance.metric('inference_queue_depth{kind="online"}') >= len(texts) - 4)
        brake.set()
        scores = [answer.result()[1]["predictions"][0]["scores"] for answer in answers]

    np.testing.assert_allclose(scores, classifier.predict(classifier.decode(texts)), atol=1e-6)
    assert instance.metric('inference_batch_texts_count{kind="online"}') <= 5
    assert instance.metric('inference_records_total{kind="online"}') == len(texts)


def test_an_online_request_is_answered_while_a_shard_is_in_progress(
    start: Callable[..., Instance], objects: GoogleObjects, bucket: str
) -> None:
    instance = start(token_budget=64)
    request = infer_request(bucket)
    objects.write(request.shard, shard_bytes(["very " * 60] * 600))
    with ThreadPoolExecutor(1) as caller:
        shard = caller.submit(instance.post, "/v1/infer", codec.encode(request))
        wait_until(lambda: instance.metric('inference_records_total{kind="shard"}') > 10)

        assert predict(instance, "good")[0] == 200

        assert not shard.done()
        assert shard.result()[0] == 200


def test_more_than_may_wait_is_refused_with_a_time_to_come_back(start: Callable[..., Instance], brake: Brake) -> None:
    instance = start(queue_limit=2)
    brake.clear()
    begun = brake.batches
    with ThreadPoolExecutor(3) as callers:
        first = callers.submit(predict, instance, "good")
        wait_until(lambda: brake.batches > begun)
        waiting = [callers.submit(predict, instance, "bad") for _ in range(2)]
        wait_until(lambda: instance.metric('inference_queue_depth{kind="online"}') == 2)

        status, body, headers = predict(instance, "dull")

        assert (status, body["error"]["code"], headers["retry-after"]) == (429, "OVERLOADED", "1")
        brake.set()
        assert [one.result()[0] for one in (first, *waiting)] == [200] * 3


def test_a_request_that_takes_too_long_is_given_up_and_leaves_the_queue(
    start: Callable[..., Instance], brake: Brake
) -> None:
    instance = start(online_deadline_s=0.3)
    brake.clear()

    with ThreadPoolExecutor(2) as callers:
        answers = list(callers.map(lambda text: predict(instance, text), ["good", "bad"]))

    assert [(status, body["error"]["code"]) for status, body, _ in answers] == [(504, "DEADLINE_EXCEEDED")] * 2
    assert instance.metric('inference_queue_depth{kind="online"}') == 0


def test_work_of_a_caller_that_hung_up_is_dropped(start: Callable[..., Instance], brake: Brake) -> None:
    instance = start(token_budget=16)
    before = instance.metric('inference_records_total{kind="online"}')
    brake.clear()
    connection = instance.connect()
    connection.request("POST", "/v1/predict", json.dumps({"instances": ["the film was not very good"] * 50}))
    wait_until(lambda: instance.metric('inference_queue_depth{kind="online"}') >= 40)

    connection.close()

    wait_until(lambda: instance.metric('inference_queue_depth{kind="online"}') == 0)
    brake.set()
    assert predict(instance, "good")[0] == 200
    assert instance.metric('inference_records_total{kind="online"}') - before < 10


def test_work_that_is_queued_after_its_caller_hung_up_is_dropped_too(
    start: Callable[..., Instance], brake: Brake, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, decoding, may_go_on = Model.decode, threading.Event(), threading.Event()
    submit, queued = Device.submit, threading.Event()

    def noted(device: Device, *work: Any) -> list[Work]:
        taken = submit(device, *work)
        queued.set()
        return taken

    def slowly(model: Model, texts: Sequence[str]) -> list[Encoded]:
        decoding.set()
        assert may_go_on.wait(20)
        return decode(model, texts)

    instance = start(token_budget=16)
    monkeypatch.setattr(Model, "decode", slowly)
    monkeypatch.setattr(Device, "submit", noted)
    brake.clear()
    connection = instance.connect()
    connection.request("POST", "/v1/predict", json.dumps({"instances": ["the film was not very good"] * 50}))
    assert decoding.wait(20)

    connection.close()
    instance.get("/health/live")  # one more turn of the service's loop, in which it sees the other end close
    may_go_on.set()

    assert queued.wait(20)
    wait_until(lambda: instance.metric('inference_queue_depth{kind="online"}') == 0)


def test_metrics_count_requests_by_their_answer(start: Callable[..., Instance]) -> None:
    instance = start()
    predict(instance, "good")
    instance.post("/v1/predict", b"{")

    assert instance.metric('inference_requests_total{route="/v1/predict",status="200"}') == 1
    assert instance.metric('inference_requests_total{route="/v1/predict",status="422"}') == 1
    assert instance.metric('inference_request_seconds_count{route="/v1/predict"}') == 2
    assert instance.metric('inference_model_loads_total{result="ok"}') == 1
    assert instance.metric("inference_model_memory_bytes") > 0


def test_the_service_needs_neither_transformers_nor_the_local_cloud() -> None:
    code = "import sys, services.gpu_inference.app; print({'transformers', 'localcloud', 'pandas'} & set(sys.modules))"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)

    assert result.stdout.strip() == "set()"
