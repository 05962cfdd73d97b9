"""Postprocess merges all shards and publishes the result once and whole."""

from __future__ import annotations

import io
import json

import pyarrow.parquet as pq
import pytest

from services.postprocess import step
from tests.services.postprocess import attempts
from tests.services.postprocess.attempts import JOB, JOBS, OUTPUT, TEXTS, a_request
from tests.services.postprocess.crashing_objects import Crash, CrashingObjects
from zeroidle.contracts import codec, shards
from zeroidle.contracts.services import ObjectRef
from zeroidle.errors import PermanentError

PREFIX = "reviews.jsonl/17"
FILES = ["predictions.jsonl", "predictions.parquet", "rejected.jsonl", "report.html", "summary.json"]


def now() -> float:
    return 105.0


def published(objects: CrashingObjects) -> dict[str, bytes]:
    return {
        name.removeprefix(f"{PREFIX}/"): objects.read(ObjectRef(bucket=OUTPUT, name=name))[0]
        for name in objects.names(OUTPUT)
    }


def test_all_records_of_all_shards_are_in_both_files(objects: CrashingObjects) -> None:
    step.postprocess(a_request(1), objects, now)

    files = published(objects)
    lines = [json.loads(line) for line in files["predictions.jsonl"].splitlines()]
    table = pq.read_table(io.BytesIO(files["predictions.parquet"]))
    assert [line["id"] for line in lines] == [str(n) for n in range(len(TEXTS))]
    assert table.column("id").to_pylist() == [line["id"] for line in lines]
    assert lines[1] == {
        "id": "1",
        "label": "positive",
        "score": 0.56,
        "scores": {"negative": 0.44, "positive": 0.56},
        "input": "gs://input-bucket/reviews.jsonl#17",
        "line": 2,
    }


def test_the_summary_counts_labels_confidence_accuracy_and_cost(objects: CrashingObjects) -> None:
    response = step.postprocess(a_request(1), objects, now)

    summary = json.loads(published(objects)["summary.json"])
    assert response.labels == summary["labels"] == {"positive": 200, "negative": 100}
    assert response.rejected == summary["rejected"] == 2
    assert sum(map(sum, summary["confidence"]["histogram"].values())) == 300
    assert summary["accuracy"]["labelled"] == 300
    assert summary["accuracy"]["confusion"]["positive"]["positive"] == 150
    assert summary["model"]["tokens"] == 3000
    inference = next(stage for stage in summary["stages"] if stage["name"] == "inference")
    assert inference == {"name": "inference", "elapsed_s": 3.0, "busy_s": 5.0, "usd": pytest.approx(0.005)}
    assert summary["elapsed_s"] == pytest.approx(5.0)


def test_the_report_loads_nothing_and_escapes_what_the_input_says(objects: CrashingObjects) -> None:
    step.postprocess(a_request(1, "reviews.jsonl"), objects, now)

    page = published(objects)["report.html"].decode()
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert "&lt;b&gt;{oops" in page
    assert "<b>{oops" not in page


def test_the_result_comes_with_the_summary_last(objects: CrashingObjects) -> None:
    response = step.postprocess(a_request(1), objects, now)

    assert sorted(published(objects)) == FILES
    assert response.files[-1] == f"{PREFIX}/summary.json"
    generations = {name: objects.read(ObjectRef(bucket=OUTPUT, name=name))[1] for name in response.files}
    assert max(generations, key=lambda name: generations[name]) == f"{PREFIX}/summary.json"


def test_a_repeated_request_changes_nothing(objects: CrashingObjects) -> None:
    first = step.postprocess(a_request(1), objects, now)
    before = published(objects)

    second = step.postprocess(a_request(1), objects, lambda: 999.0)

    assert published(objects) == before
    assert (second.files, second.records, second.labels) == (first.files, first.records, first.labels)


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
def test_a_crash_at_any_write_is_finished_by_the_next_request(after: bool) -> None:
    crashes = 0
    while True:
        objects = CrashingObjects()
        attempts.fill(objects, attempt=1)
        objects.crash_at, objects.after_effect = crashes, after
        try:
            step.postprocess(a_request(1), objects, now)
        except Crash:
            crashes += 1
        else:
            break
        assert "summary.json" not in published(objects) or after
        objects.revive()
        step.postprocess(a_request(1), objects, now)
        assert sorted(published(objects)) == FILES
        assert json.loads(published(objects)["summary.json"])["records"] == 300
    assert crashes == 10  # four files staged, the claim, five files copied


def test_a_later_attempt_publishes_what_an_earlier_one_claimed() -> None:
    """Attempt 1 dies between its claim and its last copy; attempt 2 has other numbers, and must not mix them in."""
    objects = CrashingObjects()
    attempts.fill(objects, attempt=1)
    objects.crash_at = 6
    with pytest.raises(Crash):
        step.postprocess(a_request(1), objects, now)
    objects.revive()
    attempts.fill(objects, attempt=2, score_shift=0.05)

    step.postprocess(a_request(2), objects, now)

    files = published(objects)
    summary = json.loads(files["summary.json"])
    scores = [json.loads(line)["score"] for line in files["predictions.jsonl"].splitlines()]
    assert summary["attempt"] == 1
    assert summary["confidence"]["mean"] == pytest.approx(sum(scores) / len(scores), abs=1e-6)


@pytest.mark.parametrize(
    ("attempt", "state"), [(2, "RUNNING"), (1, "STOPPED"), (1, "FAILED")], ids=["newer attempt", "stopped", "failed"]
)
def test_an_attempt_that_is_not_current_publishes_nothing(objects: CrashingObjects, attempt: int, state: str) -> None:
    attempts.put_record(objects, attempt, state)

    with pytest.raises(PermanentError) as caught:
        step.postprocess(a_request(1), objects, now)

    assert caught.value.code == "SUPERSEDED"
    assert published(objects) == {}


def test_a_shard_without_predictions_is_named(objects: CrashingObjects) -> None:
    objects.delete(a_request(1).work.child(shards.predictions_name(1)))

    with pytest.raises(PermanentError, match="shard 1 has no predictions") as caught:
        step.postprocess(a_request(1), objects, now)

    assert caught.value.code == "INCOMPLETE"
    assert published(objects) == {}


def test_predictions_of_other_records_are_refused(objects: CrashingObjects) -> None:
    work = a_request(1).work
    other, _ = objects.read(work.child(shards.predictions_name(0)))
    objects.write(work.child(shards.predictions_name(1)), other)

    with pytest.raises(PermanentError, match="predictions of shard 1 are of other records"):
        step.postprocess(a_request(1), objects, now)


def test_shards_predicted_by_different_models_are_no_result() -> None:
    objects = CrashingObjects()
    attempts.fill(objects, attempt=1, last_model="sentiment-minilm@2")

    with pytest.raises(PermanentError, match=r"sentiment-minilm@1, sentiment-minilm@2") as caught:
        step.postprocess(a_request(1), objects, now)

    assert caught.value.code == "MIXED_MODELS"
    assert published(objects) == {}


def test_a_result_without_rejected_records_has_no_rejected_file() -> None:
    objects = CrashingObjects()
    attempts.fill(objects, attempt=1, rejected=0)

    step.postprocess(a_request(1), objects, now)

    assert "rejected.jsonl" not in published(objects)


def test_the_claim_names_the_attempt_whose_files_are_the_result(objects: CrashingObjects) -> None:
    step.postprocess(a_request(1), objects, now)

    data, _ = objects.read(ObjectRef(bucket=JOBS, name=f"claims/{JOB}-result"))
    assert codec.decode(data, dict)["attempt"] == 1
