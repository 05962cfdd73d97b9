"""Do the flows of google-cloud-storage's public samples work, one after the other, as a reader would try them?

https://cloud.google.com/storage/docs/samples
"""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from google.api_core import exceptions as api
from google.cloud import storage as gcs
from google.cloud.storage import transfer_manager
from google.cloud.storage.bucket import EncryptionEnforcementConfig
from google.cloud.storage.fileio import BlobReader

from tests.localcloud.storage.storage_cloud import Cloud


def test_buckets(client: gcs.Client) -> None:
    bucket = client.bucket("sample-bucket")
    bucket.storage_class = "COLDLINE"
    bucket = client.create_bucket(bucket, location="us")
    dual = client.create_bucket("dual-region", location="us", data_locations=["US-EAST1", "US-WEST1"])
    assert (bucket.storage_class, bucket.location, bucket.location_type) == ("COLDLINE", "US", "multi-region")
    assert (dual.location_type, dual.data_locations) == ("dual-region", ["US-EAST1", "US-WEST1"])
    turbo = client.create_bucket("turbo", location="NAM4")
    assert turbo.rpo == "DEFAULT"
    turbo.rpo = "ASYNC_TURBO"
    turbo.patch()
    assert client.get_bucket("turbo").rpo == "ASYNC_TURBO"
    assert {found.name for found in client.list_buckets()} >= {"sample-bucket", "dual-region", "turbo"}
    bucket = client.get_bucket("sample-bucket")
    assert (bucket.exists(), bucket.time_created is not None, bucket.project_number) == (True, True, 1)
    bucket.delete(force=True)
    assert client.lookup_bucket("sample-bucket") is None


def test_settings_of_a_bucket(client: gcs.Client) -> None:
    bucket = client.get_bucket("bkt")
    bucket.labels = {"team": "blue"}
    bucket.cors = [{"origin": ["*"], "responseHeader": ["Content-Type"], "method": ["PUT"], "maxAgeSeconds": 3600}]
    bucket.storage_class = "NEARLINE"
    bucket.requester_pays = True
    bucket.default_kms_key_name = "projects/p/locations/us/keyRings/r/cryptoKeys/k"
    bucket.autoclass_enabled = True
    bucket.versioning_enabled = True
    bucket.iam_configuration.public_access_prevention = "enforced"
    bucket.configure_website("index.html", "404.html")
    bucket.enable_logging("bkt", object_prefix="log")
    bucket.patch()
    seen = client.get_bucket("bkt")
    assert (seen.labels, seen.storage_class, seen.requester_pays) == ({"team": "blue"}, "NEARLINE", True)
    assert seen.cors[0]["maxAgeSeconds"] == 3600
    assert (seen.autoclass_enabled, seen.versioning_enabled) == (True, True)
    assert seen.iam_configuration.public_access_prevention == "enforced"
    assert seen.get_logging()["logBucket"] == "bkt"
    labels = seen.labels
    del labels["team"]
    seen.labels, seen.cors, seen.default_kms_key_name = labels, [], None
    seen.patch()
    seen = client.get_bucket("bkt")
    assert (seen.labels, seen.cors, seen.default_kms_key_name) == ({}, [], None)


def test_what_a_bucket_demands_of_the_encryption_of_its_objects(client: gcs.Client) -> None:
    bucket = client.get_bucket("bkt")
    bucket.encryption.google_managed_encryption_enforcement_config = EncryptionEnforcementConfig("FullyRestricted")
    bucket.encryption.customer_managed_encryption_enforcement_config = EncryptionEnforcementConfig("NotRestricted")
    bucket.patch()
    seen = client.get_bucket("bkt").encryption
    assert seen.google_managed_encryption_enforcement_config.restriction_mode == "FullyRestricted"
    assert seen.customer_managed_encryption_enforcement_config.restriction_mode == "NotRestricted"
    assert seen.google_managed_encryption_enforcement_config.effective_time is not None


def test_storage_classes_change_by_themselves(client: gcs.Client) -> None:
    bucket = client.get_bucket("bkt")
    bucket.autoclass_enabled = True
    bucket.patch()
    seen = client.get_bucket("bkt")
    assert (seen.autoclass_enabled, seen.autoclass_terminal_storage_class) == (True, "NEARLINE")
    assert seen.autoclass_toggle_time is not None
    seen.autoclass_terminal_storage_class = "ARCHIVE"
    seen.patch()
    changed = client.get_bucket("bkt")
    assert changed.autoclass_terminal_storage_class == "ARCHIVE"
    assert changed.autoclass_terminal_storage_class_update_time >= seen.autoclass_toggle_time
    assert changed.autoclass_toggle_time == seen.autoclass_toggle_time
    changed.autoclass_enabled = False
    changed.patch()
    assert client.get_bucket("bkt").autoclass_terminal_storage_class is None


def test_buckets_of_regions_that_answer(client: gcs.Client) -> None:
    assert [bucket.name for bucket in client.list_buckets(return_partial_success=True)] == ["bkt"]


def test_lifecycle_rules_of_a_bucket(client: gcs.Client) -> None:
    bucket = client.get_bucket("bkt")
    bucket.add_lifecycle_delete_rule(age=2)
    bucket.add_lifecycle_abort_incomplete_multipart_upload_rule(age=1)
    bucket.add_lifecycle_set_storage_class_rule("COLDLINE", matches_storage_class=["NEARLINE"])
    bucket.patch()
    assert len(list(client.get_bucket("bkt").lifecycle_rules)) == 3
    bucket.clear_lifecycle_rules()
    bucket.patch()
    assert list(client.get_bucket("bkt").lifecycle_rules) == []


