"""What do put, get and list cost in the local Cloud Storage as it fills, beside PyPI's gcp-storage-emulator?

    python -m benchmarks.storage [--most 100000] [--json]

Both keep their state on disk and are called by google-cloud-storage, one call after another; each figure is a median.
"client alone" is what the same calls take from a bare server that has our answers ready: no server is faster than that.
gcp-storage-emulator writes all its metadata anew with each object: filling it through its API would take hours, so it
finds the objects on disk when it starts, in its own form. The second table is ours alone: the server's CPU time per
call, without the client's, from 100 objects to 100,000.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from benchmarks import servers
from benchmarks.servers import Server
from benchmarks.tables import Figures, machine, median

SIZES = (100, 1_000, 10_000)
GROWTH = (100, 1_000, 10_000, 100_000)
CALLS = {"put": 40, "get": 200, "list 100": 80, "list all": 3}
FOLDERS = 1  # a page, as many as there are of 100 objects
CPU_CALLS = 400  # CPU time is counted in hundredths of a second
DATA = b"x" * 1000
WRITERS = 8
MEMORY_OBJECTS = 10_000
OURS, PEER, BARE = "ours", "gcp-storage-emulator", "client alone"


def name_of(number: int) -> str:
    """Names share a prefix by the hundred."""
    return f"objects/{number // 100:04d}/{number % 100:02d}"


def fill(server: Server, first: int, last: int) -> None:
    """Write small objects of these numbers, several at a time."""
    pool = urllib3.PoolManager(maxsize=WRITERS)

    def write(number: int) -> None:
        url = f"{server.http}/upload/storage/v1/b/bench/o?uploadType=media&name={name_of(number)}"
        answer = pool.request("POST", url, body=DATA)
        assert answer.status == 200, answer.data

    with ThreadPoolExecutor(WRITERS) as writers:
        for _ in writers.map(write, range(first, last)):
            pass


@contextmanager
def full(side: str, objects: int) -> Iterator[Server]:
    """A server with so many objects."""
    with tempfile.TemporaryDirectory(prefix="bench-storage-") as directory:
        if side == OURS:
            with servers.ours(Path(directory)) as server:
                fill(server, 0, objects)
                yield server
            return
        with servers.gcp_storage_emulator(Path(directory)) as server:
            fill(server, 0, 1)
        _multiply(Path(directory) / ".cloudstorage", objects)
        with servers.gcp_storage_emulator(Path(directory)) as server:
            yield server


def _multiply(directory: Path, objects: int) -> None:
    """Give gcp-storage-emulator copies of its one object."""
    index = directory / ".meta"
    kept = json.loads(index.read_text())
    text = json.dumps(kept["objects"]["bench"][name_of(0)])
    for number in range(objects):
        name = name_of(number)
        kept["objects"]["bench"][name] = json.loads(text.replace(name_of(0), name))
        path = directory / "bench" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(DATA)
    index.write_text(json.dumps(kept, indent=2))


def client_of(server: Server) -> storage.Bucket:
    """Google's client."""
    options = {"api_endpoint": server.http}
    return storage.Client("bench", credentials=AnonymousCredentials(), client_options=options).bucket("bench")


