"""Are objects written, read, changed and removed as Cloud Storage does it?"""

from __future__ import annotations

import gzip
import os

import pytest
import requests
from google.api_core import exceptions as api
from google.cloud import storage as gcs

from tests.localcloud.storage.storage_cloud import Cloud


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


def test_a_payload_may_contain_what_looks_like_a_boundary(bucket: gcs.Bucket) -> None:
    data = b"--===============\r\n\r\n--\r\n--==" * 5000 + b"\r\n"
    bucket.blob("x").upload_from_string(data)

    assert bucket.blob("x").download_as_bytes() == data


def test_a_media_upload_takes_name_and_type_from_the_request(cloud: Cloud, bucket: gcs.Bucket) -> None:
    answer = requests.post(
        f"{cloud.url}/upload/storage/v1/b/bkt/o?uploadType=media&name=a%2Fb",
        data=b"x",
        headers={"content-type": "text/css"},
        timeout=10,
    )

    assert answer.json()["name"] == "a/b"
    assert bucket.get_blob("a/b").content_type == "text/css"


def test_a_deleted_object_is_gone(bucket: gcs.Bucket) -> None:
    bucket.blob("x").upload_from_string("1")
    bucket.blob("x").delete()

    assert bucket.get_blob("x") is None
    with pytest.raises(api.NotFound, match="No such object: bkt/x"):
        bucket.blob("x").download_as_bytes()
    with pytest.raises(api.NotFound, match="No such object: bkt/x"):
        bucket.blob("x").delete()


def test_an_object_needs_a_bucket(client: gcs.Client) -> None:
    with pytest.raises(api.NotFound, match="bucket does not exist"):
        client.bucket("none").blob("x").upload_from_string("1")


def test_generations_grow_even_when_time_stands_still(frozen: Cloud) -> None:
    blob = frozen.client().bucket("bkt").blob("x")
    generations = []
    for _ in range(5):
        blob.upload_from_string("1")
        generations.append(blob.generation)

    assert generations == list(range(generations[0], generations[0] + 5))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 4, b"01234"), (5, None, b"56789"), (-3, None, b"789"), (8, 100, b"89"), (-100, None, b"0123456789")],
    ids=["first", "open-ended", "suffix", "beyond the end", "long suffix"],
)
def test_a_range_is_a_part(bucket: gcs.Bucket, start: int, end: int | None, expected: bytes) -> None:
    bucket.blob("x").upload_from_string("0123456789")

    assert bucket.blob("x").download_as_bytes(start=start, end=end, checksum=None) == expected


@pytest.mark.parametrize("size", [10, 100_000], ids=["in a row", "in a file"])
def test_a_range_names_its_place(cloud: Cloud, bucket: gcs.Bucket, size: int) -> None:
    bucket.blob("x").upload_from_string(b"x" * size)
    url = f"{cloud.url}/download/storage/v1/b/bkt/o/x?alt=media"

    part = requests.get(url, headers={"range": "bytes=2-4"}, timeout=10)
    assert (part.status_code, part.headers["content-range"], part.content) == (206, f"bytes 2-4/{size}", b"xxx")
    longer = requests.get(url, headers={"range": f"bytes=-{size + 90}"}, timeout=10)
    assert (longer.status_code, longer.headers["content-range"]) == (206, f"bytes 0-{size - 1}/{size}")
    assert longer.content == b"x" * size
    for nothing in (f"bytes={size}-", "bytes=-0"):
        beyond = requests.get(url, headers={"range": nothing}, timeout=10)
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    for nonsense in ("bytes=4-2", f"bytes={'9' * 5000}-"):
        whole = requests.get(url, headers={"range": nonsense}, timeout=10)
        assert (whole.status_code, len(whole.content)) == (200, size)


def test_a_download_tells_version_and_checksums(cloud: Cloud, bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.content_language = "en"
    blob.upload_from_string("hello")
    headers = requests.get(f"{cloud.url}/storage/v1/b/bkt/o/x?alt=media", timeout=10).headers

    assert headers["x-goog-generation"] == str(blob.generation)
    assert headers["x-goog-metageneration"] == "1"
    assert headers["x-goog-hash"] == f"crc32c={blob.crc32c},md5={blob.md5_hash}"
    assert headers["x-goog-stored-content-length"] == headers["content-length"] == "5"
    assert (headers["etag"], headers["content-language"]) == (blob.etag, "en")


def test_gzip_is_taken_off_for_those_who_do_not_accept_it(cloud: Cloud, bucket: gcs.Bucket) -> None:
    plain = os.urandom(1000) * 500
    packed = gzip.compress(plain[:300_000]) + gzip.compress(plain[300_000:])
    blob = bucket.blob("x")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed)
    url = f"{cloud.url}/storage/v1/b/bkt/o/x?alt=media"

    assert requests.get(url, headers={"accept-encoding": "identity"}, timeout=10).content == plain
    with requests.get(url, headers={"accept-encoding": "gzip"}, stream=True, timeout=10) as stored:
        assert (stored.raw.read(decode_content=False), stored.headers["content-encoding"]) == (packed, "gzip")
    assert blob.download_as_bytes(raw_download=True) == packed


