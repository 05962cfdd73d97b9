"""Finding jobs in a ledger, on a real bucket."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.core.job_factories import a_job
from zeroidle.contracts import codec, names
from zeroidle.contracts.records import State
from zeroidle.contracts.services import ObjectRef
from zeroidle.errors import PermanentError
from zeroidle_cli import ledger as module
from zeroidle_cli.connection import Connection
from zeroidle_cli.ledger import READERS, Ledger, only

COUNT = 40


@pytest.fixture
def ledger(cloud: Connection, request: pytest.FixtureRequest) -> Ledger:
    """An empty one: of a project that has a jobs bucket and nothing else."""
    name = f"test-{abs(hash(request.node.name))}"
    connection = Connection(replace(cloud.project, project_id=name), cloud.state, cloud.environment)
    connection.client.create_bucket(connection.bucket("jobs"))
    return Ledger(connection)


def put(ledger: Ledger, number: int, began_at: float) -> str:
    job = a_job(State.SUCCEEDED, job_id=f"job-{number:02}", created_at=began_at)
    ref = ObjectRef(bucket=ledger.connection.bucket("jobs"), name=names.job_record(job.job_id))
    ledger.connection.objects.write(ref, codec.encode(job))
    return job.job_id


@pytest.mark.parametrize("limit", [1, 8, 39, 40, None], ids=str)
def test_the_newest_jobs_are_those_that_began_last_whenever_they_changed(ledger: Ledger, limit: int | None) -> None:
    hour_ago = time.time() - 3600
    for n in sorted(range(COUNT), key=lambda n: n * 7 % COUNT):
        put(ledger, n, hour_ago + n)

    survey = ledger.survey(limit)

    assert [job.job_id for job in survey.jobs] == [f"job-{n:02}" for n in reversed(range(COUNT))][:limit]
    assert survey.total == COUNT
    assert ledger.get("last").job_id == f"job-{COUNT - 1:02}"


def test_of_many_jobs_only_the_newest_are_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [put(ledger, n, time.time()) for n in range(COUNT)]
    asked: list[str] = []
    load = Ledger.load
    monkeypatch.setattr(module.Ledger, "load", lambda self, job_id: (asked.append(job_id), load(self, job_id))[1])

    survey = ledger.survey(READERS)

    assert [job.job_id for job in survey.jobs] == ids[::-1][:READERS]
    assert sorted(asked) == ids[-READERS:]


@pytest.mark.parametrize(
    ("text", "found"), [("u-a", "u-a"), ("u-ab", "u-abc"), ("u-b", "u-b1")], ids=["exact", "beginning", "only one"]
)
def test_a_job_is_meant_by_its_id_or_a_beginning_that_is_its_alone(text: str, found: str) -> None:
    assert only(text, ["u-a", "u-abc", "u-b1"]) == found


@pytest.mark.parametrize("text", ["u-", "x", ""], ids=["several", "none", "empty"])
def test_anything_else_means_no_job(text: str) -> None:
    with pytest.raises(PermanentError) as caught:
        only(text, ["u-a", "u-abc", "u-b1"])

    assert caught.value.code == "NO_SUCH_JOB"
