"""Does the storage adapter keep what its port promises, also where responses are lost?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import google.cloud.storage as gcs
import pytest
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import RefreshError, TransportError
from google.cloud.storage.exceptions import DataCorruption

from localcloud.faults import Fault
from tests.localcloud.storage.storage_cloud import Cloud, Host
from zeroidle.contracts.services import ObjectRef
from zeroidle.errors import Conflict, MissingObject, PermanentError, TemporaryError, ZeroidleError
from zeroidle.gcp.objects import GoogleObjects
from zeroidle.ports import ABSENT


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.stop()


@pytest.fixture
def cloud(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    cloud = Cloud(host)
    yield cloud
    cloud.stop()


@pytest.fixture
def objects(cloud: Cloud) -> GoogleObjects:
    return GoogleObjects(cloud.client())


def ref(name: str, generation: int | None = None) -> ObjectRef:
    return ObjectRef(bucket="bkt", name=name, generation=None if generation is None else str(generation))


def test_what_is_written_is_read_and_described(objects: GoogleObjects) -> None:
    generation = objects.write(ref("a/x"), b"data", content_type="text/plain", metadata={"k": "v"})

    assert objects.read(ref("a/x")) == (b"data", generation)
    info = objects.stat(ref("a/x"))
    assert info is not None
    assert (info.size, info.content_type, info.metadata["k"], info.generation) == (4, "text/plain", "v", generation)


def test_a_missing_object_is_none_or_an_error(objects: GoogleObjects) -> None:
    assert objects.stat(ref("x")) is None
    with pytest.raises(MissingObject):
        objects.read(ref("x"))
    with pytest.raises(MissingObject):
        objects.open(ref("x"))
    with pytest.raises(MissingObject):
        objects.copy(ref("x"), ref("y"))
    objects.delete(ref("x"))


def test_a_reference_with_a_generation_means_that_version(objects: GoogleObjects) -> None:
    old = objects.write(ref("x"), b"1")
    objects.write(ref("x"), b"2")

    assert objects.stat(ref("x", old)) is None
    with pytest.raises(MissingObject):
        objects.read(ref("x", old))


def test_a_file_is_uploaded_and_read_in_pieces(objects: GoogleObjects, tmp_path: Path) -> None:
    data = os.urandom(9 * 2**20)
    path = tmp_path / "file"
    path.write_bytes(data)
    objects.write(ref("x"), path)
    with objects.open(ref("x")) as stream:
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == data[-10:]
        stream.seek(0)
        assert stream.read() == data


def test_an_empty_object_opens_as_an_empty_stream(objects: GoogleObjects) -> None:
    objects.write(ref("x"), b"")
    with objects.open(ref("x")) as stream:
        assert stream.read() == b""


@pytest.mark.parametrize("if_generation", [ABSENT, 1], ids=["absent", "older"])
def test_a_lost_race_is_a_conflict(objects: GoogleObjects, if_generation: int) -> None:
    objects.write(ref("x"), b"1")
    with pytest.raises(Conflict):
        objects.write(ref("x"), b"2", if_generation=if_generation)
    with pytest.raises(Conflict):
        objects.copy(ref("x"), ref("x"), if_generation=if_generation)
    if if_generation:
        with pytest.raises(Conflict):
            objects.delete(ref("x"), if_generation=if_generation)

    assert objects.read(ref("x"))[0] == b"1"


def test_a_write_whose_response_was_lost_counts_as_won(cloud: Cloud, objects: GoogleObjects) -> None:
    cloud.faults.add(Fault("storage.objects.insert", "bkt/x", action="fail_after", status=503))
    generation = objects.write(ref("x"), b"mine", if_generation=ABSENT)

    assert objects.read(ref("x")) == (b"mine", generation)
    assert len(cloud.events) == 1


def test_a_large_write_whose_response_was_lost_counts_as_won(
    cloud: Cloud, objects: GoogleObjects, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1" * 9 * 2**20)
    cloud.faults.add(Fault("storage.objects.insert", "bkt/x", action="fail_after", status=503))
    generation = objects.write(ref("x"), path, if_generation=ABSENT)

    assert objects.read(ref("x"))[1] == generation
    assert len(cloud.events) == 1


def test_objects_are_copied_listed_and_deleted(objects: GoogleObjects) -> None:
    generation = objects.write(ref("a/1"), b"1", content_type="text/plain")
    objects.copy(ref("a/1", generation), ref("a/2"), if_generation=ABSENT)
    objects.write(ref("b"), b"3")
    copied = objects.stat(ref("a/2"))
    assert copied is not None
    assert (copied.content_type, copied.size) == ("text/plain", 1)
    assert [info.ref.name for info in objects.list("bkt", "a/")] == ["a/1", "a/2"]
    objects.delete(ref("a/1"), if_generation=generation)

    assert [info.ref.name for info in objects.list("bkt", "")] == ["a/2", "b"]


def test_a_refusal_that_passes_is_retried(cloud: Cloud, objects: GoogleObjects) -> None:
    objects.write(ref("x"), b"1")
    cloud.faults.add(Fault("storage.objects.get", "bkt/x", status=503))

    assert objects.read(ref("x"))[0] == b"1"


def test_a_refusal_that_the_client_does_not_retry_is_temporary(cloud: Cloud, objects: GoogleObjects) -> None:
    cloud.faults.add(Fault("storage.objects.delete", "bkt/x", status=501))
    with pytest.raises(TemporaryError):
        objects.delete(ref("x"))


class Failing(AnonymousCredentials):
    """Fails before a request goes out."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def before_request(self, request: object, method: str, url: str, headers: dict[str, str]) -> None:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(TransportError("the metadata server is silent"), id="no metadata server"),
        pytest.param(RefreshError("no token"), id="no token"),
        pytest.param(DataCorruption(None, "checksum mismatch"), id="damaged on the way"),
    ],
)
def test_what_another_try_may_mend_is_temporary(error: Exception) -> None:
    client = gcs.Client(project="p", credentials=Failing(error), client_options={"api_endpoint": "http://127.0.0.1:9"})
    with pytest.raises(TemporaryError):
        GoogleObjects(client).read(ref("x"))


def test_a_refusal_for_good_is_told_in_words_and_is_not_the_inputs_fault(cloud: Cloud, objects: GoogleObjects) -> None:
    cloud.faults.add(Fault("storage.objects.get", "bkt/x", status=403))
    with pytest.raises(ZeroidleError, match="storage refuses bkt/x") as caught:
        objects.stat(ref("x"))

    assert caught.value.code == "STORAGE_REFUSED"
    assert not isinstance(caught.value, PermanentError)
