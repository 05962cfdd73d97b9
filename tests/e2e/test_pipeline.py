"""A file goes in, its result comes out."""

from __future__ import annotations

import gzip
import io
import json

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import ROOT
from tests.e2e.driver import Driver, records
from zeroidle.contracts.records import Reason, State
from zeroidle_cli.ledger import Ledger

TABLE = pa.table({"review": ["It is wonderful.", "It is terrible."], "stars": [5, 1]})


def _parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    return sink.getvalue()


def _csv() -> bytes:
    sink = io.BytesIO()
    pa.csv.write_csv(TABLE, sink)
    return sink.getvalue()


def test_every_record_is_predicted_once_and_the_result_is_whole(driver: Driver) -> None:
    job = driver.run("reviews.jsonl", records(500))

    assert job.state is State.SUCCEEDED
    assert [p["id"] for p in driver.predictions(job)] == [f"r{n}" for n in range(500)]
    assert sorted(driver.output(job)) == ["predictions.jsonl", "predictions.parquet", "report.html", "summary.json"]
    labels = {p["id"]: p["label"] for p in driver.predictions(job)}
    assert labels["r0"] == "positive"
    assert labels["r1"] == "negative"


def test_the_record_tells_the_stages_with_their_durations(driver: Driver) -> None:
    job = driver.run("stages.jsonl", records(20))

    assert [stage.name for stage in job.stages] == ["preprocess", "inference", "postprocess"]
    for stage in job.stages:
        assert stage.finished_at is not None
        assert stage.finished_at >= stage.started_at
        assert stage.busy_s is not None
    assert job.cost_usd > 0
    (report,) = Ledger(driver.connection).reports(job.job_id)
    assert report["data"]["text_field"] == "text"


@pytest.mark.parametrize(
    ("name", "data", "count"),
    [
        pytest.param("one.txt", b"What a wonderful day it was, all in all.", 1, id="text"),
        pytest.param("one.json", b'{"text": "wonderful"}', 1, id="json record"),
        pytest.param("list.json", b'[{"text": "wonderful"}, {"text": "bad"}]', 2, id="json list"),
        pytest.param("lines.jsonl.gz", gzip.compress(records(3)), 3, id="jsonl gzipped"),
        pytest.param("table.csv", _csv(), 2, id="csv"),
        pytest.param("table.csv.gz", gzip.compress(_csv()), 2, id="csv gzipped"),
        pytest.param("table.parquet", _parquet(), 2, id="parquet"),
        pytest.param("sign.png", (ROOT / "examples" / "sign.png").read_bytes(), 1, id="picture"),
    ],
)
def test_each_kind_of_input_gives_a_result(driver: Driver, name: str, data: bytes, count: int) -> None:
    job = driver.run(name, data)

    assert job.state is State.SUCCEEDED, job.failure
    assert len(driver.predictions(job)) == count


def test_bad_records_are_set_aside_and_counted(driver: Driver) -> None:
    job = driver.run("mixed.jsonl", records(5) + b"{broken\n" + records(5, start=5) + b'{"text": 7}\n')

    rejected = [json.loads(line) for line in driver.output(job)["rejected.jsonl"].splitlines()]
    assert len(driver.predictions(job)) == 10
    assert [r["line"] for r in rejected] == [6, 12]
    assert job.result is not None
    assert (job.result.records, job.result.rejected) == (10, 2)


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        pytest.param("empty.jsonl", b"", "EMPTY_INPUT", id="empty"),
        pytest.param("paper.txt", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "WRONG_TYPE", id="wrong type"),
        pytest.param(
            "latin.txt", "Ein schöner Tag für müde Bären, wie gewöhnlich.".encode("latin-1"), "NOT_UTF8", id="latin-1"
        ),
        pytest.param("bomb.jsonl.gz", gzip.compress(b"0" * 300_000_000, 9), "DECOMPRESSION_BOMB", id="bomb"),
        pytest.param("torn.jsonl.gz", gzip.compress(records(100))[:-20], "CORRUPT", id="torn gzip"),
        pytest.param("fields.jsonl", b'{"number": 1}\n', "", id="no text"),
    ],
)
def test_a_file_that_cannot_work_ends_as_a_failed_job_with_advice(
    driver: Driver, name: str, data: bytes, code: str
) -> None:
    job = driver.run(name, data)

    assert job.state is State.FAILED
    assert job.reason is Reason.USER_ERROR
    error = driver.error(job)
    assert error["code"] == job.failure.code if job.failure else False
    if code:
        assert error["code"] == code
    assert error["message"]
    assert error["hint"]
    assert list(driver.output(job)) == ["error.json"]


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "a/./b/../c.jsonl",
        "new\tline\x07bell.jsonl",
        "x" * 1018 + ".jsonl",
        "ünï/çødé 💥.jsonl",
        "-rf *;$(id).jsonl",
    ],
    ids=["parents", "dots", "control", "1,024 bytes", "unicode", "shell"],
)
def test_hostile_object_names_are_data(driver: Driver, name: str) -> None:
    job = driver.run(name, records(2))

    assert job.state is State.SUCCEEDED, job.failure
    assert len(driver.predictions(job)) == 2
    assert job.run is not None
    assert job.run.input.name == name


def test_an_overwrite_is_a_new_job(driver: Driver) -> None:
    first = driver.run("same.jsonl", records(2))
    second = driver.run("same.jsonl", records(3))

    assert first.job_id != second.job_id
    assert len(driver.predictions(first)) == 2
    assert len(driver.predictions(second)) == 3


def test_the_field_that_holds_the_text_can_be_named(driver: Driver) -> None:
    data = b'{"title": "terrible, awful, bad", "text": "wonderful"}\n'

    assert driver.predictions(driver.run("title.jsonl", data, text_field="title"))[0]["label"] == "negative"
    assert driver.predictions(driver.run("text.jsonl", data))[0]["label"] == "positive"


def test_a_bad_option_fails_the_job_and_names_it(driver: Driver) -> None:
    job = driver.run("options.jsonl", records(1), text_mode="sideways")

    assert job.state is State.FAILED
    assert "zeroidle-text-mode" in driver.error(job)["message"]


def test_a_model_that_does_not_exist_fails_the_job_and_names_it(driver: Driver) -> None:
    job = driver.run("model.jsonl", records(1), model="no-such-model")

    assert job.state is State.FAILED
    assert job.reason is Reason.USER_ERROR
    assert "no-such-model" in driver.error(job)["message"]
