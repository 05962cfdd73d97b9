"""Are objects with a key of the customer's shown to nobody without it?"""

from __future__ import annotations

import os

import pytest
import requests
from google.api_core import exceptions as api
from google.cloud import storage as gcs

from tests.localcloud.storage.storage_cloud import Cloud

KEY, OTHER = os.urandom(32), os.urandom(32)
KMS_KEY = "projects/p/locations/us/keyRings/r/cryptoKeys/k"


def test_an_object_is_read_with_its_key(bucket: gcs.Bucket) -> None:
    bucket.blob("x", encryption_key=KEY).upload_from_string("secret")

    assert bucket.blob("x", encryption_key=KEY).download_as_bytes() == b"secret"
    with pytest.raises(api.BadRequest, match="is encrypted by a customer-supplied"):
        bucket.blob("x").download_as_bytes()
    with pytest.raises(api.BadRequest, match="is incorrect"):
        bucket.blob("x", encryption_key=OTHER).download_as_bytes()


def test_its_hashes_are_shown_to_those_with_the_key(bucket: gcs.Bucket) -> None:
    bucket.blob("x", encryption_key=KEY).upload_from_string("secret")

    seen, whole = bucket.get_blob("x"), bucket.get_blob("x", encryption_key=KEY)
    assert (seen.size, seen.crc32c, seen.md5_hash) == (6, None, None)
    assert None not in (whole.crc32c, whole.md5_hash)
    (listed,) = bucket.list_blobs()
    assert (listed.crc32c, listed._properties["customerEncryption"]["encryptionAlgorithm"]) == (None, "AES256")


def test_an_object_without_a_key_is_not_read_with_one(bucket: gcs.Bucket) -> None:
    bucket.blob("x").upload_from_string("plain")
    with pytest.raises(api.BadRequest, match="is not encrypted by a customer-supplied"):
        bucket.blob("x", encryption_key=KEY).download_as_bytes()


def test_a_key_is_rotated_and_handed_to_kms(bucket: gcs.Bucket) -> None:
    bucket.blob("x", encryption_key=KEY).upload_from_string("secret")
    rotated = bucket.blob("x", encryption_key=OTHER)
    assert rotated.rewrite(bucket.blob("x", encryption_key=KEY))[0] is None
    assert bucket.blob("x", encryption_key=OTHER).download_as_bytes() == b"secret"
    with pytest.raises(api.BadRequest, match="is incorrect"):
        bucket.blob("y").rewrite(bucket.blob("x", encryption_key=KEY))
    managed = bucket.blob("x", kms_key_name=KMS_KEY)
    managed.rewrite(bucket.blob("x", encryption_key=OTHER))

    assert managed.kms_key_name == f"{KMS_KEY}/cryptoKeyVersions/1"
    assert bucket.blob("x").download_as_bytes() == b"secret"


def test_components_are_not_joined_without_their_key(bucket: gcs.Bucket) -> None:
    for name in ("a", "b"):
        bucket.blob(name, encryption_key=KEY).upload_from_string(name)
    with pytest.raises(api.BadRequest, match="is encrypted"):
        bucket.blob("c").compose([bucket.blob("a"), bucket.blob("b")])


def test_a_bucket_has_a_default_key(bucket: gcs.Bucket) -> None:
    bucket.default_kms_key_name = KMS_KEY
    bucket.patch()
    blob = bucket.blob("x")
    blob.upload_from_string("1")

    assert blob.kms_key_name == f"{KMS_KEY}/cryptoKeyVersions/1"


@pytest.mark.parametrize("chunk_size", [None, 256 * 1024], ids=["at once", "in chunks"])
def test_a_moved_object_keeps_its_key(bucket: gcs.Bucket, chunk_size: int | None) -> None:
    data = b"x" * 300_000
    bucket.blob("x", encryption_key=KEY, chunk_size=chunk_size).upload_from_string(data)
    bucket.move_blob(bucket.blob("x"), "y")

    assert bucket.blob("y", encryption_key=KEY).download_as_bytes() == data


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"algorithm": "DES"}, "customerEncryptionAlgorithmIsInvalid"),
        ({"algorithm": "AES256", "key": "c2hvcnQ="}, "customerEncryptionKeyFormatIsInvalid"),
        ({"algorithm": "AES256", "key": "A" * 43 + "=", "key-sha256": "no"}, "customerEncryptionKeySha256IsInvalid"),
    ],
    ids=["algorithm", "key", "hash"],
)
def test_a_malformed_key_is_refused(cloud: Cloud, headers: dict[str, str], reason: str) -> None:
    url = f"{cloud.url}/upload/storage/v1/b/bkt/o?uploadType=media&name=x"
    sent = {f"x-goog-encryption-{name}": value for name, value in headers.items()}
    answer = requests.post(url, data=b"1", headers=sent, timeout=10)

    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, reason)
