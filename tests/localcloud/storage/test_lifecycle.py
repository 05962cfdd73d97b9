"""Do lifecycle rules delete and move what they name, when they are due?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from google.cloud import storage as gcs

from localcloud.clock import Clock
from localcloud.storage import sweeper
from tests.localcloud.storage.storage_cloud import Cloud

DAY_H = 24


@pytest.fixture
def bucket(frozen: Cloud) -> gcs.Bucket:
    """The bucket `bkt` of a cloud whose clock stands still."""
    return frozen.client().get_bucket("bkt")


def rule(bucket: gcs.Bucket, **conditions: Any) -> None:
    bucket.add_lifecycle_delete_rule(**conditions)
    bucket.patch()


def names(bucket: gcs.Bucket) -> list[str]:
    return [blob.name for blob in bucket.list_blobs()]


def test_objects_are_deleted_at_an_age(frozen: Cloud, bucket: gcs.Bucket) -> None:
    rule(bucket, age=3)
    bucket.blob("old").upload_from_string("1")
    frozen.clock.advance(hours=2 * DAY_H)
    bucket.blob("young").upload_from_string("1")
    assert names(bucket) == ["old", "young"]
    frozen.clock.advance(hours=DAY_H)

    assert names(bucket) == ["young"]
    assert [kind for kind, _ in frozen.events] == ["finalized", "finalized", "deleted"]


def test_each_condition_narrows_the_rule(frozen: Cloud, bucket: gcs.Bucket) -> None:
    rule(bucket, age=1, matches_prefix=["tmp/", "log/"], matches_suffix=[".txt"])
    for name in ("tmp/a.txt", "log/b.txt", "tmp/c.bin", "d.txt"):
        bucket.blob(name).upload_from_string("1")
    frozen.clock.advance(hours=DAY_H)

    assert names(bucket) == ["d.txt", "tmp/c.bin"]


def today(cloud: Cloud) -> date:
    return cloud.clock.now().date()


@pytest.mark.parametrize(
    ("conditions", "goes"),
    [
        ({"created_before": timedelta(days=1)}, True),
        ({"created_before": timedelta(0)}, False),
        ({"custom_time_before": timedelta(days=-1)}, True),
        ({"custom_time_before": timedelta(days=-3)}, False),
        ({"days_since_custom_time": 2}, True),
        ({"days_since_custom_time": 9}, False),
        ({"matches_storage_class": ["NEARLINE", "STANDARD"]}, True),
        ({"matches_storage_class": ["ARCHIVE"]}, False),
        ({"is_live": True, "age": 0}, True),
        ({"is_live": False}, False),
        ({"number_of_newer_versions": 1}, False),
        ({"days_since_noncurrent_time": 0}, False),
    ],
    ids=str,
)
def test_a_condition_holds_or_not(frozen: Cloud, bucket: gcs.Bucket, conditions: dict[str, Any], goes: bool) -> None:
    moment = {name: today(frozen) + value for name, value in conditions.items() if isinstance(value, timedelta)}
    rule(bucket, **{**conditions, **moment})
    blob = bucket.blob("x")
    blob.custom_time = frozen.clock.now() - timedelta(days=2)
    blob.upload_from_string("1")
    frozen.clock.advance(hours=1)

    assert names(bucket) == ([] if goes else ["x"])


def test_noncurrent_versions_go_by_number_and_time(frozen: Cloud, bucket: gcs.Bucket) -> None:
    bucket.versioning_enabled = True
    bucket.add_lifecycle_delete_rule(number_of_newer_versions=2)
    bucket.add_lifecycle_delete_rule(days_since_noncurrent_time=5, is_live=False)
    bucket.patch()
    blob = bucket.blob("x")
    generations = []
    for _ in range(4):
        blob.upload_from_string("1")
        generations.append(blob.generation)

    def left() -> list[int]:
        return [found.generation for found in bucket.list_blobs(versions=True)]

    frozen.clock.advance(hours=1)
    assert left() == generations[2:]
    frozen.clock.advance(hours=5 * DAY_H)
    assert left() == generations[3:]


def test_a_live_version_becomes_noncurrent_first(frozen: Cloud, bucket: gcs.Bucket) -> None:
    bucket.versioning_enabled = True
    rule(bucket, age=1, is_live=True)
    bucket.blob("x").upload_from_string("1")
    frozen.clock.advance(hours=DAY_H)

    assert (names(bucket), len(list(bucket.list_blobs(versions=True)))) == ([], 1)


def test_the_storage_class_gets_colder(frozen: Cloud, bucket: gcs.Bucket) -> None:
    bucket.add_lifecycle_set_storage_class_rule("NEARLINE", age=1)
    bucket.add_lifecycle_set_storage_class_rule("ARCHIVE", age=3)
    bucket.patch()
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    generation = blob.generation

    seen = []
    for _ in range(4):
        frozen.clock.advance(hours=DAY_H)
        blob.reload()
        seen.append((blob.storage_class, blob.metageneration))
    assert seen == [("NEARLINE", 2), ("NEARLINE", 2), ("ARCHIVE", 3), ("ARCHIVE", 3)]
    assert (blob.generation, blob._properties["timeStorageClassUpdated"] > blob._properties["timeCreated"]) == (
        generation,
        True,
    )


def test_deletion_wins_over_another_class(frozen: Cloud, bucket: gcs.Bucket) -> None:
    bucket.add_lifecycle_set_storage_class_rule("NEARLINE", age=1)
    rule(bucket, age=1)
    bucket.blob("x").upload_from_string("1")
    frozen.clock.advance(hours=DAY_H)

    assert names(bucket) == []


def test_what_is_held_stays_until_it_is_released(frozen: Cloud, bucket: gcs.Bucket) -> None:
    rule(bucket, age=1)
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    blob.temporary_hold = True
    blob.patch()
    frozen.clock.advance(hours=2 * DAY_H)
    assert names(bucket) == ["x"]
    blob.temporary_hold = False
    blob.patch()
    frozen.clock.advance(hours=1)

    assert names(bucket) == []


def test_what_became_due_while_nothing_ran_goes_at_the_start(start_cloud: Callable[..., Cloud], tmp_path: Path) -> None:
    clock = Clock(frozen=True)
    cloud = start_cloud(tmp_path, clock)
    bucket = cloud.client().get_bucket("bkt")
    rule(bucket, age=1)
    bucket.blob("x").upload_from_string("1")
    cloud.stop()
    again = start_cloud(tmp_path, Clock(start=clock.time() + 25 * 3600, frozen=True))

    assert names(again.client().bucket("bkt")) == []


def test_a_failed_pass_is_followed_by_another(frozen: Cloud, bucket: gcs.Bucket) -> None:
    failures = [RuntimeError("no")]

    def refuse_once(kind: str, _: dict[str, Any]) -> None:
        if failures and kind.endswith("deleted"):
            raise failures.pop()

    frozen.storage.subscribe(refuse_once)
    rule(bucket, age=1)
    bucket.blob("x").upload_from_string("1")
    frozen.clock.advance(hours=DAY_H)
    assert names(bucket) == ["x"]
    frozen.clock.advance(hours=1)

    assert names(bucket) == []


def test_more_objects_than_one_batch_are_found(
    frozen: Cloud, bucket: gcs.Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "BATCH", 3)
    rule(bucket, age=1)
    for number in range(10):
        bucket.blob(str(number)).upload_from_string("1")
    frozen.clock.advance(hours=DAY_H)
    for _ in range(4):  # a turn of the loop each
        left = names(bucket)

    assert left == []


@pytest.mark.parametrize(
    "rule",
    [
        {"action": {"type": "Burn"}, "condition": {"age": 1}},
        {"action": {"type": "Delete"}, "condition": {}},
        {"action": {"type": "Delete"}, "condition": {"age": -1}},
        {"action": {"type": "Delete"}, "condition": {"mood": "bad"}},
        {"action": {"type": "Delete"}, "condition": {"createdBefore": "yesterday"}},
        {"action": {"type": "SetStorageClass", "storageClass": "WARM"}, "condition": {"age": 1}},
        {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"isLive": True}},
        {"action": "Delete"},
    ],
    ids=str,
)
def test_a_malformed_rule_is_refused(cloud: Cloud, rule: dict[str, Any]) -> None:
    answer = requests.patch(f"{cloud.url}/storage/v1/b/bkt", json={"lifecycle": {"rule": [rule]}}, timeout=10)

    assert (answer.status_code, "lifecycle.rule[0]" in answer.json()["error"]["message"]) == (400, True)
