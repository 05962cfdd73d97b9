"""Do resumable uploads survive what they are made for?"""

from __future__ import annotations

import base64
import hashlib
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from google.cloud import storage as gcs

from localcloud.faults import Fault
from localcloud.storage.payloads import PayloadWriter
from tests.localcloud.storage.storage_cloud import Cloud

KIB = 1024
QUANTUM = 256 * KIB
DATA = os.urandom(3 * QUANTUM + 10)


def begin(cloud: Cloud, name: str = "x") -> str:
    url = f"{cloud.url}/upload/storage/v1/b/bkt/o?uploadType=resumable&name={name}"
    return requests.post(url, json={}, timeout=10).headers["location"]


def send(session: str, start: int, end: int, total: int | str = len(DATA)) -> requests.Response:
    headers = {"content-range": f"bytes {start}-{end - 1}/{total}"}
    return requests.put(session, data=DATA[start:end], headers=headers, timeout=10)


def ask(session: str, total: int | str = "*") -> requests.Response:
    return requests.put(session, headers={"content-range": f"bytes */{total}"}, timeout=10)


def test_a_session_says_how_far_it_has_come(cloud: Cloud, bucket: gcs.Bucket) -> None:
    session = begin(cloud)
    assert (ask(session).status_code, "range" in ask(session).headers) == (308, False)
    assert send(session, 0, QUANTUM).headers["range"] == f"bytes=0-{QUANTUM - 1}"
    assert ask(session).headers["range"] == f"bytes=0-{QUANTUM - 1}"
    assert send(session, QUANTUM, len(DATA)).json()["size"] == str(len(DATA))
    assert bucket.blob("x").download_as_bytes() == DATA


def test_only_whole_quanta_of_an_unfinished_upload_are_kept(cloud: Cloud) -> None:
    session = begin(cloud)

    assert send(session, 0, QUANTUM + 7, "*").headers["range"] == f"bytes=0-{QUANTUM - 1}"


def test_what_is_sent_again_is_skipped(cloud: Cloud, bucket: gcs.Bucket) -> None:
    session = begin(cloud)
    send(session, 0, 2 * QUANTUM)
    send(session, QUANTUM, len(DATA))

    assert bucket.blob("x").download_as_bytes() == DATA


def test_a_gap_is_refused(cloud: Cloud) -> None:
    answer = send(begin(cloud), QUANTUM, len(DATA))

    assert (answer.status_code, "exceeds already uploaded size" in answer.text) == (503, True)


def test_a_finished_session_repeats_its_answer(cloud: Cloud) -> None:
    session = begin(cloud)
    first = send(session, 0, len(DATA))

    assert send(session, 0, len(DATA)).json() == ask(session).json() == first.json()


def test_a_lost_response_to_the_last_chunk_does_no_harm(cloud: Cloud, bucket: gcs.Bucket) -> None:
    cloud.faults.add(Fault("storage.objects.insert", "bkt/x", action="fail_after"))
    with bucket.blob("x", chunk_size=QUANTUM).open("wb", if_generation_match=0) as file:
        file.write(DATA)

    assert bucket.blob("x").download_as_bytes() == DATA
    assert [kind for kind, _ in cloud.events] == ["finalized"]


def test_an_empty_upload_makes_an_empty_object(cloud: Cloud, bucket: gcs.Bucket) -> None:
    assert ask(begin(cloud), 0).status_code == 200
    assert bucket.blob("x").download_as_bytes() == b""


def test_a_cancelled_session_is_gone(cloud: Cloud) -> None:
    session = begin(cloud)
    send(session, 0, QUANTUM)

    assert requests.delete(session, timeout=10).status_code == 499
    assert (ask(session).status_code, cloud.blob_files()) == (404, [])


def test_a_session_ends_after_a_week(frozen: Cloud) -> None:
    session = begin(frozen)
    send(session, 0, QUANTUM)
    frozen.clock.advance(hours=7 * 24 + 1)

    assert (ask(session).status_code, frozen.blob_files()) == (404, [])


@pytest.mark.parametrize("kind", ["crc32c", "md5"])
def test_a_wrong_checksum_ends_the_session(cloud: Cloud, kind: str) -> None:
    session = begin(cloud)
    answer = requests.put(session, data=DATA, headers={"x-goog-hash": f"{kind}=AAAA"}, timeout=10)

    assert (answer.status_code, ask(session).status_code, cloud.blob_files()) == (400, 404, [])


