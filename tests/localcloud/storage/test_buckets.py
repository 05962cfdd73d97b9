"""Are buckets made, found, changed and removed as Cloud Storage does it?"""

from __future__ import annotations

import pytest
import requests
from google.api_core import exceptions as api
from google.cloud import storage as gcs

from tests.localcloud.storage.storage_cloud import Cloud


def test_a_new_bucket_is_found(client: gcs.Client) -> None:
    bucket = client.bucket("files")
    bucket.labels = {"a": "b"}
    bucket.create(location="europe-west4")

    seen = client.get_bucket("files")
    assert (seen.location, seen.labels, seen.metageneration) == ("EUROPE-WEST4", {"a": "b"}, 1)
    assert [b.name for b in client.list_buckets()] == ["bkt", "files"]
    assert [b.name for b in client.list_buckets(prefix="f")] == ["files"]
    assert [b.name for b in client.list_buckets(page_size=1)] == ["bkt", "files"]


def test_a_bucket_is_made_once(client: gcs.Client) -> None:
    with pytest.raises(api.Conflict):
        client.create_bucket("bkt")


def test_deployment_may_repeat_itself(cloud: Cloud) -> None:
    cloud.call(lambda: cloud.storage.create_bucket("bkt", "us-east1"))


@pytest.mark.parametrize("name", ["a", "A-b-c", "goog-x", "my-google", "a..b", "-abc", "1.2.3.4", "x" * 64])
def test_illegal_names_are_refused(cloud: Cloud, name: str) -> None:
    with pytest.raises(Exception, match="Invalid bucket name"):
        cloud.call(lambda: cloud.storage.create_bucket(name))


def test_a_bucket_with_objects_stays(client: gcs.Client, bucket: gcs.Bucket) -> None:
    bucket.blob("x").upload_from_string("1")
    with pytest.raises(api.Conflict, match="not empty"):
        bucket.delete()
    bucket.blob("x").delete()
    bucket.delete()

    assert client.lookup_bucket("bkt") is None
    with pytest.raises(api.NotFound):
        bucket.delete()


def test_settings_are_patched(client: gcs.Client) -> None:
    bucket = client.get_bucket("bkt")
    bucket.labels = {"a": "1"}
    bucket.versioning_enabled = True
    bucket.patch(if_metageneration_match=1)

    seen = client.get_bucket("bkt")
    assert (seen.labels, seen.versioning_enabled, seen.metageneration) == ({"a": "1"}, True, 2)
    with pytest.raises(api.PreconditionFailed):
        bucket.patch(if_metageneration_match=1)


def test_there_are_no_notification_configurations(bucket: gcs.Bucket) -> None:
    assert list(bucket.list_notifications()) == []


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"autoclass": {"enabled": True, "terminalStorageClass": "COLDLINE"}}, "terminalStorageClass: 'COLDLINE'"),
        (
            {"encryption": {"googleManagedEncryptionEnforcementConfig": {"restrictionMode": "Never"}}},
            "encryption.googleManagedEncryptionEnforcementConfig.restrictionMode: 'Never'",
        ),
        ({"encryption": {"googleManagedEncryptionEnforcementConfig": "x"}}, "restrictionMode: 'x'"),
    ],
)
def test_a_setting_that_there_is_not_is_refused(cloud: Cloud, settings: object, named: str) -> None:
    answer = requests.patch(f"{cloud.url}/storage/v1/b/bkt", json=settings, timeout=10)

    assert (answer.status_code, named in answer.json()["error"]["message"]) == (400, True)
