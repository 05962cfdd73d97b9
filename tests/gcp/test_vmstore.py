"""Entries of VMs and refusals in a bucket, through the real client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.cloud import storage
from msgspec.structs import replace

from localcloud.cloud import CloudConfig, Deployment, running
from zeroidle.contracts.machines import Report, VmEntry, VmRef, Worker
from zeroidle.contracts.services import ObjectRef
from zeroidle.core.capacity import Block
from zeroidle.errors import MissingObject, ZeroidleError
from zeroidle.gcp.objects import GoogleObjects
from zeroidle.gcp.vmstore import KEY, BucketVmStore

REF = VmRef(name="job-1-a1", cluster="1xl4", region="us-central1")
ENTRY = VmEntry(ref=REF, job_id="job-1", attempt=1, usd_per_hour=0.7)
WORKER = Worker(vm=REF, zone="us-central1-a", usd_per_hour=0.7, boot_id="b")
REPORT = Report(worker=WORKER, job_id="job-2", attempt=3)


@pytest.fixture(scope="module")
def objects() -> Iterator[GoogleObjects]:
    patch = pytest.MonkeyPatch()
    with running(CloudConfig(), lambda _: Deployment(buckets=("ledger",))) as cloud:
        for name, value in cloud.environment().items():
            patch.setenv(name, value)
        yield GoogleObjects(storage.Client(project="local"))
    patch.undo()


@pytest.fixture
def vms(objects: GoogleObjects) -> BucketVmStore:
    for info in objects.list("ledger", ""):
        objects.delete(ObjectRef(bucket="ledger", name=info.ref.name))
    return BucketVmStore(objects, "ledger")


def test_an_entry_is_written_once(vms: BucketVmStore) -> None:
    vms.enter(ENTRY)
    vms.enter(replace(ENTRY, job_id="job-9"))

    assert vms.entry(REF) == ENTRY
    assert vms.entries() == (ENTRY,)


def test_what_its_worker_does_stands_in_the_entry(vms: BucketVmStore) -> None:
    vms.enter(ENTRY)
    vms.report(REF, REPORT)

    assert vms.entry(REF) == replace(ENTRY, report=REPORT)


def test_a_report_does_not_bring_an_entry_back(vms: BucketVmStore) -> None:
    vms.enter(ENTRY)
    vms.remove(REF)

    with pytest.raises(MissingObject):
        vms.report(REF, REPORT)
    assert vms.entries() == ()


def test_a_removed_vm_is_remembered_until_it_is_forgotten(vms: BucketVmStore) -> None:
    vms.enter(ENTRY)
    vms.remove(REF)
    vms.remove(REF)

    (gone,) = vms.gone()
    vms.forget(gone)

    assert vms.gone() == ()


def test_a_block_takes_the_place_of_the_one_before(vms: BucketVmStore) -> None:
    first = Block("1xl4", "us-central1", "STOCKOUT", 10.0, 130.0)
    everywhere = Block("*", "*", "QUOTA_EXCEEDED", 10.0, 610.0)
    vms.block(first)
    vms.block(replace(first, failures=2, until=250.0))
    vms.block(everywhere)

    assert set(vms.blocks()) == {replace(first, failures=2, until=250.0), everywhere}


def test_an_entry_that_is_not_ours_is_a_broken_ledger(vms: BucketVmStore, objects: GoogleObjects) -> None:
    objects.write(ObjectRef(bucket="ledger", name="vms/us-central1/x"), b"", metadata={KEY: "{}"})

    with pytest.raises(ZeroidleError) as caught:
        vms.entries()
    assert caught.value.code == "BROKEN_LEDGER"
