"""What became of a file, in a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_output import printed
from tests.core.job_factories import a_job
from zeroidle.contracts.records import State
from zeroidle.contracts.services import ObjectRef
from zeroidle_cli.exits import of_file_job
from zeroidle_cli.outcome import overview, summary_lines
from zeroidle_cli.uploads import Upload


def a_summary(**fields: Any) -> dict[str, Any]:
    """As postprocess writes it, as far as it is shown."""
    return {
        "records": 1316,
        "rejected": 0,
        "labels": {"positive": 987, "negative": 329},
        "accuracy": None,
        "stages": [{"name": "preprocess", "elapsed_s": 2.2}, {"name": "inference", "elapsed_s": 130}],
        "usd": 0.0036,
        "input": {"text_field": "text", "text_field_guessed": False},
        **fields,
    }


def test_a_summary_tells_counts_shares_times_and_cost() -> None:
    assert summary_lines(a_summary()) == [
        "1,316 records · about $0.0036 in the cloud",
        "positive 987 (75%), negative 329 (25%)",
        "preprocess 2.2 s · inference 2m 10s",
    ]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        pytest.param({"records": 1}, "1 record ·", id="one record"),
        pytest.param({"rejected": 3}, " · 3 set aside · ", id="rejected"),
        pytest.param(
            {"accuracy": {"accuracy": 0.845, "labelled": 1316}}, "accuracy 84.5% of 1,316 labelled", id="accuracy"
        ),
        pytest.param(
            {"input": {"text_field": "[review]", "text_field_guessed": True}},
            "text taken from '[review]' (guessed; --text-field names another)",
            id="guessed field",
        ),
    ],
)
def test_a_summary_tells_what_else_there_is(fields: dict[str, Any], line: str) -> None:
    assert line in "\n".join(summary_lines(a_summary(**fields)))


def test_a_summary_without_labels_has_no_empty_line() -> None:
    assert all(summary_lines(a_summary(labels={})))


def test_of_many_files_each_has_a_line_with_its_labels_or_the_reason() -> None:
    ref = ObjectRef(bucket="input", name="x")
    jobs = [a_job(State.SUCCEEDED, job_id="job-1"), a_job(State.FAILED, job_id="job-2")]

    lines = printed(overview([(Upload(Path(f"/d/{job.job_id}.txt"), ref, job.job_id), job) for job in jobs]), 80)

    assert [line.split() for line in lines[1:]] == [
        ["job-1", "job-1.txt", "SUCCEEDED", "3"],
        ["job-2", "job-2.txt", "FAILED", "INVALID_INPUT"],
    ]


@pytest.mark.parametrize(
    ("state", "code"), [(State.SUCCEEDED, 0), (State.FAILED, 1), (State.STOPPED, 5)], ids=lambda value: str(value)
)
def test_the_end_of_a_job_is_the_exit_code(state: State, code: int) -> None:
    assert of_file_job(a_job(state)) == code
