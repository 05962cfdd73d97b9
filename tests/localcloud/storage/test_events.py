"""Which events does an object's life cause, and what do ordered faults do?"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from google.api_core import exceptions as api
from google.cloud import storage as gcs

from localcloud.faults import Fault
from tests.localcloud.storage.storage_cloud import Cloud


def kinds(cloud: Cloud) -> list[str]:
    return [kind for kind, _ in cloud.events]


def test_each_change_is_told(cloud: Cloud, bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    blob.patch()
    blob.upload_from_string("2")
    blob.delete()

    assert kinds(cloud) == ["finalized", "metadataUpdated", "deleted", "finalized", "deleted"]
    _, resource = cloud.events[0]
    assert (resource["bucket"], resource["name"], resource["size"]) == ("bkt", "x", "1")
    assert isinstance(resource["generation"], str)


def test_replaced_and_deleted_versions_are_archived(cloud: Cloud, bucket: gcs.Bucket) -> None:
    bucket.versioning_enabled = True
    bucket.patch()
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    first = blob.generation
    blob.upload_from_string("2")
    bucket.blob("x").delete()
    assert bucket.get_blob("x") is None
    assert bucket.blob("x", generation=first).download_as_bytes() == b"1"
    bucket.delete_blob("x", generation=first)

    assert kinds(cloud) == ["finalized", "archived", "finalized", "archived", "deleted"]
    assert bucket.get_blob("x", generation=first) is None


def test_a_listener_that_fails_undoes_the_change(cloud: Cloud, bucket: gcs.Bucket) -> None:
    def refuse(_: str, __: dict[str, Any]) -> None:
        raise RuntimeError("no")

    cloud.storage.subscribe(refuse)
    url = f"{cloud.url}/upload/storage/v1/b/bkt/o?uploadType=media&name=x"
    answer = requests.post(url, data=b"1" * 100_000, timeout=10)

    assert (answer.status_code, answer.json()["error"]["code"]) == (500, 500)
    assert (bucket.get_blob("x"), cloud.blob_files()) == (None, [])


VERBS = {
    "insert": ("POST", "upload/storage/v1/b/bkt/o?uploadType=media&name=x"),
    "get": ("GET", "storage/v1/b/bkt/o/x"),
    "list": ("GET", "storage/v1/b/bkt/o?prefix=x"),
    "patch": ("PATCH", "storage/v1/b/bkt/o/x"),
    "delete": ("DELETE", "storage/v1/b/bkt/o/x"),
    "update": ("PUT", "storage/v1/b/bkt/o/x"),
    "rewrite": ("POST", "storage/v1/b/bkt/o/x/rewriteTo/b/bkt/o/x"),
    "copy": ("POST", "storage/v1/b/bkt/o/x/copyTo/b/bkt/o/x"),
    "move": ("POST", "storage/v1/b/bkt/o/y/moveTo/o/x"),
    "compose": ("POST", "storage/v1/b/bkt/o/x/compose"),
}


@pytest.mark.parametrize(("verb", "request_"), VERBS.items(), ids=VERBS)
@pytest.mark.parametrize("action", ["fail", "fail_after"])
def test_a_fault_hits_before_or_after_the_effect(
    cloud: Cloud, bucket: gcs.Bucket, verb: str, request_: tuple[str, str], action: Any
) -> None:
    for name in ("x", "y"):
        bucket.blob(name).upload_from_string("1")
    told = len(cloud.events)
    cloud.faults.add(Fault(f"storage.objects.{verb}", "bkt/x", action=action, status=503))
    body = {"sourceObjects": [{"name": "x"}]} if verb == "compose" else None
    answer = requests.request(request_[0], f"{cloud.url}/{request_[1]}", json=body, timeout=10)

    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (503, "backendError")
    assert (len(cloud.events) > told) == (action == "fail_after" and verb not in ("get", "list"))
    assert cloud.faults.standing() == []


BUCKET_VERBS = {
    "insert": ("POST", "b", {"name": "new"}, "new"),
    "list": ("GET", "b?project=p", None, "p"),
    "get": ("GET", "b/bkt", None, "bkt"),
    "patch": ("PATCH", "b/bkt", {"labels": {"a": "b"}}, "bkt"),
    "update": ("PUT", "b/bkt", {"labels": {"a": "b"}}, "bkt"),
    "delete": ("DELETE", "b/bkt", None, "bkt"),
}


@pytest.mark.parametrize(("verb", "request_"), BUCKET_VERBS.items(), ids=BUCKET_VERBS)
@pytest.mark.parametrize("action", ["fail", "fail_after"])
def test_a_fault_of_a_bucket_hits_before_or_after_the_effect(
    cloud: Cloud, client: gcs.Client, verb: str, request_: tuple[str, str, Any, str], action: Any
) -> None:
    def state() -> list[tuple[str, int]]:
        return [(bucket.name, bucket.metageneration) for bucket in cloud.call(cloud.storage.buckets)]

    before = state()
    method, path, body, resource = request_
    cloud.faults.add(Fault(f"storage.buckets.{verb}", resource, action=action, status=500))
    answer = requests.request(method, f"{cloud.url}/storage/v1/{path}", json=body, timeout=10)

    assert (answer.status_code, cloud.faults.standing()) == (500, [])
    assert (state() != before) == (action == "fail_after" and verb not in ("get", "list"))


def test_a_delayed_call_acts_on_what_it_then_finds(frozen: Cloud) -> None:
    bucket = frozen.client().bucket("bkt")
    frozen.faults.add(Fault("storage.objects.insert", "bkt/x", action="delay", delay_s=30))
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(bucket.blob("x").upload_from_string, "late", if_generation_match=0)
        until(lambda: not frozen.faults.standing())
        frozen.client().bucket("bkt").blob("x").upload_from_string("first")
        assert not late.done()
        frozen.clock.advance(seconds=30)
        with pytest.raises(api.PreconditionFailed):
            late.result(10)

    assert bucket.blob("x").download_as_bytes() == b"first"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.002)


def test_a_live_version_that_is_named_by_its_generation_is_deleted_for_good(cloud: Cloud, bucket: gcs.Bucket) -> None:
    bucket.versioning_enabled = True
    bucket.patch()
    blob = bucket.blob("x")
    blob.upload_from_string("1")

    bucket.delete_blob("x", generation=blob.generation)

    assert list(bucket.list_blobs(versions=True)) == []
    assert [kind for kind, _ in cloud.events] == ["finalized", "deleted"]