def test_the_md5_of_a_chunk_is_not_that_of_the_object(cloud: Cloud, bucket: gcs.Bucket) -> None:
    session = begin(cloud)
    send(session, 0, QUANTUM)
    rest = DATA[QUANTUM:]
    md5 = base64.b64encode(hashlib.md5(rest, usedforsecurity=False).digest()).decode()
    headers = {"content-range": f"bytes {QUANTUM}-{len(DATA) - 1}/{len(DATA)}", "content-md5": md5}

    assert requests.put(session, data=rest, headers=headers, timeout=10).status_code == 200
    assert bucket.blob("x").download_as_bytes() == DATA


@pytest.mark.parametrize("data", [b"small", DATA], ids=["in a row", "in a file"])
def test_an_upload_that_cannot_be_stored_ends_its_session(cloud: Cloud, bucket: gcs.Bucket, data: bytes) -> None:
    refusals = [RuntimeError("no")]

    def refuse_once(_: str, __: dict[str, Any]) -> None:
        if refusals:
            raise refusals.pop()

    cloud.storage.subscribe(refuse_once)
    session = begin(cloud)
    failed, again = (requests.put(session, data=data, timeout=10) for _ in range(2))

    assert (failed.status_code, again.status_code) == (500, 404)
    assert (bucket.get_blob("x"), cloud.blob_files()) == (None, [])


def test_a_disk_that_was_full_leaves_no_gap(tmp_path: Path) -> None:
    writer = PayloadWriter(tmp_path / "x")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (QUANTUM + 1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            writer.write(DATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    writer.drop_tail()
    assert writer.size == QUANTUM
    writer.write(DATA[QUANTUM:])
    payload = writer.finish()

    assert (payload.size, (tmp_path / "x").read_bytes()) == (len(DATA), DATA)


def test_a_session_survives_a_restart(start_cloud: Callable[..., Cloud], tmp_path: Path) -> None:
    cloud = start_cloud(tmp_path)
    session = begin(cloud)
    send(session, 0, 2 * QUANTUM)
    cloud.stop()
    again = start_cloud(tmp_path)

    assert ask(session).headers["range"] == f"bytes=0-{2 * QUANTUM - 1}"
    assert send(session, 2 * QUANTUM, len(DATA)).status_code == 200
    assert again.client().bucket("bkt").blob("x").download_as_bytes() == DATA


@pytest.mark.parametrize("line", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
@pytest.mark.parametrize("step", [1, 7, 10_000], ids=lambda step: f"{step} bytes at a time")
@pytest.mark.parametrize("data", [b"", b"\r\n--", b"--b-\n--\r\n--a\r", b"x" * 300], ids=["empty", "line", "like", "x"])
def test_metadata_and_media_come_in_any_pieces(
    cloud: Cloud, bucket: gcs.Bucket, line: bytes, step: int, data: bytes
) -> None:
    lines = [b"--b=", b"Content-Type: application/json", b"", b'{"name": "x"}', b"--b=", b"Content-Type: text/css", b""]
    body = line.join([*lines, data, b"--b=--", b""])
    headers = {"content-type": "multipart/related; boundary='b='"}
    pieces = (body[start : start + step] for start in range(0, len(body), step))
    url = f"{cloud.url}/upload/storage/v1/b/bkt/o?uploadType=multipart"
    answer = requests.post(url, data=pieces, headers=headers, timeout=10)

    assert (answer.status_code, answer.json()["contentType"]) == (200, "text/css")
    assert bucket.blob("x").download_as_bytes() == data


@pytest.mark.parametrize(
    "body",
    [b"", b"--b", b"--b\r\n\r\n{}\r\n--b--", b"--b\r\n\r\n{}\r\n--b\r\n\r\nx", b"--b\r\n\r\n{}\r\n--b\r\n\r\nx\r\n--b"],
    ids=["nothing", "a boundary", "no media", "no end", "half an end"],
)
def test_a_torn_body_is_refused(cloud: Cloud, bucket: gcs.Bucket, body: bytes) -> None:
    url = f"{cloud.url}/upload/storage/v1/b/bkt/o?uploadType=multipart&name=x"
    answer = requests.post(url, data=body, headers={"content-type": "multipart/related; boundary=b"}, timeout=10)

    assert (answer.status_code, bucket.get_blob("x")) == (400, None)


def test_an_upload_has_the_length_that_was_announced(cloud: Cloud, bucket: gcs.Bucket) -> None:
    url = f"{cloud.url}/upload/storage/v1/b/bkt/o?uploadType=resumable&name=x"
    begun = requests.post(url, headers={"x-upload-content-length": "10"}, timeout=10)

    answer = requests.put(begun.headers["location"], data=b"12345", timeout=10)

    assert (answer.status_code, answer.json()["error"]["message"]) == (
        400,
        "The upload has 5 bytes, 10 were announced.",
    )
    assert bucket.get_blob("x") is None
