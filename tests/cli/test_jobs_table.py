"""The list of jobs on narrow and wide terminals."""

from __future__ import annotations

import itertools

import pytest

from tests.cli.test_output import printed
from tests.core.job_factories import NOW, a_job
from zeroidle.contracts.messages import WorkflowRun
from zeroidle.contracts.records import Job, State
from zeroidle.contracts.services import ObjectRef
from zeroidle_cli.commands.jobs import jobs_table, short_ids
from zeroidle_cli.ledger import Unreadable

ID = "u-wmeb4ba5d7hdggrotzrj"


def listed(*jobs: Job, broken: tuple[Unreadable, ...] = (), width: int = 80) -> list[str]:
    return printed(jobs_table(jobs, broken, short_ids([job.job_id for job in jobs]), NOW + 600), width)


@pytest.mark.parametrize("state", State)
def test_every_state_stays_whole_at_eighty_columns(state: State) -> None:
    job = a_job(state, job_id=ID, cost_usd=0.0123)

    header, row = listed(job, width=80)

    assert len(row) <= 80
    assert row.split()[0] == ID[:12]
    assert state.value in row
    assert row.endswith("$0.0123")
    assert header.split()[-3:] == ["AGE", "TOOK", "COST"]


def test_a_failed_job_shows_the_code_of_its_failure() -> None:
    header, row = listed(a_job(State.FAILED), a_job(State.SUCCEEDED, job_id="job-2"))[:2]

    assert "REASON" in header
    assert "INVALID_INPUT" in row


def test_a_long_file_name_is_what_gets_cut() -> None:
    run = WorkflowRun(workflow="pipeline", input=ObjectRef(bucket="input", name="n" * 300, generation="5"))

    row = listed(a_job(State.PROVISIONING, job_id=ID, run=run), width=80)[1]

    assert len(row) <= 80
    assert "nnn…" in row
    assert "PROVISIONING" in row


def test_a_record_that_cannot_be_read_is_listed_with_the_reason() -> None:
    rows = listed(a_job(), broken=(Unreadable("u-future", "schema is 2, expected 1"),), width=120)

    assert "u-future" in rows[2]
    assert "UNKNOWN" in rows[2]
    assert "schema is 2, expected 1" in rows[2]


def test_short_ids_mean_one_job_each() -> None:
    ids = [f"u-{'a' * shared}{tail}" for shared, tail in itertools.product((3, 12, 15), ("b" * 9, "c" * 9))]

    short = short_ids([*ids, "job-1"])

    assert short["job-1"] == "job-1"
    for job_id, cut in short.items():
        assert len(cut) >= min(12, len(job_id))
        assert [other for other in ids if other.startswith(cut)] in ([job_id], [])
