"""What files become in the input bucket, and which are refused before anything is uploaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from zeroidle.contracts.services import ObjectRef
from zeroidle.errors import PermanentError
from zeroidle_cli import uploads
from zeroidle_cli.connection import Connection


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        pytest.param(["/d/a.txt", "/d/b.txt"], ["a.txt", "b.txt"], id="different"),
        pytest.param(["/d/a.txt", "/e/a.txt"], ["d/a.txt", "e/a.txt"], id="same name"),
        pytest.param(["/x/d/a.txt", "/y/d/a.txt", "/a.txt"], ["x/d/a.txt", "y/d/a.txt", "a.txt"], id="same folder"),
        pytest.param(["/d/a.txt", "/d/../d/a.txt"], ["a.txt"], id="the same file twice"),
        pytest.param(["/d/d/a.txt", "/d/a.txt"], ["d/d/a.txt", "d/a.txt"], id="one the tail of the other"),
    ],
)
def test_no_two_files_share_a_name_in_the_bucket(paths: list[str], names: list[str]) -> None:
    made = uploads.object_names([Path(path) for path in paths])

    assert sorted(made.values()) == sorted(names)
    assert all(str(path.resolve()).endswith(name) for path, name in made.items())


@pytest.mark.parametrize(
    ("name", "code"),
    [("missing.txt", "NO_SUCH_FILE"), (".", "NOT_A_FILE"), ("bad\nname.txt", "BAD_NAME")],
    ids=["missing", "folder", "control characters"],
)
def test_what_cannot_be_uploaded_is_refused_first(tmp_path: Path, name: str, code: str) -> None:
    good = tmp_path / "good.txt"
    good.touch()
    (tmp_path / "bad\nname.txt").touch()

    with pytest.raises(PermanentError) as caught:
        uploads.check([good, tmp_path / name])

    assert caught.value.code == code


def test_large_files_tell_how_far_they_are_and_arrive_whole(cloud: Connection, tmp_path: Path) -> None:
    sizes = {"small.bin": 10, "empty.bin": 0, "large.bin": 2 * uploads.CHUNK_BYTES + 5}
    paths = [tmp_path / name for name in sizes]
    for path in paths:
        path.write_bytes(path.name.encode().ljust(sizes[path.name], b"x")[: sizes[path.name]])
    told: list[int] = []

    started = uploads.upload_all(cloud, paths, {"text-field": "t"}, told.append)

    assert sum(told) == sum(sizes.values())
    assert max(told) <= uploads.CHUNK_BYTES
    for item in started:
        assert cloud.objects.read(item.ref)[0] == item.path.read_bytes()
        info = cloud.objects.stat(ObjectRef(bucket=item.ref.bucket, name=item.ref.name))
        assert info is not None
        assert info.ref == item.ref
        assert info.metadata["zeroidle-text-field"] == "t"