def test_uploads_and_downloads(bucket: gcs.Bucket, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"content" * 1000)
    blob = bucket.blob("file")
    blob.upload_from_filename(str(source), if_generation_match=0)
    blob.download_to_filename(str(target))
    assert target.read_bytes() == source.read_bytes()
    bucket.blob("memory").upload_from_string("text")
    assert bucket.blob("memory").download_as_text() == "text"
    with source.open("rb") as stream:
        bucket.blob("stream").upload_from_file(stream, rewind=True)
    buffer = io.BytesIO()
    bucket.blob("stream").download_to_file(buffer)
    assert buffer.getvalue() == source.read_bytes()
    part = io.BytesIO()
    bucket.blob("stream").download_to_file(part, start=7, end=13, checksum=None)
    assert part.getvalue() == b"content"
    with bucket.blob("lines").open("w") as writer:
        writer.write("one\ntwo\n")
    with bucket.blob("lines").open("r") as reader:
        assert reader.readlines() == ["one\n", "two\n"]
    reader = BlobReader(bucket.blob("file"), chunk_size=1000)
    assert (reader.seek(6990), reader.read(7)) == (6990, b"entcont")
    session = bucket.blob("session").create_resumable_upload_session(content_type="text/plain", size=4)
    assert requests.put(session, data=b"body", timeout=10).status_code == 200


def test_many_uploads_and_downloads(bucket: gcs.Bucket, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}").write_text(f"{number}")
    options = {"worker_type": transfer_manager.THREAD, "max_workers": 2}
    paths = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.iterdir())]
    transfer_manager.upload_many_from_filenames(bucket, paths, source_directory=str(tmp_path), **options)
    (tmp_path / "down").mkdir()
    transfer_manager.download_many_to_path(bucket, paths, destination_directory=str(tmp_path / "down"), **options)
    assert [(tmp_path / "down" / path).read_text() for path in paths] == ["0", "1", "2"]


def test_objects(bucket: gcs.Bucket, client: gcs.Client) -> None:
    blob = bucket.blob("dir/x")
    blob.metadata = {"color": "red"}
    blob.upload_from_string("1")
    blob = bucket.get_blob("dir/x")
    assert (blob.id, blob.size, blob.media_link is not None) == (f"bkt/dir/x/{blob.generation}", 1, True)
    blob.metadata = {"name": "test"}
    blob.content_disposition = "inline"
    blob.custom_time = blob.time_created
    blob.patch(if_metageneration_match=blob.metageneration)
    client.create_bucket("archive")
    copied = bucket.copy_blob(blob, client.bucket("archive"), "copy", if_generation_match=0)
    assert copied.metadata == {"color": "red", "name": "test"}
    bucket.delete_blob("dir/x", if_generation_match=blob.generation)
    moved = client.bucket("archive").rename_blob(copied, "moved")
    assert client.bucket("archive").move_blob(moved, "again").name == "again"
    blob = client.bucket("archive").get_blob("again")
    blob.update_storage_class("NEARLINE")
    assert client.bucket("archive").get_blob("again").storage_class == "NEARLINE"
    composed = client.bucket("archive").blob("composed")
    composed.compose([blob, blob])
    assert composed.download_as_bytes() == b"11"
    assert [found.name for found in client.list_blobs("archive", prefix="a", delimiter="/")] == ["again"]
    blobs = client.batch()
    with blobs:
        for name in ("again", "composed"):
            client.bucket("archive").blob(name).patch()
    client.bucket("archive").delete_blobs(["again", "composed"])
    with pytest.raises(api.NotFound):
        client.bucket("archive").delete_blob("again")


def test_versions(client: gcs.Client, bucket: gcs.Bucket) -> None:
    bucket.versioning_enabled = True
    bucket.patch()
    for text in ("1", "2"):
        bucket.blob("x").upload_from_string(text)
    first, second = bucket.list_blobs(versions=True)
    copied = bucket.copy_blob(bucket.blob("x"), bucket, "y", source_generation=first.generation)
    assert copied.download_as_bytes() == b"1"
    bucket.delete_blob("x", generation=first.generation)
    assert [blob.generation for blob in bucket.list_blobs(prefix="x", versions=True)] == [second.generation]


def test_holds_and_retention(frozen: Cloud) -> None:
    bucket = frozen.client().get_bucket("bkt")
    bucket.default_event_based_hold = True
    bucket.retention_period = 60
    bucket.patch()
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    for hold in ("temporary_hold", "event_based_hold"):
        setattr(blob, hold, True)
        blob.patch()
        setattr(blob, hold, False)
        blob.patch()
    assert blob.retention_expiration_time is not None
    bucket.lock_retention_policy()
    frozen.clock.advance(seconds=61)
    blob.delete()
    assert bucket.get_blob("x") is None


def test_public_and_shared(cloud: Cloud, bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    blob.make_public()
    assert requests.get(blob.public_url, timeout=10).text == "1"
    signing = cloud.signing_client().bucket("bkt").blob("x")
    url = signing.generate_signed_url(version="v4", expiration=timedelta(minutes=15), method="GET")
    assert requests.get(url, timeout=10).text == "1"
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"allUsers"}})
    bucket.set_iam_policy(policy)
    assert any("allUsers" in binding["members"] for binding in bucket.get_iam_policy().bindings)
    bucket.acl.all().grant_read()
    bucket.acl.save()
    assert "allUsers" in {entry["entity"] for entry in bucket.acl}
