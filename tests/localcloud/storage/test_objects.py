"""Are objects written, read, changed and removed as Cloud Storage does it?"""

from __future__ import annotations

import os

import pytest
from google.api_core import exceptions as api
from google.cloud import storage as gcs


def test_what_is_uploaded_is_downloaded(bucket: gcs.Bucket) -> None:
    blob = bucket.blob("a/b.txt")
    blob.metadata = {"k": "v"}
    blob.upload_from_string(b"hello", content_type="text/plain")

    seen = bucket.get_blob("a/b.txt")
    assert seen.download_as_bytes() == b"hello"
    assert (seen.size, seen.content_type, seen.metadata, seen.metageneration) == (5, "text/plain", {"k": "v"}, 1)


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 3 * 2**20 + 7])
def test_payloads_of_every_size_come_back_whole(bucket: gcs.Bucket, size: int) -> None:
    data = os.urandom(size)
    bucket.blob("x").upload_from_string(data)

    assert bucket.blob("x").download_as_bytes() == data


def test_chunks_of_a_resumable_upload_make_one_object(bucket: gcs.Bucket) -> None:
    data = os.urandom(2**20 + 5)
    with bucket.blob("x", chunk_size=256 * 1024).open("wb") as file:
        file.write(data)

    assert bucket.blob("x").download_as_bytes() == data


def test_only_one_create_wins(bucket: gcs.Bucket) -> None:
    bucket.blob("x").upload_from_string("1", if_generation_match=0)
    with pytest.raises(api.PreconditionFailed):
        bucket.blob("x").upload_from_string("2", if_generation_match=0)


def test_a_deleted_object_is_gone(bucket: gcs.Bucket) -> None:
    bucket.blob("x").upload_from_string("1")
    bucket.blob("x").delete()

    assert bucket.get_blob("x") is None
    with pytest.raises(api.NotFound):
        bucket.blob("x").download_as_bytes()
    with pytest.raises(api.NotFound):
        bucket.blob("x").delete()


def test_objects_are_listed_in_name_order(client: gcs.Client, bucket: gcs.Bucket) -> None:
    for name in ("b", "a/2", "a/1"):
        bucket.blob(name).upload_from_string("1")

    assert [blob.name for blob in client.list_blobs("bkt", page_size=1)] == ["a/1", "a/2", "b"]
