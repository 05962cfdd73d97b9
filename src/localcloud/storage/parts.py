"""Which objects arrive in parts, several at a time, and what has come of each?

Multipart uploads of the XML API; the parts are joined when the client says which ones, in which order.
https://cloud.google.com/storage/docs/multipart-uploads
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from localcloud.storage.changes import Row
from localcloud.storage.errors import StorageError
from localcloud.storage.payloads import Payload, PayloadWriter, joined, read_file
from localcloud.storage.resources import Target
from localcloud.store import Store

MAX_PARTS = 10_000
MIN_PART_BYTES = 5 * 2**20  # of every part but the last
_UPLOADS, _PARTS = "storage.multipartUploads", "storage.multipartParts"
_encode = msgspec.msgpack.Encoder().encode


class PartedUpload(msgspec.Struct, frozen=True, omit_defaults=True):
    """An upload that is not complete. `created` is microseconds since the epoch."""

    id: str
    target: Target
    created: int


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part, as it arrived last: small ones are here, the others in a file."""

    number: int
    size: int
    md5: str  # base64
    data: bytes = b""
    file: str = ""

    @property
    def etag(self) -> str:
        """By which the client names it when it completes the upload."""
        return base64.b64decode(self.md5).hex()


class PartedUploads:
    """All uploads in parts, with what has arrived of each."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        self._store = store
        self._now = now  # microseconds
        self._uploads: dict[str, PartedUpload] = {}
        self._parts: dict[str, dict[int, Part]] = {}
        for _, value in store.items(_UPLOADS):
            upload = msgspec.msgpack.decode(value, type=PartedUpload)
            self._uploads[upload.id], self._parts[upload.id] = upload, {}
        for key, value in store.items(_PARTS):
            part = msgspec.msgpack.decode(value, type=Part)
            self._parts[key.partition("/")[0]][part.number] = part

    def begin(self, target: Target) -> PartedUpload:
        """A new upload."""
        upload = PartedUpload(secrets.token_hex(24), target, self._now())
        self._store.put(_UPLOADS, upload.id, _encode(upload))
        self._uploads[upload.id], self._parts[upload.id] = upload, {}
        return upload

    def get(self, bucket: str, name: str, id_: str) -> PartedUpload:
        """The upload of this object. Raises StorageError 404."""
        upload = self._uploads.get(id_)
        if upload is None or (upload.target.bucket, upload.target.name) != (bucket, name):
            raise StorageError(404, "The requested upload was not found.", xml_code="NoSuchUpload")
        return upload

    def of(self, bucket: str) -> list[PartedUpload]:
        """The uploads into a bucket."""
        return [upload for upload in self._uploads.values() if upload.target.bucket == bucket]

    def add(self, upload: PartedUpload, number: int, payload: Payload) -> Part:
        """Keep a part, in the place of an earlier one of its number. Raises StorageError 404."""
        if upload.id not in self._uploads:  # aborted while the part arrived
            payload.discard()
            self.get(upload.target.bucket, upload.target.name, upload.id)
        part = Part(
            number=number,
            size=payload.size,
            md5=payload.md5 or "",
            data=payload.data or b"",
            file="" if payload.path is None else payload.path.name,
        )
        before = self._parts[upload.id].get(number)
        self._store.put(_PARTS, _key(upload, number), _encode(part))
        self._parts[upload.id][number] = part
        if before is not None:
            self._unlink([before])
        return part

    async def join(self, upload: PartedUpload, wanted: Sequence[tuple[int, str]], writer: PayloadWriter) -> Payload:
        """One payload of the parts that the client names by number and etag. Raises StorageError 400."""
        parts = self._named(upload, wanted)
        blocks = [self._read(part) for part in parts]
        payload = await asyncio.to_thread(joined, writer, blocks)
        return msgspec.structs.replace(payload, md5=None)  # such objects have none

    def ending(self, upload: PartedUpload) -> list[Row]:
        """The rows to be removed, in the transaction that makes the object."""
        numbers = self._parts[upload.id]
        return [(_UPLOADS, upload.id, None), *((_PARTS, _key(upload, number), None) for number in numbers)]

    def abort(self, upload: PartedUpload) -> None:
        """End an upload; what has arrived is gone."""
        with self._store.transaction():
            for table, key, _ in self.ending(upload):
                self._store.delete(table, key)
        self.end(upload)

    def end(self, upload: PartedUpload) -> None:
        """Forget an upload whose rows are gone."""
        del self._uploads[upload.id]
        self._unlink(self._parts.pop(upload.id).values())

    def files(self) -> set[str]:
        """Names of the files that hold parts."""
        return {part.file for parts in self._parts.values() for part in parts.values() if part.file}

    def _named(self, upload: PartedUpload, wanted: Sequence[tuple[int, str]]) -> list[Part]:
        known = self._parts[upload.id]
        numbers = [number for number, _ in wanted]
        if not numbers or numbers != sorted(set(numbers)):
            raise StorageError(400, "The list of parts was not in ascending order.", xml_code="InvalidPartOrder")
        for number, etag in wanted:
            if number not in known or known[number].etag != etag.strip('"'):
                raise StorageError(
                    400,
                    "One or more of the specified parts could not be found or had another ETag.",
                    xml_code="InvalidPart",
                    details={"Details": f"Part number {number}"},
                )
        parts = [known[number] for number in numbers]
        for part in parts[:-1]:
            if part.size < MIN_PART_BYTES:
                raise StorageError(
                    400,
                    "Your proposed upload is smaller than the minimum allowed object size.",
                    xml_code="EntityTooSmall",
                    details={"Details": f"Part {part.number} has {part.size} bytes, less than {MIN_PART_BYTES}."},
                )
        return parts

    def _read(self, part: Part) -> bytes | Iterator[bytes]:
        return read_file((self._store.blobs / part.file).open("rb"), 0, part.size) if part.file else part.data

    def _unlink(self, parts: Iterable[Part]) -> None:
        for part in parts:
            if part.file:
                (self._store.blobs / part.file).unlink(missing_ok=True)


def _key(upload: PartedUpload, number: int) -> str:
    return f"{upload.id}/{number:05d}"
