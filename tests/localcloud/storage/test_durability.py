"""What is left after `kill -9`, and how much memory does a large object take?"""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as gcs

from tests.localcloud.storage.storage_cloud import Cloud

ROOT = Path(__file__).parents[3]
SIZE = 128 * 2**20


@contextmanager
def process(directory: Path) -> Iterator[tuple[subprocess.Popen[str], gcs.Client, str]]:
    """The emulator in a process of its own, killed at the end."""
    command = [sys.executable, "-m", "tests.localcloud.storage.serve_until_killed", str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        options = {"api_endpoint": url}
        try:
            yield running, gcs.Client("p", credentials=AnonymousCredentials(), client_options=options), url
        finally:
            running.kill()


def peak_memory(pid: int) -> int:
    """Of a process so far, in bytes."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


@pytest.mark.parametrize("size", [10, 100_000], ids=["rows", "files"])
def test_every_acknowledged_write_survives_a_kill(start_cloud: Callable[..., Cloud], tmp_path: Path, size: int) -> None:
    acknowledged: dict[str, bytes] = {}
    enough = threading.Event()

    def write(url: str, writer: int) -> None:
        session = requests.Session()
        for number in range(10_000):
            name, data = f"{writer}-{number % 7}", os.urandom(size)
            query = f"uploadType=media&name={name}"
            try:
                session.post(f"{url}/upload/storage/v1/b/bkt/o?{query}", data=data, timeout=10).raise_for_status()
            except requests.RequestException:
                acknowledged.pop(name, None)  # either version may stand
                return
            acknowledged[name] = data
            if number == 40:
                enough.set()

    with process(tmp_path) as (running, _, url):
        writers = [threading.Thread(target=write, args=(url, writer)) for writer in range(3)]
        for writer in writers:
            writer.start()
        assert enough.wait(60)
        running.kill()
        for writer in writers:
            writer.join()

    (tmp_path / "blobs" / f"{'0' * 24}.object").write_bytes(b"left by a crash")
    cloud = start_cloud(tmp_path)
    blobs = {blob.name: blob for blob in cloud.client().bucket("bkt").list_blobs()}
    assert len(acknowledged) >= 18
    for name, data in acknowledged.items():
        assert blobs[name].download_as_bytes() == data
    assert len(cloud.blob_files()) == (len(blobs) if size > 64 * 1024 else 0)


def test_generations_are_not_reused_after_a_restart(start_cloud: Callable[..., Cloud], tmp_path: Path) -> None:
    first = start_cloud(tmp_path)
    first.clock.advance(hours=1)
    blob = first.client().bucket("bkt").blob("x")
    blob.upload_from_string("1")
    generation = blob.generation
    blob.delete()
    first.stop()
    again = start_cloud(tmp_path).client().bucket("bkt").blob("x")
    again.upload_from_string("2")

    assert again.generation > generation


@pytest.mark.parametrize("chunk_size", [None, 8 * 2**20], ids=["in one request", "in chunks"])
def test_a_large_object_streams_in_bounded_memory(tmp_path: Path, chunk_size: int | None) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(2**20) * (SIZE // 2**20))
    with process(tmp_path / "state") as (running, client, _):
        before = peak_memory(running.pid)
        client.bucket("bkt").blob("x", chunk_size=chunk_size).upload_from_filename(str(source))
        client.bucket("bkt").blob("x").download_to_filename(str(target))
        grown = peak_memory(running.pid) - before

    assert filecmp.cmp(source, target, shallow=False)
    assert grown < SIZE // 6
