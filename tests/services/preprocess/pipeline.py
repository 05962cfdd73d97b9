"""Puts a file into storage, preprocesses it, and reads what that wrote."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from services.preprocess import step
from services.preprocess.readers.image import ReadImage
from zeroidle.contracts import codec
from zeroidle.contracts.services import Folder, InputOptions, ObjectRef, PreprocessRequest, PreprocessResponse
from zeroidle.contracts.shards import Manifest, shard_name
from zeroidle.errors import MissingObject, PermanentError
from zeroidle.ports import Objects

INPUT, WORK = "input", "work"


def no_pictures(_: bytes) -> list[str]:
    raise AssertionError("only a test of pictures reads pictures")


class Pipeline:
    """One input and one work folder. `reply` is the last answer."""

    def __init__(self, objects: Objects, prefix: str = "job") -> None:
        self.objects = objects
        self.work = Folder(bucket=WORK, prefix=prefix)
        self.reply: PreprocessResponse | None = None

    def upload(self, name: str, data: bytes) -> ObjectRef:
        """The uploaded object, at its generation."""
        ref = ObjectRef(bucket=INPUT, name=f"{self.work.prefix}/{name}")
        return ObjectRef(bucket=INPUT, name=ref.name, generation=str(self.objects.write(ref, data)))

    def request(self, ref: ObjectRef, **options: Any) -> PreprocessRequest:
        return PreprocessRequest(job_id="job-1", attempt=1, input=ref, work=self.work, options=InputOptions(**options))

    def run(self, name: str, data: bytes, read_image: ReadImage = no_pictures, **options: Any) -> list[dict[str, Any]]:
        """Upload and preprocess; the records of all shards."""
        self.reply = step.preprocess(self.request(self.upload(name, data), **options), self.objects, read_image)
        return self.records()

    def fails(
        self, name: str, data: bytes, code: str, read_image: ReadImage = no_pictures, **options: Any
    ) -> PermanentError:
        """Upload and preprocess, which must be refused with `code` and a hint, and leave no manifest."""
        with pytest.raises(PermanentError) as caught:
            self.run(name, data, read_image, **options)
        assert caught.value.code == code, caught.value.message
        assert caught.value.hint
        with pytest.raises(MissingObject):
            self.manifest()
        return caught.value

    def manifest(self) -> Manifest:
        return codec.decode(self.objects.read(self.work.child("manifest.json"))[0], Manifest)

    def shard(self, index: int) -> bytes:
        return self.objects.read(self.work.child(shard_name(index)))[0]

    def records(self) -> list[dict[str, Any]]:
        tables = [pa.ipc.open_file(self.shard(index)).read_all() for index in range(self.manifest().shards)]
        return [record for table in tables for record in table.to_pylist()]

    def rejected(self) -> list[dict[str, Any]]:
        data, _ = self.objects.read(self.work.child("rejected.jsonl"))
        return [json.loads(line) for line in data.splitlines()]
