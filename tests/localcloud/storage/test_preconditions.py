"""Is a change made only on the conditions its caller names?"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from google.api_core import exceptions as api
from google.cloud import storage as gcs
from google.cloud.storage.exceptions import InvalidResponse

from localcloud.faults import Fault
from tests.localcloud.storage.storage_cloud import Cloud

THREADS = 16


def test_absent_means_generation_zero(bucket: gcs.Bucket) -> None:
    bucket.blob("x").upload_from_string("1", if_generation_match=0)
    with pytest.raises(api.PreconditionFailed):
        bucket.blob("x").upload_from_string("2", if_generation_match=0)
    with pytest.raises(api.PreconditionFailed):
        bucket.blob("y").upload_from_string("2", if_generation_not_match=0)

    assert bucket.blob("x").download_as_bytes() == b"1"


CHANGES: dict[str, Callable[[gcs.Bucket, dict[str, int]], Any]] = {
    "insert": lambda bucket, conditions: bucket.blob("x").upload_from_string("2", **conditions),
    "delete": lambda bucket, conditions: bucket.blob("x").delete(**conditions),
    "patch": lambda bucket, conditions: bucket.blob("x").patch(**conditions),
    "update": lambda bucket, conditions: bucket.blob("x").update(**conditions),
    "rewrite": lambda bucket, conditions: bucket.blob("x").rewrite(bucket.blob("source"), **conditions),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(
    ("condition", "offset", "holds"),
    [
        ("if_generation_match", 0, True),
        ("if_generation_match", 1, False),
        ("if_generation_not_match", 0, False),
        ("if_generation_not_match", 1, True),
        ("if_metageneration_match", 0, True),
        ("if_metageneration_match", 1, False),
        ("if_metageneration_not_match", 0, False),
        ("if_metageneration_not_match", 1, True),
    ],
)
def test_a_change_is_made_where_its_condition_holds(
    bucket: gcs.Bucket, change: Callable[..., Any], condition: str, offset: int, holds: bool
) -> None:
    if change is CHANGES["insert"] and condition == "if_metageneration_not_match":
        pytest.skip("the client misspells this parameter of uploads: ifMetaGenerationNotMatch")
    bucket.blob("source").upload_from_string("s")
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    value = (blob.metageneration if "meta" in condition else blob.generation) + offset
    if holds:
        change(bucket, {condition: value})
    else:
        with pytest.raises(api.PreconditionFailed):
            change(bucket, {condition: value})


def test_a_source_is_copied_on_its_conditions(bucket: gcs.Bucket) -> None:
    source = bucket.blob("x")
    source.upload_from_string("1")
    with pytest.raises(api.PreconditionFailed):
        bucket.blob("y").rewrite(source, if_source_generation_match=source.generation + 1)
    with pytest.raises(api.PreconditionFailed):
        bucket.copy_blob(source, bucket, "y", if_source_metageneration_match=2)

    bucket.copy_blob(source, bucket, "y", if_source_metageneration_match=1)


def test_a_composition_has_conditions(bucket: gcs.Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    bucket.blob("y").compose([blob], if_generation_match=0)
    with pytest.raises(api.PreconditionFailed):
        bucket.blob("y").compose([blob], if_generation_match=0)


@pytest.mark.parametrize("path", ["storage/v1/b/bkt/o/x", "storage/v1/b/bkt/o/x?alt=media"], ids=["metadata", "media"])
def test_a_reader_learns_that_nothing_changed(cloud: Cloud, bucket: gcs.Bucket, path: str) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("1")

    def get(query: str = "", headers: dict[str, str] | None = None) -> int:
        url = f"{cloud.url}/{path}{'&' if '?' in path else '?'}{query}"
        return requests.get(url, headers=headers, timeout=10).status_code

    assert get(f"ifGenerationNotMatch={blob.generation}") == 304
    assert get("ifMetagenerationNotMatch=1") == 304
    assert get(f"ifGenerationMatch={blob.generation + 1}") == 412
    assert get(headers={"if-none-match": blob.etag}) == 304
    assert get(headers={"if-match": "other"}) == 412
    assert get(headers={"if-match": blob.etag}) == 200
    assert get("ifGenerationMatch=many") == 400


def test_a_resumable_upload_keeps_its_condition_to_the_end(bucket: gcs.Bucket) -> None:
    file = bucket.blob("x", chunk_size=256 * 1024).open("wb", if_generation_match=0)
    file.write(b"1" * 600 * 1024)
    bucket.blob("x").upload_from_string("first")
    with pytest.raises(InvalidResponse, match="412"):
        file.close()

    assert bucket.blob("x").download_as_bytes() == b"first"


def test_of_many_creates_one_wins(cloud: Cloud) -> None:
    def create(number: int) -> int:
        try:
            blob = cloud.client().bucket("bkt").blob("x")
            blob.upload_from_string(str(number), if_generation_match=0)
        except api.PreconditionFailed:
            return 0
        return int(blob.generation)

    with ThreadPoolExecutor(THREADS) as pool:
        generations = [generation for generation in pool.map(create, range(THREADS)) if generation]

    assert generations == [cloud.client().bucket("bkt").get_blob("x").generation]


def test_no_increment_is_lost_under_compare_and_set(cloud: Cloud, bucket: gcs.Bucket) -> None:
    bucket.blob("n").upload_from_string("0")

    def increment(_: int) -> None:
        mine = cloud.client().bucket("bkt")
        while True:
            seen = mine.blob("n")
            number = int(seen.download_as_bytes())
            try:
                mine.blob("n").upload_from_string(str(number + 1), if_generation_match=seen.generation)
            except api.PreconditionFailed:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(increment, range(12)))

    assert bucket.blob("n").download_as_bytes() == b"12"


def test_a_client_that_retries_a_lost_response_is_told_that_it_lost(cloud: Cloud, bucket: gcs.Bucket) -> None:
    cloud.faults.add(Fault("storage.objects.insert", "bkt/x", action="fail_after", status=503))
    with pytest.raises(api.PreconditionFailed):
        bucket.blob("x").upload_from_string("mine", if_generation_match=0)

    assert bucket.blob("x").download_as_bytes() == b"mine"
