"""Do the commands of `gcloud storage` work as on the real service?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from tests.localcloud.gcloud import gcloud, thorough

pytestmark = [pytest.mark.slow, thorough]

FILES = {"a.txt": b"first\n", "sub/b \u00fc.txt": b"second\n", "sub/c.bin": os.urandom(300_000)}


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with running(CloudConfig(), lambda _: Deployment(buckets=("bkt",), topics=("news",))) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local") / "up"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def names(cloud: LocalCloud) -> list[str]:
    return list(cloud.call(cloud.storage.index, "bkt").names)


def read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_goes_up_is_looked_at_comes_down_and_is_removed(
    cloud: LocalCloud, folder: Path, tmp_path: Path
) -> None:
    gcloud(cloud, "storage", "cp", "-r", folder, "gs://bkt/x")
    listed = gcloud(cloud, "storage", "ls", "gs://bkt/x/**").stdout.splitlines()
    assert listed == [f"gs://bkt/x/{name}" for name in FILES]
    assert gcloud(cloud, "storage", "cat", "gs://bkt/x/**.txt").stdout == "first\nsecond\n"
    gcloud(cloud, "storage", "cp", "-r", "gs://bkt/x", tmp_path)
    assert read(tmp_path / "x") == FILES
    gcloud(cloud, "storage", "rm", "-r", "gs://bkt/x")
    assert [name for name in names(cloud) if name.startswith("x/")] == []


def test_folders_are_kept_alike(cloud: LocalCloud, folder: Path) -> None:
    gcloud(cloud, "storage", "rsync", "-r", folder, "gs://bkt/y")
    assert names(cloud) == [f"y/{name}" for name in FILES]
    (folder / "a.txt").write_bytes(b"changed\n")
    (folder / "sub" / "c.bin").rename(folder / "d.bin")
    gcloud(cloud, "storage", "rsync", "-r", "--delete-unmatched-destination-objects", folder, "gs://bkt/y")

    assert names(cloud) == ["y/a.txt", "y/d.bin", "y/sub/b \u00fc.txt"]
    assert cloud.call(cloud.storage.object, "bkt", "y/a.txt").size == len(b"changed\n")


def test_a_stream_goes_up_and_its_bucket_is_configured(cloud: LocalCloud) -> None:
    gcloud(cloud, "storage", "cp", "-", "gs://bkt/piped", input="piped")
    gcloud(cloud, "storage", "buckets", "update", "gs://bkt", "--versioning", "--update-labels=a=b")
    topic = f"projects/{cloud.config.project}/topics/news"
    gcloud(cloud, "storage", "buckets", "notifications", "create", "gs://bkt", f"--topic={topic}", "--skip-topic-setup")

    bucket = cloud.call(cloud.storage.catalog.get, "bkt")
    assert (bucket.versioned, bucket.fields["labels"]) == (True, {"a": "b"})
    assert cloud.call(cloud.storage.catalog.notifications.list, "bkt")[0].topic == topic
    assert cloud.call(cloud.storage.read, cloud.call(cloud.storage.object, "bkt", "piped"), 0, 5) == b"piped"
