"""A running emulator and the real client in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.cloud import storage as gcs

from localcloud.clock import Clock
from tests.localcloud.storage.storage_cloud import Cloud, Host


@pytest.fixture(autouse=True)
def _only_the_requests_the_test_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise the client asks for the bucket's metadata from a thread of its own, once a bucket.
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """The server."""
    host = Host()
    yield host
    host.stop()


@pytest.fixture
def start_cloud(host: Host) -> Iterator[Callable[..., Cloud]]:
    """Start emulators; they are stopped at the end."""
    running: list[Cloud] = []

    def begin(directory: Path | None = None, clock: Clock | None = None) -> Cloud:
        running.append(Cloud(host, directory, clock))
        return running[-1]

    yield begin
    for cloud in running:
        cloud.stop()


@pytest.fixture
def cloud(start_cloud: Callable[..., Cloud]) -> Cloud:
    """An emulator with the bucket `bkt`."""
    return start_cloud()


@pytest.fixture
def client(cloud: Cloud) -> gcs.Client:
    """The real client of `cloud`."""
    return cloud.client()


@pytest.fixture
def bucket(client: gcs.Client) -> gcs.Bucket:
    """The bucket `bkt`."""
    return client.bucket("bkt")


@pytest.fixture
def frozen(start_cloud: Callable[..., Cloud]) -> Cloud:
    """An emulator whose clock stands still."""
    return start_cloud(clock=Clock(frozen=True))
