"""Buckets with a soft delete policy can be restored for a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from google.api_core import exceptions as api
from google.cloud import storage as gcs

from tests.localcloud.storage.storage_cloud import Cloud

DAY = 86_400


def deleted_bucket(cloud: Cloud) -> gcs.Bucket:
    """A bucket that can be restored for a week."""
    bucket = cloud.client().bucket("kept")
    bucket.labels = {"team": "blue"}
    bucket.soft_delete_policy.retention_duration_seconds = 7 * DAY
    bucket.create()
    bucket.delete()
    return bucket


@pytest.fixture
def kept(frozen: Cloud) -> gcs.Bucket:
    return deleted_bucket(frozen)


def test_a_deleted_bucket_is_found_by_its_generation(frozen: Cloud, kept: gcs.Bucket) -> None:
    client = frozen.client()

    (listed,) = client.list_buckets(soft_deleted=True)
    found = client.get_bucket("kept", soft_deleted=True, generation=listed.generation)

    assert (found.name, found.generation, found.labels) == ("kept", kept.generation, {"team": "blue"})
    assert found.hard_delete_time - found.soft_delete_time == timedelta(days=7)
    assert client.lookup_bucket("kept") is None
    assert [bucket.name for bucket in client.list_buckets()] == ["bkt"]


def test_a_deleted_bucket_is_restored_with_its_settings(frozen: Cloud, kept: gcs.Bucket) -> None:
    client = frozen.client()

    restored = client.restore_bucket("kept", generation=kept.generation)

    assert (restored.labels, restored.generation) == ({"team": "blue"}, kept.generation)
    assert restored.metageneration > kept.metageneration
    restored.blob("a").upload_from_string(b"x")
    assert [blob.name for blob in client.list_blobs("kept")] == ["a"]
    assert list(client.list_buckets(soft_deleted=True)) == []
    assert client.get_bucket("kept").soft_delete_time is None


def test_deleted_buckets_of_one_name_are_listed_page_by_page(frozen: Cloud, kept: gcs.Bucket) -> None:
    client = frozen.client()
    frozen.clock.advance(seconds=1)
    again = deleted_bucket(frozen)

    listed = [(bucket.name, bucket.generation) for bucket in client.list_buckets(soft_deleted=True, page_size=1)]

    assert listed == [("kept", kept.generation), ("kept", again.generation)]


def test_a_bucket_is_not_restored_over_another_one(frozen: Cloud, kept: gcs.Bucket) -> None:
    client = frozen.client()
    frozen.clock.advance(seconds=1)
    again = client.create_bucket("kept")

    with pytest.raises(api.Conflict):
        client.restore_bucket("kept", generation=kept.generation)
    again.delete()  # it has no such policy
    assert client.restore_bucket("kept", generation=kept.generation).generation == kept.generation


def test_a_deleted_bucket_is_gone_after_its_time(frozen: Cloud, kept: gcs.Bucket) -> None:
    client = frozen.client()

    frozen.clock.advance(seconds=7 * DAY)

    assert list(client.list_buckets(soft_deleted=True)) == []
    with pytest.raises(api.NotFound):
        client.restore_bucket("kept", generation=kept.generation)


def test_a_bucket_without_a_policy_cannot_be_restored(client: gcs.Client) -> None:
    bucket = client.create_bucket("gone")
    bucket.delete()

    with pytest.raises(api.NotFound):
        client.restore_bucket("gone", generation=bucket.generation)


def test_a_deleted_bucket_survives_a_restart(start_cloud: Callable[..., Cloud], tmp_path: Path) -> None:
    cloud = start_cloud(tmp_path)
    bucket = deleted_bucket(cloud)
    cloud.stop()

    assert start_cloud(tmp_path).client().restore_bucket("kept", generation=bucket.generation).name == "kept"


@pytest.mark.parametrize("path", ["b/kept?softDeleted=true", "b/kept/restore"])
def test_a_deleted_bucket_needs_a_generation(cloud: Cloud, path: str) -> None:
    method = "POST" if path.endswith("restore") else "GET"
    answer = requests.request(method, f"{cloud.url}/storage/v1/{path}", timeout=10)

    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "Required parameter: generation")
