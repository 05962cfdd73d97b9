"""A shard is predicted once, in order, and written whole."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from services.gpu_inference import shards
from services.gpu_inference.model import Model
from services.gpu_inference.shards import batches
from tests.services.gpu_inference.instance import (
    Instance,
    add_model,
    infer_request,
    read_predictions,
    shard_bytes,
    wait_until,
)
from zeroidle.contracts import codec
from zeroidle.contracts.services import InferRequest
from zeroidle.contracts.shards import PREDICTION_METADATA, PredictionMetadata
from zeroidle.gcp.objects import GoogleObjects

TEXTS = ["the film was good", "bad", "very " * 200, "", "maria lives in paris"] * 30


def post(instance: Instance, request: InferRequest) -> dict[str, object]:
    status, body, _ = instance.post("/v1/infer", codec.encode(request))
    assert status == 200, body
    return body


@pytest.mark.parametrize("window", [7, 150, 4096])
def test_every_record_is_predicted_in_its_row(
    window: int,
    start: Callable[..., Instance],
    objects: GoogleObjects,
    bucket: str,
    classifier: Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shards, "WINDOW", window)
    instance = start(token_budget=256)
    request = infer_request(bucket)
    objects.write(request.shard, shard_bytes(TEXTS))

    answer = post(instance, request)

    table = read_predictions(objects, request)
    assert table.schema.names == ["row", "id", "line", "label", "score", "scores"]
    assert table.column("row").to_pylist() == list(range(len(TEXTS)))
    expected = classifier.predict(classifier.decode(TEXTS))
    np.testing.assert_allclose(np.array(table.column("scores").to_pylist()), expected, atol=1e-6)
    assert table.column("label").to_pylist() == [classifier.labels[row.argmax()] for row in expected]
    metadata = codec.decode(table.schema.metadata[PREDICTION_METADATA], PredictionMetadata)
    assert (metadata.labels, metadata.task) == (["negative", "neutral", "positive"], "text-classification")
    assert metadata.model_sha256 == classifier.index.sha256
    assert answer["records"] == metadata.records == len(TEXTS)
    assert answer["truncated"] == metadata.truncated == 30
    assert answer["tokens"] == metadata.tokens == sum(len(one.ids) for one in classifier.decode(TEXTS))
    assert (answer["model"], answer["device"], answer["dtype"]) == ("classifier@1", "cpu", "float32")


@pytest.mark.parametrize(
    ("architecture", "column"),
    [
        pytest.param("DistilBertForTokenClassification", "entities", id="entities"),
        pytest.param("RobertaModel", "embedding", id="embeddings"),
    ],
)
def test_other_tasks_write_their_own_columns(
    architecture: str,
    column: str,
    start: Callable[..., Instance],
    objects: GoogleObjects,
    bucket: str,
    directory: Callable[[str], Path],
) -> None:
    instance = start()
    add_model(objects, bucket, directory(architecture), "other")
    request = infer_request(bucket, model="other", version="1")
    objects.write(request.shard, shard_bytes(TEXTS))

    post(instance, request)

    values = read_predictions(objects, request).column(column).to_pylist()
    assert len(values) == len(TEXTS)
    if column == "entities":
        found = [(text, one) for text, row in zip(TEXTS, values, strict=True) for one in row]
        assert found
        assert all(text[one["start"] : one["end"]] == one["text"] for text, one in found)
    else:
        assert {len(vector) for vector in values} == {32}


def test_a_shard_without_records_gives_no_predictions(
    start: Callable[..., Instance], objects: GoogleObjects, bucket: str
) -> None:
    instance = start()
    request = infer_request(bucket)
    objects.write(request.shard, shard_bytes([]))

    assert post(instance, request)["records"] == 0
    assert read_predictions(objects, request).num_rows == 0


def test_the_same_request_again_is_answered_without_predicting(
    start: Callable[..., Instance], objects: GoogleObjects, bucket: str
) -> None:
    instance = start()
    request = infer_request(bucket)
    objects.write(request.shard, shard_bytes(TEXTS))
    first = post(instance, request)
    predicted, written = instance.metric('inference_records_total{kind="shard"}'), objects.stat(request.predictions)

    second = post(instance, request)

    assert second == first
    assert instance.metric('inference_records_total{kind="shard"}') == predicted
    assert objects.stat(request.predictions) == written


def test_a_repeated_request_loads_no_model(
    start: Callable[..., Instance], objects: GoogleObjects, bucket: str, directory: Callable[[str], Path]
) -> None:
    add_model(objects, bucket, directory("DistilBertForSequenceClassification"), "other")
    request = infer_request(bucket, model="other")
    objects.write(request.shard, shard_bytes(TEXTS))
    first = post(start(), request)

    later = start()
    second = post(later, request)

    assert second == first
    assert later.metric('inference_model_loads_total{result="ok"}') == 1, "the default model alone"


@pytest.mark.parametrize("what", ["shard", "model"])
def test_predictions_of_another_shard_or_model_are_replaced(
    what: str, start: Callable[..., Instance], objects: GoogleObjects, bucket: str, directory: Callable[[str], Path]
) -> None:
    instance = start()
    request = infer_request(bucket)
    objects.write(request.shard, shard_bytes(["good", "bad"]))
    post(instance, request)

    if what == "shard":
        objects.write(request.shard, shard_bytes(["dull"]))
    else:
        add_model(objects, bucket, directory("DistilBertForSequenceClassification"), version="2")
        request = infer_request(bucket, version="2")
    answer = post(instance, request)

    assert (answer["records"], answer["model"]) == ((1, "classifier@1") if what == "shard" else (2, "classifier@2"))
    assert read_predictions(objects, request).num_rows == answer["records"]


def test_the_same_request_twice_at_once_writes_one_object(
    start: Callable[..., Instance], objects: GoogleObjects, bucket: str
) -> None:
    instance = start()
    request = infer_request(bucket)
    objects.write(request.shard, shard_bytes(TEXTS))

    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda _: post(instance, request), range(4)))

    assert all(answer == answers[0] for answer in answers), "the answer of the one that was written"
    assert len(list(objects.list(bucket, "s-predictions"))) == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(None, "MISSING_OBJECT", id="missing"),
        pytest.param(b"not arrow", "INVALID_SHARD", id="not arrow"),
        pytest.param(b"", "INVALID_SHARD", id="empty"),
    ],
)
def test_a_shard_that_cannot_be_read_is_refused(
    content: bytes | None, code: str, start: Callable[..., Instance], objects: GoogleObjects, bucket: str
) -> None:
    instance = start()
    request = infer_request(bucket)
    if content is not None:
        objects.write(request.shard, content)

    status, body, _ = instance.post("/v1/infer", codec.encode(request))

    assert (status, body["error"]["code"]) == (422, code)
    assert objects.stat(request.predictions) is None


def test_a_shard_stops_between_batches_when_its_caller_hangs_up(
    start: Callable[..., Instance], objects: GoogleObjects, bucket: str
) -> None:
    instance = start(token_budget=64)
    request = infer_request(bucket)
    texts = ["very " * 60] * 3000
    objects.write(request.shard, shard_bytes(texts))
    connection = instance.connect()
    connection.request("POST", "/v1/infer", codec.encode(request))
    wait_for = 'inference_records_total{kind="shard"}'
    wait_until(lambda: instance.metric(wait_for) > 10)

    connection.close()

    wait_until(lambda: instance.metric('inference_requests_total{route="/v1/infer"') >= 1)
    assert instance.metric(wait_for) < len(texts)
    assert instance.metric('inference_queue_depth{kind="shard"}') == 0
    assert objects.stat(request.predictions) is None


def test_a_shard_that_takes_too_long_is_given_up(
    start: Callable[..., Instance], objects: GoogleObjects, bucket: str
) -> None:
    instance = start(shard_deadline_s=0.0)
    request = infer_request(bucket)
    objects.write(request.shard, shard_bytes(TEXTS))

    status, body, _ = instance.post("/v1/infer", codec.encode(request))

    assert (status, body["error"]["code"]) == (504, "DEADLINE_EXCEEDED")


def test_batches_are_sorted_by_length_and_within_the_budget() -> None:
    lengths = [5, 300, 5, 2, 90, 10, 5]

    made = list(batches(lengths, 100))

    assert sorted(index for batch in made for index in batch) == list(range(len(lengths)))
    assert [[lengths[index] for index in batch] for batch in made] == [[2, 5, 5, 5, 10], [90], [300]]
