from __future__ import annotations

import pytest

from tests.core.job_factories import NOW, a_job
from tests.simulation.sim_cloud import Faults, MemoryObjects
from zeroidle.contracts.messages import Meta
from zeroidle.contracts.records import State
from zeroidle.contracts.services import ObjectRef
from zeroidle.core.converge import Claim
from zeroidle.errors import Conflict, PermanentError, TemporaryError, ZeroidleError
from zeroidle.gcp.jobstore import BucketJobStore


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects(lambda: NOW, Faults())


@pytest.fixture
def store(objects: MemoryObjects) -> BucketJobStore:
    return BucketJobStore(objects, "jobs")


@pytest.mark.parametrize("state", State)
def test_a_record_is_read_as_it_was_written(store: BucketJobStore, state: State) -> None:
    stored = store.create(a_job(state))

    assert store.load("job-1") == stored


def test_a_record_is_created_once_and_replaced_only_by_who_read_it(store: BucketJobStore) -> None:
    first = store.create(a_job(State.QUEUED))
    store.replace(first, a_job(State.PROVISIONING))

    with pytest.raises(Conflict):
        store.create(a_job(State.QUEUED))
    with pytest.raises(Conflict):
        store.replace(first, a_job(State.RUNNING))
    assert store.load("nobody") is None


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b'{"schema": 9}'])
def test_a_broken_record_is_not_blamed_on_the_message_at_hand(
    store: BucketJobStore, objects: MemoryObjects, broken: bytes
) -> None:
    objects.write(ObjectRef(bucket="jobs", name="jobs/job-1.json"), broken)

    with pytest.raises(ZeroidleError, match="the record of job job-1") as caught:
        store.load("job-1")
    assert caught.value.code == "BROKEN_LEDGER"
    assert not isinstance(caught.value, PermanentError | TemporaryError)


def test_a_claim_is_closed_once(store: BucketJobStore, objects: MemoryObjects) -> None:
    assert store.claim("job-1", 1) is None

    store.close("job-1", 1)

    assert store.claim("job-1", 1) == Claim(None)
    with pytest.raises(Conflict):
        store.close("job-1", 1)


def test_an_execution_that_claims_wins_over_a_later_close(store: BucketJobStore, objects: MemoryObjects) -> None:
    objects.write(ObjectRef(bucket="jobs", name="claims/job-1-a1"), b'{"execution": "e1"}', if_generation=0)

    with pytest.raises(Conflict):
        store.close("job-1", 1)
    assert store.claim("job-1", 1) == Claim("e1")


def test_markers_keep_their_age(store: BucketJobStore, objects: MemoryObjects) -> None:
    store.mark("job-1")
    objects.now = lambda: NOW + 100
    store.mark("job-1")
    store.mark("job-2")

    assert {(marker.job_id, marker.created) for marker in store.marked()} == {("job-1", NOW), ("job-2", NOW + 100)}
    store.unmark("job-1")
    store.unmark("job-1")
    assert [marker.job_id for marker in store.marked()] == ["job-2"]


def test_a_report_that_comes_twice_is_kept_once(store: BucketJobStore, objects: MemoryObjects) -> None:
    meta = Meta(schema=1, job_id="job-1", user_id="me", attempt=1, created_at=NOW, sender="s", operation="o")

    store.add_meta(meta, "77")
    store.add_meta(meta, "77")

    assert objects.names("jobs") == ["meta/job-1/77.json"]
