"""Any Hugging Face directory of a supported task goes through the pipeline, by the name it was added under."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.driver import Driver
from tests.services.gpu_inference import hub
from zeroidle.contracts import models as contract
from zeroidle.contracts.records import State
from zeroidle_cli.commands import models

TEXTS = b"".join(b'{"text": "%s"}\n' % text for text in (b"maria lives in paris", b"the film was good", b"dull"))


def add(driver: Driver, architecture: str, folder: Path) -> str:
    """A small model with random weights, added under a name of its own."""
    directory = hub.make(architecture, folder / architecture)
    index = contract.describe(directory, name=architecture.lower(), version="1")
    models.put(driver.connection, directory, index, if_missing=True)
    return f"{index.name}@{index.version}"


@pytest.mark.parametrize(
    ("architecture", "column"),
    [
        ("RobertaForSequenceClassification", "scores"),
        ("DistilBertForTokenClassification", "entities"),
        ("BertModel", "embedding"),
    ],
    ids=["text-classification", "token-classification", "feature-extraction"],
)
def test_each_task_gives_its_predictions_and_a_report(
    driver: Driver, tmp_path: Path, architecture: str, column: str
) -> None:
    model = add(driver, architecture, tmp_path)

    job = driver.run(f"{column}.jsonl", TEXTS, model=model)

    assert job.state is State.SUCCEEDED, job.failure
    output = driver.output(job)
    assert [column in prediction for prediction in driver.predictions(job)] == [True] * 3
    (tmp_path / "predictions.parquet").write_bytes(output["predictions.parquet"])
    assert column in pq.read_schema(tmp_path / "predictions.parquet").names
    assert json.loads(output["summary.json"])["model"]["name"] == model
    assert "</html>" in output["report.html"].decode()
