"""Does an object that is uploaded in parts come together, and does an unfinished one go?"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
import requests
from google.cloud import storage as gcs
from google.cloud.storage import transfer_manager

from localcloud.faults import Fault
from tests.localcloud.storage.storage_cloud import Cloud

MIB = 2**20
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def begin(cloud: Cloud, name: str = "x") -> str:
    """The URL of a new upload."""
    answer = requests.post(f"{cloud.url}/bkt/{name}?uploads", timeout=10)
    id_ = ElementTree.fromstring(answer.content).findtext(f"{NAMESPACE}UploadId")
    return f"{cloud.url}/bkt/{name}?uploadId={id_}"


def put(upload: str, number: int, data: bytes, **headers: str) -> requests.Response:
    return requests.put(f"{upload}&partNumber={number}", data=data, headers=headers, timeout=10)


def complete(upload: str, parts: list[tuple[int, str]]) -> requests.Response:
    listed = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in parts)
    return requests.post(upload, data=f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>", timeout=10)


def code(answer: requests.Response) -> tuple[int, str | None]:
    return answer.status_code, ElementTree.fromstring(answer.content).findtext("Code")


def test_the_transfer_manager_uploads_and_downloads_in_chunks(cloud: Cloud, bucket: gcs.Bucket, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(11 * MIB))
    blob = bucket.blob("a/b c")
    blob.metadata, blob.cache_control = {"k": "v"}, "no-store"
    options = {"worker_type": transfer_manager.THREAD, "max_workers": 2, "chunk_size": 5 * MIB}
    transfer_manager.upload_chunks_concurrently(str(source), blob, content_type="text/css", **options)
    transfer_manager.download_chunks_concurrently(blob, str(target), **options)

    seen = bucket.get_blob("a/b c")
    assert target.read_bytes() == source.read_bytes()
    assert (seen.content_type, seen.metadata, seen.cache_control) == ("text/css", {"k": "v"}, "no-store")
    assert (seen.md5_hash, len(cloud.blob_files())) == (None, 1)
    assert [kind for kind, _ in cloud.events] == ["finalized"]


def test_faults_on_the_way_are_retried(cloud: Cloud, bucket: gcs.Bucket, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(6 * MIB))
    for verb in ("create", "uploadPart", "complete"):
        cloud.faults.add(Fault(f"storage.multipartUploads.{verb}", "bkt/x"))
    options = {"worker_type": transfer_manager.THREAD, "max_workers": 1, "chunk_size": 5 * MIB}
    transfer_manager.upload_chunks_concurrently(str(source), bucket.blob("x"), **options)

    assert (cloud.faults.standing(), bucket.get_blob("x").size) == ([], 6 * MIB)


def test_a_part_sent_again_counts(cloud: Cloud, bucket: gcs.Bucket) -> None:
    upload = begin(cloud)
    put(upload, 1, b"1" * 100_000)
    etag = put(upload, 1, b"2" * 100_000).headers["etag"]

    assert complete(upload, [(1, etag)]).status_code == 200
    assert bucket.blob("x").download_as_bytes() == b"2" * 100_000
    assert len(cloud.blob_files()) == 1
    assert code(complete(upload, [(1, etag)])) == (404, "NoSuchUpload")


def test_parts_that_do_not_fit_are_refused(cloud: Cloud, bucket: gcs.Bucket) -> None:
    upload = begin(cloud)
    first, second = (put(upload, number, b"x").headers["etag"] for number in (1, 2))

    assert code(complete(upload, [(1, first), (2, second)])) == (400, "EntityTooSmall")
    assert code(complete(upload, [(2, second), (1, first)])) == (400, "InvalidPartOrder")
    assert code(complete(upload, [])) == (400, "InvalidPartOrder")
    assert code(complete(upload, [(3, first)])) == (400, "InvalidPart")
    assert code(complete(upload, [(1, "other")])) == (400, "InvalidPart")
    assert code(put(upload, 0, b"x")) == (400, "InvalidArgument")
    assert code(put(upload, 1, b"x", **{"x-goog-hash": "crc32c=AAAAAA=="})) == (400, "BadDigest")
    for body in (b"<a", b"<!DOCTYPE a>", b"<a><Part><PartNumber>x</PartNumber></Part></a>"):
        answer = requests.post(upload, data=body, timeout=10)
        assert code(answer) == (400, "MalformedCompleteMultipartUploadRequest")
    assert bucket.get_blob("x") is None


def test_an_upload_is_aborted(cloud: Cloud) -> None:
    upload = begin(cloud)
    put(upload, 1, b"x" * 100_000)

    assert len(cloud.blob_files()) == 1
    assert requests.delete(upload, timeout=10).status_code == 204
    assert code(requests.delete(upload, timeout=10)) == (404, "NoSuchUpload")
    assert cloud.blob_files() == []


def test_a_lifecycle_rule_aborts_what_is_never_completed(frozen: Cloud) -> None:
    rule = {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 2, "matchesPrefix": ["x"]}}
    requests.patch(f"{frozen.url}/storage/v1/b/bkt", json={"lifecycle": {"rule": [rule]}}, timeout=10)
    forgotten, other = begin(frozen), begin(frozen, "y")
    put(forgotten, 1, b"x" * 100_000)
    frozen.clock.advance(hours=48)

    assert code(put(forgotten, 2, b"x")) == (404, "NoSuchUpload")
    assert put(other, 1, b"x").status_code == 200
    assert frozen.blob_files() == []


@pytest.mark.parametrize("size", [10, 100_000], ids=["in rows", "in files"])
def test_an_upload_goes_on_after_a_restart(start_cloud: Callable[..., Cloud], tmp_path: Path, size: int) -> None:
    cloud = start_cloud(tmp_path)
    upload = begin(cloud)
    etag = put(upload, 1, b"1" * size).headers["etag"]
    cloud.stop()
    again = start_cloud(tmp_path)

    assert complete(upload, [(1, etag)]).status_code == 200
    assert again.client().bucket("bkt").blob("x").download_as_bytes() == b"1" * size