def operations(bucket: storage.Bucket, objects: int) -> dict[str, Callable[[int], object]]:
    """One call of Google's client each; the argument counts the calls."""

    def get(number: int) -> None:
        assert bucket.blob(name_of(number * objects // CALLS["get"])).download_as_bytes() == DATA

    def list_100(number: int) -> None:
        _count(bucket, f"objects/{number * (objects // 100) // CALLS['list 100']:04d}/", 100)

    return {
        "put": lambda number: bucket.blob(f"new/{number}").upload_from_string(DATA),
        "get": get,
        "list 100": list_100,
        "list all": lambda _: _count(bucket, "objects/", objects),
    }


def _count(bucket: storage.Bucket, prefix: str, expected: int) -> None:
    count = sum(1 for _ in bucket.client.list_blobs(bucket, prefix=prefix))
    assert count == expected, f"{count} objects below {prefix}, not {expected}"


def compare(objects: int, figures: Figures) -> None:
    """Both sides full of so many objects, the calls taking turns."""
    with full(OURS, objects) as ours, full(PEER, objects) as peer, servers.replayer(ours) as bare:
        servers_ = {OURS: ours, PEER: peer, BARE: bare}
        sides = {side: operations(client_of(server), objects) for side, server in servers_.items()}
        for operation in sides[OURS]:
            numbers = range(CALLS[operation])
            for number in numbers:
                sides[BARE][operation](number)  # it learns the answers
            times: dict[str, list[float]] = {side: [] for side in sides}
            for number in numbers:
                for side, calls in sides.items():
                    began = time.perf_counter()
                    calls[operation](number)
                    times[side].append((time.perf_counter() - began) * 1000)
            medians = {side: median(found) for side, found in times.items()}
            faster = {"times as fast": medians[PEER] / medians[OURS]}
            figures.rows.append({"": operation, "objects": objects, **medians, **faster})


def growth(most: int) -> Figures:
    """Ours as it fills."""
    figures = Figures("The server's CPU, milliseconds a call")
    with tempfile.TemporaryDirectory(prefix="bench-storage-") as directory, servers.ours(Path(directory)) as server:
        there = 0
        for objects in (size for size in GROWTH if size <= most):
            fill(server, there, objects)
            there = objects
            figures.rows.append({"objects": objects, **cpu(server, objects)})
    first, last = figures.rows[0], figures.rows[-1]
    ratios = ", ".join(f"{key} {last[key] / first[key]:.2f}" for key in first if key != "objects")
    figures.notes.append(f"{last['objects']:,} objects beside {first['objects']:,}, times the cost: {ratios}")
    return figures


def cpu(server: Server, objects: int) -> dict[str, float]:
    """CPU milliseconds by operation, called without Google's client."""
    pool = urllib3.PoolManager()
    base = f"{server.http}/storage/v1/b/bench/o"
    uploads = f"{server.http}/upload/storage/v1/b/bench/o?uploadType=media&name="

    def spread(number: int) -> str:
        return name_of(number * objects // CPU_CALLS)

    def hundred(number: int) -> str:  # ten prefixes at most: as often listed before, however many objects there are
        return name_of(number % 10 * objects // 10)[:-2]

    calls: dict[str, Callable[[int], Any]] = {
        "put": lambda number: pool.request("POST", f"{uploads}new/{number}", body=DATA),
        "get": lambda number: pool.request("GET", f"{base}/{spread(number).replace('/', '%2F')}?alt=media"),
        "list 100": lambda number: pool.request("GET", f"{base}?prefix={hundred(number)}&maxResults=100"),
        "list folders": lambda _: pool.request("GET", f"{base}?prefix=objects/&delimiter=/&maxResults={FOLDERS}"),
        "delete": lambda number: pool.request("DELETE", f"{base}/new%2F{number}"),
    }
    found = {}
    for operation, call in calls.items():
        before = server.cpu_s()
        for number in range(CPU_CALLS):
            assert call(number).status in (200, 204)
        found[operation] = (server.cpu_s() - before) / CPU_CALLS * 1000
    return found


def memory() -> Figures:
    """What the servers hold of many small objects."""
    figures = Figures(f"Memory for {MEMORY_OBJECTS:,} objects of 1 kB, MiB")
    for side in (OURS, PEER):
        with full(side, 0 if side == OURS else 1) as server:
            empty = server.memory_mb()
            if side == OURS:
                fill(server, 0, MEMORY_OBJECTS)
                grown = server.memory_mb()
        if side == PEER:
            with full(side, MEMORY_OBJECTS) as server:
                grown = server.memory_mb()
        figures.rows.append({"": side, "empty": empty, "full": grown, "for the objects": grown - empty})
    return figures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage", description=__doc__)
    parser.add_argument("--most", type=int, default=GROWTH[-1], help="objects in the largest rows")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    beside = Figures("google-cloud-storage, milliseconds a call, objects of 1 kB", notes=[machine()])
    for objects in (size for size in SIZES if size <= options.most):
        compare(objects, beside)
    for figures in (beside, growth(options.most), memory()):
        figures.print(as_json=options.json)


if __name__ == "__main__":
    main()
