"""Is what must be kept kept, by holds, by policies and after deletion?"""

from __future__ import annotations

from datetime import timedelta

import pytest
import requests
from google.api_core import exceptions as api
from google.cloud import storage as gcs

from tests.localcloud.storage.storage_cloud import Cloud

DAY = 24 * 3600


@pytest.fixture
def bucket(frozen: Cloud) -> gcs.Bucket:
    """The bucket `bkt` of a cloud whose clock stands still."""
    return frozen.client().get_bucket("bkt")


def test_a_policy_keeps_objects_for_its_period(frozen: Cloud, bucket: gcs.Bucket) -> None:
    bucket.retention_period = DAY
    bucket.patch()
    blob = bucket.blob("x")
    blob.upload_from_string("1")

    assert blob.retention_expiration_time - blob.time_created == timedelta(days=1)
    with pytest.raises(api.Forbidden, match="retention policy"):
        bucket.blob("x").delete()
    with pytest.raises(api.Forbidden, match="retention policy"):
        bucket.blob("x").upload_from_string("2")
    frozen.clock.advance(seconds=DAY)
    blob.upload_from_string("2")
    bucket.retention_period = None
    bucket.patch()
    blob.delete()


def test_a_locked_policy_only_grows(frozen: Cloud, bucket: gcs.Bucket) -> None:
    bucket.retention_period = DAY
    bucket.patch()
    bucket.lock_retention_policy()

    assert bucket.retention_policy_locked
    bucket.retention_period = 2 * DAY
    bucket.patch()
    for period in (DAY, None):
        bucket.retention_period = period
        with pytest.raises(api.Forbidden, match="locked"):
            bucket.patch()


@pytest.mark.parametrize(("query", "message"), [("?ifMetagenerationMatch=1", "no retention policy"), ("", "Required")])
def test_a_policy_is_locked_if_there_is_one_and_it_is_the_one_seen(cloud: Cloud, query: str, message: str) -> None:
    answer = requests.post(f"{cloud.url}/storage/v1/b/bkt/lockRetentionPolicy{query}", timeout=10)

    assert (answer.status_code, message in answer.json()["error"]["message"]) == (400, True)


def test_the_period_of_an_event_based_hold_begins_with_its_release(frozen: Cloud, bucket: gcs.Bucket) -> None:
    bucket.default_event_based_hold, bucket.retention_period = True, DAY
    bucket.patch()
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    assert (blob.event_based_hold, blob.retention_expiration_time) == (True, None)
    frozen.clock.advance(seconds=3 * DAY)
    with pytest.raises(api.Forbidden, match="hold"):
        bucket.blob("x").delete()
    blob.event_based_hold = False
    blob.patch()
    with pytest.raises(api.Forbidden, match="retention policy"):
        bucket.blob("x").delete()
    frozen.clock.advance(seconds=DAY)
    bucket.blob("x").delete()


def test_versioning_sets_kept_objects_aside(bucket: gcs.Bucket) -> None:
    bucket.retention_period, bucket.versioning_enabled = DAY, True
    bucket.patch()
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    bucket.blob("x").upload_from_string("2")
    bucket.blob("x").delete()

    assert len(list(bucket.list_blobs(versions=True))) == 2
    with pytest.raises(api.Forbidden, match="retention policy"):
        bucket.delete_blob("x", generation=blob.generation)


def test_an_object_has_a_retention_of_its_own(frozen: Cloud) -> None:
    bucket = frozen.client().create_bucket("retained", enable_object_retention=True)
    assert bucket.object_retention_mode == "Enabled"
    until = frozen.clock.now() + timedelta(days=2)
    blob = bucket.blob("x")
    blob.retention.mode, blob.retention.retain_until_time = "Unlocked", until
    blob.upload_from_string("1")
    with pytest.raises(api.Forbidden, match="object retention"):
        bucket.blob("x").delete()
    blob.retention.retain_until_time = until - timedelta(days=1)
    with pytest.raises(api.Forbidden, match="override"):
        blob.patch()
    blob.patch(override_unlocked_retention=True)
    blob.retention.mode = "Locked"
    blob.patch(override_unlocked_retention=True)
    blob.retention.retain_until_time = until - timedelta(days=1, hours=1)
    with pytest.raises(api.Forbidden, match="locked"):
        blob.patch(override_unlocked_retention=True)
    frozen.clock.advance(hours=25)
    bucket.blob("x").delete()


def test_a_bucket_must_allow_the_retention_of_objects(frozen: Cloud, bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    blob.retention.mode, blob.retention.retain_until_time = "Locked", frozen.clock.now() + timedelta(days=1)
    with pytest.raises(api.BadRequest, match="not enabled"):
        blob.patch()


def test_a_copy_is_free(bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    blob.temporary_hold = True
    blob.patch()
    copied = bucket.copy_blob(blob, bucket, "y")

    assert not copied.temporary_hold
    copied.delete()


def test_a_deleted_object_can_be_restored_for_a_time(frozen: Cloud, bucket: gcs.Bucket) -> None:
    bucket.soft_delete_policy.retention_duration_seconds = 7 * DAY
    bucket.patch()
    blob = bucket.blob("x")
    blob.metadata = {"k": "v"}
    blob.upload_from_string(b"1" * 100_000)
    bucket.blob("x").upload_from_string(b"2")
    bucket.blob("x").delete()

    deleted = list(bucket.list_blobs(soft_deleted=True))
    assert [(found.name, found.size) for found in deleted] == [("x", 100_000), ("x", 1)]
    assert deleted[0].hard_delete_time - deleted[0].soft_delete_time == timedelta(days=7)
    assert list(bucket.list_blobs(versions=True)) == []
    assert bucket.get_blob("x", generation=blob.generation, soft_deleted=True).metadata == {"k": "v"}
    restored = bucket.restore_blob("x", generation=blob.generation)
    assert (restored.generation > blob.generation, restored.metadata) == (True, {"k": "v"})
    assert bucket.blob("x").download_as_bytes() == b"1" * 100_000
    with pytest.raises(api.NotFound):
        bucket.restore_blob("x", generation=restored.generation)
    frozen.clock.advance(seconds=7 * DAY)
    assert list(bucket.list_blobs(soft_deleted=True)) == []
    assert len(frozen.blob_files()) == 1


def test_nothing_can_be_restored_by_default(bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    bucket.blob("x").delete()

    assert list(bucket.list_blobs(soft_deleted=True)) == []


@pytest.mark.parametrize("seconds", [-1, 3600, 91 * DAY, "soon"])
def test_a_time_to_restore_has_limits(cloud: Cloud, seconds: object) -> None:
    policy = {"softDeletePolicy": {"retentionDurationSeconds": seconds}}
    answer = requests.patch(f"{cloud.url}/storage/v1/b/bkt", json=policy, timeout=10)

    assert (answer.status_code, "retentionDurationSeconds" in answer.json()["error"]["message"]) == (400, True)
