"""Object storage through google-cloud-storage.

Locally `STORAGE_EMULATOR_HOST` points the client at another server; nothing here knows which it is.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import google.cloud.storage as storage
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.fileio import BlobReader
from google.cloud.storage.retry import DEFAULT_RETRY
from requests import exceptions as http

from zeroidle.contracts.services import ObjectRef
from zeroidle.errors import Conflict, MissingObject, TemporaryError, ZeroidleError, printable
from zeroidle.ports import ObjectInfo

CHUNK_BYTES = 8 * 2**20
TIMEOUT_S = 60.0
# The client's own default keeps trying for 120 s, longer than most of our callers may take.
RETRY = DEFAULT_RETRY.with_timeout(30.0)
# Which call wrote this version: tells a lost response from a lost race.
WRITE_TOKEN = "zeroidle-write"  # noqa: S105  # the name of a metadata key
# What another try may mend; the client itself has tried for RETRY's time where that was safe. A token comes from the
# metadata server, whose silence is a RefreshError or a TransportError.
_TRANSIENT = (
    api.ServerError,
    api.TooManyRequests,
    api.RetryError,
    http.RequestException,
    auth.RefreshError,
    auth.TransportError,
    DataCorruption,
)


class GoogleObjects:
    """`zeroidle.ports.Objects` on Google Cloud Storage."""

    def __init__(self, client: storage.Client, new_token: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        self._client = client
        self._new_token = new_token

    @classmethod
    def connect(cls) -> GoogleObjects:
        """With the project, credentials and endpoint of the environment."""
        return cls(storage.Client())

    def stat(self, ref: ObjectRef) -> ObjectInfo | None:
        """The object's metadata, or None."""
        with _translated(ref):
            blob = self._client.bucket(ref.bucket).get_blob(
                ref.name, generation=_number(ref.generation), retry=RETRY, timeout=TIMEOUT_S
            )
        return None if blob is None else _info(blob)

    def read(self, ref: ObjectRef) -> tuple[bytes, int]:
        """The whole content and its generation."""
        blob = self._blob(ref)
        with _translated(ref):
            data = blob.download_as_bytes(retry=RETRY, timeout=TIMEOUT_S)
        return data, int(blob.generation)

    def open(self, ref: ObjectRef) -> BinaryIO:
        """A seekable stream, read in chunks."""
        info = self.stat(ref)
        if info is None:
            raise _missing(ref)
        # Pinned to the generation seen, so that an overwrite while reading gives an error, not a mixture.
        return cast(BinaryIO, _Reader(self._blob(info.ref), info.ref))

    def write(
        self,
        ref: ObjectRef,
        data: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> int:
        """Store bytes or a file; the new generation."""
        token = self._new_token()
        blob = self._client.bucket(ref.bucket).blob(ref.name)
        blob.metadata = {**(metadata or {}), WRITE_TOKEN: token}
        options: dict[str, Any] = {
            "content_type": content_type,
            "if_generation_match": if_generation,
            "retry": RETRY,
            "timeout": TIMEOUT_S,
        }
        try:
            with _translated(ref):
                if isinstance(data, Path):
                    blob.upload_from_filename(str(data), **options)
                else:
                    blob.upload_from_string(data, **options)
        except Conflict:
            # The client retries on its own: its first try may have been the one that won.
            # https://cloud.google.com/storage/docs/retry-strategy
            current = self.stat(ObjectRef(bucket=ref.bucket, name=ref.name))
            if current is None or current.metadata.get(WRITE_TOKEN) != token:
                raise
            return current.generation
        return int(blob.generation)

    def copy(self, source: ObjectRef, target: ObjectRef, *, if_generation: int | None = None) -> int:
        """Copy on the server; the new generation."""
        blob = self._client.bucket(target.bucket).blob(target.name)
        origin = self._blob(source)
        with _translated(target):
            token, _, _ = blob.rewrite(origin, if_generation_match=if_generation, retry=RETRY, timeout=TIMEOUT_S)
            while token is not None:
                token, _, _ = blob.rewrite(
                    origin, token=token, if_generation_match=if_generation, retry=RETRY, timeout=TIMEOUT_S
                )
        return int(blob.generation)

    def list(self, bucket: str, prefix: str, start: str = "") -> Iterator[ObjectInfo]:
        """All objects below a prefix from the name `start` on, in name order."""
        with _translated(ObjectRef(bucket=bucket, name=prefix or "*")):
            for blob in self._client.list_blobs(
                bucket, prefix=prefix, start_offset=start or None, retry=RETRY, timeout=TIMEOUT_S
            ):
                yield _info(blob)

    def delete(self, ref: ObjectRef, *, if_generation: int | None = None) -> None:
        """Remove the object; one that is already gone is no error."""
        try:
            with _translated(ref):
                self._blob(ref).delete(if_generation_match=if_generation, retry=RETRY, timeout=TIMEOUT_S)
        except MissingObject:
            return

    def _blob(self, ref: ObjectRef) -> Any:
        return self._client.bucket(ref.bucket).blob(ref.name, generation=_number(ref.generation))


class _Reader(BlobReader):  # type: ignore[misc]  # the client is not typed
    """The client's stream with our errors; the bytes as stored, also of an object with `Content-Encoding: gzip`."""

    def __init__(self, blob: Any, ref: ObjectRef) -> None:
        super().__init__(blob, chunk_size=CHUNK_BYTES, retry=RETRY, timeout=TIMEOUT_S, raw_download=True)
        self._ref = ref

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Raises MissingObject, TemporaryError."""
        with _translated(self._ref):
            data: bytes = super().read(size)
            return data

    def seek(self, pos: int, whence: int = 0) -> int:
        """Go to a position; the first time this asks for the size. Raises as `read` does."""
        with _translated(self._ref):
            return int(super().seek(pos, whence))


def _number(generation: str | None) -> int | None:
    return None if generation is None else int(generation)


def _info(blob: Any) -> ObjectInfo:
    return ObjectInfo(
        ref=ObjectRef(bucket=blob.bucket.name, name=blob.name, generation=str(blob.generation)),
        size=blob.size,
        content_type=blob.content_type or "",
        metadata=blob.metadata or {},
        created=blob.time_created.timestamp(),
    )


def _missing(ref: ObjectRef) -> MissingObject:
    version = f" at generation {ref.generation}" if ref.generation else ""
    return MissingObject(
        f"object {printable(ref.name)!r} is not in bucket {ref.bucket!r}{version}",
        hint="It was deleted or overwritten since; upload it again.",
    )


@contextmanager
def _translated(ref: ObjectRef) -> Iterator[None]:
    """The client's exceptions as ours."""
    where = f"{ref.bucket}/{printable(ref.name)}"
    try:
        yield
    except api.NotFound as error:
        raise _missing(ref) from error
    except api.PreconditionFailed as error:
        raise Conflict(f"{where} was written by somebody else") from error
    except _TRANSIENT as error:
        raise TemporaryError(f"storage did not answer for {where}: {printable(str(error))}") from error
    except api.ClientError as error:
        raise ZeroidleError(
            f"storage refuses {where}: {printable(error.message, 200)}",
            code="STORAGE_REFUSED",
            hint="Check that the bucket exists and what the service's account may do there.",
        ) from error