def test_gzip_stays_where_the_object_is_not_to_be_transformed(cloud: Cloud, bucket: gcs.Bucket) -> None:
    packed = gzip.compress(b"plain")
    blob = bucket.blob("x")
    blob.content_encoding, blob.cache_control = "gzip", "no-transform"
    blob.upload_from_string(packed)
    url = f"{cloud.url}/storage/v1/b/bkt/o/x?alt=media"

    with requests.get(url, headers={"accept-encoding": "identity"}, stream=True, timeout=10) as stored:
        assert (stored.raw.read(decode_content=False), stored.headers["content-encoding"]) == (packed, "gzip")


def test_what_is_not_gzip_but_says_so_passes_as_it_is(cloud: Cloud, bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.content_encoding = "gzip"
    blob.upload_from_string(b"plain")
    url = f"{cloud.url}/storage/v1/b/bkt/o/x?alt=media"

    assert requests.get(url, headers={"accept-encoding": "identity"}, timeout=10).content == b"plain"


def test_a_patch_merges_metadata(bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.metadata = {"a": "1", "b": "2"}
    blob.upload_from_string("1", content_type="text/plain")
    blob.metadata = {"a": None, "c": "3"}
    blob.patch()

    seen = bucket.get_blob("x")
    assert (seen.metadata, seen.content_type, seen.metageneration) == ({"b": "2", "c": "3"}, "text/plain", 2)
    assert seen.generation == blob.generation


def test_an_update_replaces_metadata(bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.metadata, blob.cache_control = {"a": "1"}, "no-store"
    blob.upload_from_string("1")
    blob.metadata, blob.cache_control = {"c": "3"}, None
    blob.update()

    seen = bucket.get_blob("x")
    assert (seen.metadata, seen.cache_control) == ({"c": "3"}, None)


def test_metadata_has_a_limit(bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.metadata = {"k": "v" * 8191}
    blob.upload_from_string("1")
    blob.metadata = {"k": "v" * 8192}
    with pytest.raises(api.BadRequest, match="more than 8192"):
        blob.patch()


@pytest.mark.parametrize(
    "resource",
    [
        {"contentType": "text/plain\r\nx-evil: 1"},
        {"contentType": 3},
        {"metadata": {"k": 3}},
        {"metadata": []},
        {"temporaryHold": "yes"},
        {"customTime": "soon"},
        {"contexts": {"custom": {"k": {"value": "v"}}}},
        {"acl": [{"entity": "allUsers", "role": "KING"}]},
    ],
    ids=["header injection", "number", "metadata number", "metadata list", "flag", "time", "contexts", "acl"],
)
def test_malformed_metadata_is_refused(cloud: Cloud, bucket: gcs.Bucket, resource: object) -> None:
    bucket.blob("x").upload_from_string("1")
    answer = requests.patch(f"{cloud.url}/storage/v1/b/bkt/o/x", json=resource, timeout=10)

    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "invalid")


HUGE = "9" * 5000  # Python refuses to turn it into a number
DEEP = b'{"metadata":' + b"[" * 5000 + b"]" * 5000 + b"}"
MALFORMED = {
    "compose-destination": (
        "POST",
        "storage/v1/b/bkt/o/y/compose",
        {},
        b'{"sourceObjects":[{"name":"x"}],"destination":"y"}',
    ),
    "compose-conditions": (
        "POST",
        "storage/v1/b/bkt/o/y/compose",
        {},
        b'{"sourceObjects":[{"name":"x","objectPreconditions":"1"}]}',
    ),
    "versioning": ("PATCH", "storage/v1/b/bkt", {}, b'{"versioning":true}'),
    "nesting": ("PATCH", "storage/v1/b/bkt/o/x", {}, DEEP),
    "chunk": (
        "PUT",
        "upload/storage/v1/b/bkt/o?upload_id={session}",
        {"content-range": f"bytes 0-{HUGE}/*"},
        b"x",
    ),
    "batch": (
        "POST",
        "batch/storage/v1",
        {"content-type": "multipart/mixed; boundary=b"},
        b"--b\r\nContent-Type: application/http\r\n\r\nGET http://[ HTTP/1.1\r\n\r\n--b--\r\n",
    ),
}


@pytest.mark.parametrize(("method", "path", "headers", "body"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_requests_are_the_callers_error(
    cloud: Cloud, bucket: gcs.Bucket, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    bucket.blob("x").upload_from_string("1")
    begun = requests.post(f"{cloud.url}/upload/storage/v1/b/bkt/o?uploadType=resumable&name=z", json={}, timeout=10)
    path = path.replace("{session}", begun.headers["x-guploader-uploadid"])
    answer = requests.request(method, f"{cloud.url}/{path}", data=body, headers=headers, timeout=10)

    refused = answer.content.partition(b"\r\n\r\n")[2] if "batch" in path else answer.content
    assert b" 400 " in refused or (answer.status_code, answer.json()["error"]["code"]) == (400, 400)


@pytest.mark.parametrize("size", [10, 300_000], ids=["in a row", "in a file"])
def test_a_copy_outlives_its_source(cloud: Cloud, client: gcs.Client, bucket: gcs.Bucket, size: int) -> None:
    other = client.create_bucket("other")
    data = os.urandom(size)
    source = bucket.blob("x")
    source.metadata = {"k": "v"}
    source.upload_from_string(data, content_type="text/plain")
    bucket.copy_blob(source, other, "y/z")
    source.delete()

    copied = other.get_blob("y/z")
    assert (copied.download_as_bytes(), copied.content_type, copied.metadata) == (data, "text/plain", {"k": "v"})
    assert len(cloud.blob_files()) == (1 if size > 64 * 1024 else 0)


def test_a_rewrite_finishes_at_once(bucket: gcs.Bucket) -> None:
    source = bucket.blob("x")
    source.upload_from_string("12345", content_type="text/plain")
    target = bucket.blob("y")

    assert target.rewrite(source) == (None, 5, 5)
    assert (bucket.get_blob("y").content_type, target.generation > source.generation) == ("text/plain", True)


def test_metadata_given_to_a_rewrite_replaces_that_of_the_source(bucket: gcs.Bucket) -> None:
    source = bucket.blob("x")
    source.metadata = {"k": "v"}
    source.upload_from_string("1", content_type="text/plain")
    target = bucket.blob("y")
    target.metadata = {"l": "w"}
    target.rewrite(source)

    assert bucket.get_blob("y").metadata == {"l": "w"}


def test_a_large_rewrite_goes_on_by_a_token(client: gcs.Client, cloud: Cloud, bucket: gcs.Bucket) -> None:
    client.bucket("cold").create(location="EU")
    data = os.urandom(5 * 2**19)
    bucket.blob("x").upload_from_string(data)
    url = f"{cloud.url}/storage/v1/b/bkt/o/x/rewriteTo/b/cold/o/y?maxBytesRewrittenPerCall=1048576"
    steps = [requests.post(url, timeout=10).json()]
    while not steps[-1]["done"]:
        steps.append(requests.post(f"{url}&rewriteToken={steps[-1]['rewriteToken']}", timeout=10).json())

    assert [int(step["totalBytesRewritten"]) for step in steps] == [2**20, 2**21, len(data)]
    assert client.bucket("cold").blob("y").download_as_bytes() == data
    token = steps[0]["rewriteToken"]
    assert requests.post(f"{url.replace('o/y', 'o/z')}&rewriteToken={token}", timeout=10).status_code == 400
    assert requests.post(f"{url}0&rewriteToken=no", timeout=10).status_code == 400


def test_a_move_is_one_step(cloud: Cloud, bucket: gcs.Bucket) -> None:
    source = bucket.blob("x")
    source.metadata = {"k": "v"}
    source.upload_from_string(b"1" * 100_000)
    with pytest.raises(api.PreconditionFailed):
        bucket.move_blob(source, "y", if_source_generation_match=source.generation + 1)
    moved = bucket.move_blob(source, "a/y", if_generation_match=0)

    assert (moved.metadata, moved.generation > source.generation) == ({"k": "v"}, True)
    assert [blob.name for blob in bucket.list_blobs()] == ["a/y"]
    assert bucket.blob("a/y").download_as_bytes() == b"1" * 100_000
    assert [kind for kind, _ in cloud.events] == ["finalized", "finalized", "deleted"]
    assert len(cloud.blob_files()) == 1


def test_a_rename_moves_the_object(bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    bucket.rename_blob(blob, "y")

    assert bucket.get_blob("x") is None
    assert bucket.blob("y").download_as_bytes() == b"1"


def test_components_are_joined(bucket: gcs.Bucket) -> None:
    parts = [b"small", os.urandom(200_000), b""]
    blobs = [bucket.blob(f"part-{number}") for number in range(3)]
    for blob, data in zip(blobs, parts, strict=True):
        blob.upload_from_string(data)
    whole = bucket.blob("whole")
    whole.content_type = "text/plain"
    whole.compose(blobs)

    assert whole.download_as_bytes() == b"".join(parts)
    assert (whole.component_count, whole.md5_hash, whole.content_type) == (3, None, "text/plain")


def test_a_composition_of_compositions_counts_what_they_are_made_of(bucket: gcs.Bucket) -> None:
    for name in "ab":
        bucket.blob(name).upload_from_string(name)
    bucket.blob("pair").compose([bucket.blob("a"), bucket.blob("b")])
    three = bucket.blob("three")

    three.compose([bucket.blob("pair"), bucket.blob("a")])

    assert (three.component_count, three.download_as_bytes()) == (3, b"aba")


def test_a_composition_may_end_its_components(bucket: gcs.Bucket) -> None:
    for name in ("a", "b"):
        bucket.blob(name).upload_from_string(name)
    bucket.blob("b").compose([bucket.blob("a"), bucket.blob("b")], delete_source_objects=True)

    assert [blob.name for blob in bucket.list_blobs()] == ["b"]
    assert bucket.blob("b").download_as_bytes() == b"ab"


def test_a_composition_checks_its_components(bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    with pytest.raises(api.PreconditionFailed):
        bucket.blob("y").compose([blob], if_source_generation_match=[blob.generation + 1])
    with pytest.raises(api.NotFound):
        bucket.blob("y").compose([blob, bucket.blob("none")])
    with pytest.raises(api.BadRequest, match="not between 1 and 32"):
        bucket.blob("y").compose([blob] * 33)


def test_a_held_object_is_neither_deleted_nor_replaced(bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    blob.temporary_hold = True
    blob.patch()
    with pytest.raises(api.Forbidden, match="hold"):
        blob.delete()
    with pytest.raises(api.Forbidden, match="hold"):
        bucket.blob("x").upload_from_string("2")
    blob.temporary_hold = False
    blob.patch()
    blob.delete()


@pytest.mark.parametrize(
    "header",
    [{"x-goog-hash": "crc32c=AAAAAA=="}, {"x-goog-hash": "md5=AAAAAA=="}, {"content-md5": "AAAAAA=="}],
    ids=["crc32c", "md5", "Content-MD5"],
)
def test_a_wrong_checksum_is_refused(cloud: Cloud, bucket: gcs.Bucket, header: dict[str, str]) -> None:
    url = f"{cloud.url}/upload/storage/v1/b/bkt/o?uploadType=media&name=x"
    answer = requests.post(url, data=b"1" * 300_000, headers=header, timeout=10)

    assert (answer.status_code, bucket.get_blob("x"), cloud.blob_files()) == (400, None, [])
    assert "doesn't match calculated" in answer.json()["error"]["message"]


def test_replaced_payloads_do_not_stay(cloud: Cloud, bucket: gcs.Bucket) -> None:
    for _ in range(3):
        bucket.blob("x").upload_from_string(b"1" * 100_000)
    assert len(cloud.blob_files()) == 1
    bucket.blob("x").delete()

    assert cloud.blob_files() == []


def test_a_batch_answers_each_call_by_itself(client: gcs.Client, bucket: gcs.Bucket) -> None:
    blobs = [bucket.blob(name) for name in ("a", "b/ü", "c")]
    for blob in blobs:
        blob.upload_from_string("1")
    blobs[2].metadata = {"k": "ö"}
    with client.batch(raise_exception=False) as batch:
        blobs[0].delete()
        blobs[1].delete(if_generation_match=1)
        blobs[2].patch()
        bucket.blob("none").delete()

    assert [answer.status_code for answer in batch._responses] == [204, 412, 200, 404]
    assert [blob.name for blob in bucket.list_blobs()] == ["b/ü", "c"]
    assert bucket.get_blob("c").metadata == {"k": "ö"}


def test_unknown_paths_get_an_error_in_googles_shape(cloud: Cloud) -> None:
    answer = requests.get(f"{cloud.url}/storage/v1/b/bkt/anywhereCaches", timeout=10)

    assert answer.status_code == 404
    assert answer.json()["error"]["errors"][0] == {
        "message": answer.json()["error"]["message"],
        "domain": "global",
        "reason": "notFound",
    }
