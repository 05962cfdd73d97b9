"""Following many jobs at a bounded cost, on a real ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.core.job_factories import a_job
from zeroidle.contracts import codec, names
from zeroidle.contracts.records import Job, State
from zeroidle.contracts.services import ObjectRef
from zeroidle_cli import watch
from zeroidle_cli.connection import Connection
from zeroidle_cli.ledger import Ledger
from zeroidle_cli.watch import Watch


@pytest.fixture
def ledger(cloud: Connection) -> Iterator[Ledger]:
    """Without records before and after."""
    yield Ledger(cloud)
    for job_id in Ledger(cloud).generations("watched-"):
        cloud.objects.delete(ref(cloud, job_id))


def ref(cloud: Connection, job_id: str) -> ObjectRef:
    return ObjectRef(bucket=cloud.bucket("jobs"), name=names.job_record(job_id))


def put(ledger: Ledger, job: Job) -> None:
    ledger.connection.objects.write(ref(ledger.connection, job.job_id), codec.encode(job))


@pytest.mark.parametrize("count", [1, watch.FEW, watch.FEW + 1, 30], ids=str)
def test_each_change_is_seen_once_until_all_jobs_are_over(
    ledger: Ledger, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL_S", 0.0)
    ids = [f"watched-{n:02}" for n in range(count)]
    for job_id in ids[1:]:
        put(ledger, a_job(State.SUCCEEDED, job_id=job_id))
    changes = Watch(ledger, ids).changes()

    assert sorted(next(changes)) == ids[1:]
    assert next(changes) == {}
    put(ledger, a_job(State.RUNNING, job_id=ids[0]))
    assert [job.state for job in next(changes).values()] == [State.RUNNING]
    put(ledger, a_job(State.FAILED, job_id=ids[0]))
    assert [job.state for job in next(changes).values()] == [State.FAILED]
    assert list(changes) == []


def test_of_many_jobs_only_the_changed_ones_are_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"watched-{n:02}" for n in range(20)]
    for job_id in ids:
        put(ledger, a_job(State.RUNNING, job_id=job_id))
    changes = Watch(ledger, ids).changes()
    next(changes)
    put(ledger, a_job(State.SUCCEEDED, job_id=ids[7]))
    asked: list[str] = []
    read = type(ledger.connection.objects).read
    monkeypatch.setattr(
        type(ledger.connection.objects), "read", lambda self, ref: (asked.append(ref.name), read(self, ref))[1]
    )

    assert list(next(changes)) == [ids[7]]
    assert asked == [names.job_record(ids[7])]
