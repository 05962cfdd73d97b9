"""The flow: limits, hostile input, and calls that come again."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from services.preprocess import shards, source, step
from tests.services.local_storage import LocalStorage
from tests.services.preprocess.pipeline import INPUT, Pipeline, no_pictures
from zeroidle.contracts.services import ObjectRef
from zeroidle.contracts.shards import shard_name
from zeroidle.errors import MissingObject, TemporaryError
from zeroidle.ports import ObjectInfo, Objects

REVIEWS = b"".join(b'{"id": %d, "text": "review number %d", "label": "good"}\n' % (n, n) for n in range(5000))


class Failing:
    """Storage whose writes fail from one on."""

    def __init__(self, objects: Objects, writes_left: int) -> None:
        self._objects = objects
        self._writes_left = writes_left

    def write(self, ref: ObjectRef, data: Any, **options: Any) -> int:
        self._writes_left -= 1
        if self._writes_left < 0:
            raise TemporaryError("storage did not answer")
        return self._objects.write(ref, data, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)


def test_the_same_request_again_is_answered_from_the_manifest(pipeline: Pipeline) -> None:
    request = pipeline.request(pipeline.upload("a.jsonl", REVIEWS))
    first = step.preprocess(request, pipeline.objects, no_pictures)
    pipeline.objects.delete(pipeline.work.child(shard_name(0)))

    second = step.preprocess(request, pipeline.objects, no_pictures)

    assert (second.shards, second.records) == (first.shards, first.records) == (3, 5000)
    with pytest.raises(MissingObject):
        pipeline.shard(0)


def test_other_options_or_another_generation_are_read_anew(pipeline: Pipeline) -> None:
    pipeline.run("a.jsonl", REVIEWS)
    assert pipeline.run("a.jsonl", REVIEWS, text_field="label")[0]["text"] == "good"

    assert len(pipeline.run("a.jsonl", REVIEWS[: len(REVIEWS) // 2])) < 5000


def test_without_a_generation_the_newest_is_read_and_named(pipeline: Pipeline) -> None:
    exact = pipeline.upload("a.jsonl", REVIEWS)

    step.preprocess(pipeline.request(ObjectRef(bucket=INPUT, name=exact.name)), pipeline.objects, no_pictures)

    assert pipeline.manifest().input == exact


@pytest.mark.parametrize("writes", range(5))
def test_a_call_cut_short_leaves_no_manifest_and_the_next_writes_the_same(pipeline: Pipeline, writes: int) -> None:
    data = REVIEWS + b"broken\n"  # 3 shards, the rejected records, the manifest
    request = pipeline.request(pipeline.upload("a.jsonl", data))

    with pytest.raises(TemporaryError):
        step.preprocess(request, Failing(pipeline.objects, writes), no_pictures)
    with pytest.raises(MissingObject):
        pipeline.manifest()

    assert step.preprocess(request, pipeline.objects, no_pictures).records == 5000
    assert len(pipeline.records()) == 5000


def test_the_same_input_gives_the_same_bytes(pipeline: Pipeline) -> None:
    pipeline.run("a.jsonl", REVIEWS)
    first = [pipeline.shard(index) for index in range(3)]

    pipeline.run("b.jsonl.gz", gzip.compress(REVIEWS))

    assert [pipeline.shard(index) for index in range(3)] == first


def test_shards_are_bounded_by_records_and_by_bytes(pipeline: Pipeline) -> None:
    texts = ["short"] * 3000 + ["long " * 20_000] * 20 + ["x" * 900_000, "short"]
    pipeline.run("a.jsonl", b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts))

    sizes = []
    for index in range(pipeline.manifest().shards):
        table = pa.ipc.open_file(pipeline.shard(index)).read_all()
        sizes.append((table.num_rows, sum(map(len, table["text"].to_pylist()))))
    assert max(rows for rows, _ in sizes) == shards.MAX_SHARD_RECORDS
    assert all(size <= shards.MAX_SHARD_BYTES or rows == 1 for rows, size in sizes)
    assert sum(rows for rows, _ in sizes) == len(texts)


def test_a_missing_input_is_said_to_be_missing(pipeline: Pipeline) -> None:
    with pytest.raises(MissingObject) as caught:
        step.preprocess(pipeline.request(ObjectRef(bucket=INPUT, name="gone.txt")), pipeline.objects, no_pictures)

    assert caught.value.hint


def test_an_input_deleted_while_it_is_read_is_said_to_be_missing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = pipeline.upload("a.jsonl", REVIEWS * 50)  # more than storage hands out at once
    stream = pipeline.objects.open(ref)
    stream.read(1)
    stream.seek(0)
    pipeline.objects.delete(ref)
    info = ObjectInfo(ref, len(REVIEWS) * 50, "", {}, 0.0)
    monkeypatch.setattr(pipeline.objects, "stat", lambda _: info)
    monkeypatch.setattr(pipeline.objects, "open", lambda _: stream)

    with pytest.raises(MissingObject):
        step.preprocess(pipeline.request(ref), pipeline.objects, no_pictures)


def test_a_gzipped_object_served_as_plain_is_read_as_stored(pipeline: Pipeline, local_storage: LocalStorage) -> None:
    blob = local_storage.client().bucket(INPUT).blob("served.jsonl")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(REVIEWS))

    reply = step.preprocess(
        pipeline.request(ObjectRef(bucket=INPUT, name="served.jsonl")), pipeline.objects, no_pictures
    )

    assert reply.records == 5000
    assert pipeline.manifest().compression == "gzip"


def test_an_input_beyond_the_limit_is_refused_unread(pipeline: Pipeline) -> None:
    assert "max_input_bytes" in pipeline.fails("a.jsonl", REVIEWS, "TOO_LARGE", max_input_bytes=1000).hint


def test_gzip_that_expands_beyond_the_limit_is_refused(pipeline: Pipeline) -> None:
    pipeline.fails("a.jsonl", gzip.compress(REVIEWS * 10), "DECOMPRESSION_BOMB", max_expanded_bytes=1_000_000)


def test_gzip_that_expands_too_many_times_is_refused(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "RATIO_FREE_BYTES", 2**20)

    error = pipeline.fails("a.txt", gzip.compress(b" " * 8 * 2**20), "DECOMPRESSION_BOMB")

    assert f"{source.MAX_RATIO} times" in error.message


@pytest.mark.parametrize("damage", ["cut", "flipped", "trailing"])
def test_broken_gzip_is_refused(pipeline: Pipeline, damage: str) -> None:
    data = bytearray(gzip.compress(os.urandom(1000).hex().encode() + b"\n" + REVIEWS))
    match damage:
        case "cut":
            data = data[:-20]
        case "flipped":
            data[len(data) // 2] ^= 0xFF
        case "trailing":
            data += b"garbage"

    pipeline.fails("a.txt", bytes(data), "CORRUPT")


def test_gzip_of_several_members_is_read_whole(pipeline: Pipeline) -> None:
    half = len(REVIEWS) // 2
    assert len(pipeline.run("a.jsonl.gz", gzip.compress(REVIEWS[:half]) + gzip.compress(REVIEWS[half:]))) == 5000


@pytest.mark.parametrize(
    "name",
    ["../../etc/cron.d/x.jsonl", "/etc/passwd", "a $(touch pwned);`id`.jsonl", "-rf.jsonl", "ä" * 300 + ".jsonl"],
    ids=["parent", "absolute", "shell", "option", "long"],
)
def test_a_hostile_name_is_only_data(
    pipeline: Pipeline, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ref = ObjectRef(bucket=INPUT, name=name)
    pipeline.objects.write(ref, REVIEWS)

    assert step.preprocess(pipeline.request(ref), pipeline.objects, no_pictures).records == 5000
    assert list(tmp_path.iterdir()) == []


def test_a_hostile_name_is_printable_in_an_error(pipeline: Pipeline) -> None:
    error = pipeline.fails("\x1b[31m" + "x" * 500 + ".txt", b"%PDF-1.7", "WRONG_TYPE")

    assert "\x1b" not in error.message
    assert len(error.message) < 200


def test_the_listed_rejections_are_bounded_and_all_are_counted(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "MAX_LISTED_REJECTED", 10)

    pipeline.run("a.jsonl", b'{"text": "good"}\n' + b"bad\n" * 5000)

    assert pipeline.manifest().rejected == 5000
    assert len(pipeline.rejected()) == 10


@pytest.mark.parametrize("field", ["text_field", "id_field", "label_field"])
def test_a_field_that_is_not_there_is_answered_with_those_that_are(pipeline: Pipeline, field: str) -> None:
    error = pipeline.fails("a.jsonl", REVIEWS, "MISSING_FIELD", **{field: "nope"})

    assert "id, text, label" in error.message
    assert f"options.{field}" in error.hint


def test_one_field_cannot_be_two_things(pipeline: Pipeline) -> None:
    pipeline.fails("a.jsonl", REVIEWS, "INVALID_OPTIONS", text_field="text", id_field="text")


def test_named_fields_are_taken(pipeline: Pipeline) -> None:
    data = b'{"text": "no", "a.b": "yes", "k": 1, "ok": true}\n'

    records = pipeline.run("a.jsonl", data, text_field="a.b", id_field="k", label_field="ok")

    assert records == [{"row": 0, "id": "1", "line": 1, "text": "yes", "label": "true"}]
    assert pipeline.manifest().text_field_guessed is False
