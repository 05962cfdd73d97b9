"""What lists show from what they have put together before."""

from __future__ import annotations

import msgspec
import pytest
from google.cloud import storage as gcs

from localcloud.storage import rendering
from localcloud.storage.rendering import Rendered
from tests.localcloud.storage.storage_cloud import Cloud


def test_a_list_shows_what_has_changed_since_the_last_one(bucket: gcs.Bucket) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"x")
    assert [(found.metageneration, found.metadata) for found in bucket.list_blobs()] == [(1, None)]

    blob.metadata = {"color": "blue"}
    blob.patch()

    assert [(found.metageneration, found.metadata) for found in bucket.list_blobs()] == [(2, {"color": "blue"})]


def test_what_lists_have_shown_is_what_a_get_shows(bucket: gcs.Bucket) -> None:
    blob = bucket.blob('with "quotes", \u00fc and a/slash')
    blob.metadata = {"color": "blue"}
    blob.upload_from_string(b"x", content_type="text/plain")

    first, second = (next(iter(bucket.list_blobs()))._properties for _ in range(2))
    blob.reload()

    assert first == second == blob._properties


def test_only_so_many_objects_are_kept_ready(cloud: Cloud, bucket: gcs.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcd":
        bucket.blob(name).upload_from_string(b"x")
    items = [cloud.call(lambda name=name: cloud.storage.object("bkt", name)) for name in "abcd"]
    monkeypatch.setattr(rendering, "KEPT", 3)
    rendered = Rendered(cloud.url)

    shown = [rendered.json(item) for item in items]

    assert [msgspec.json.decode(each)["name"] for each in shown] == list("abcd")
    assert rendered.json(items[3]) is shown[3], "the last one is ready"
    assert rendered.json(items[0]) is not shown[0], "the first one is not"


def test_a_list_does_not_show_the_hashes_of_what_is_encrypted_with_the_callers_key(bucket: gcs.Bucket) -> None:
    bucket.blob("secret", encryption_key=b"k" * 32).upload_from_string(b"x")
    bucket.blob("plain").upload_from_string(b"x")

    assert [(found.name, found.md5_hash is None) for found in bucket.list_blobs()] == [
        ("plain", False),
        ("secret", True),
    ]


def test_a_list_tells_until_when_a_policy_set_since_then_keeps_objects(bucket: gcs.Bucket) -> None:
    bucket.blob("a").upload_from_string(b"x")
    assert [found.retention_expiration_time for found in bucket.list_blobs()] == [None]

    bucket.reload()
    bucket.retention_period = 60
    bucket.patch()

    (found,) = bucket.list_blobs()
    assert found.retention_expiration_time is not None
