"""What do the handlers and services need of the cloud? Small protocols; `gcp` implements them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from zeroidle.contracts.services import ObjectRef

ABSENT = 0  # as `if_generation`: the object must not exist yet


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What storage says of an object. `size` is in bytes, `created` in seconds since the epoch."""

    ref: ObjectRef  # with its generation
    size: int
    content_type: str
    metadata: Mapping[str, str]
    created: float

    @property
    def generation(self) -> int:
        """The version as a number, for `if_generation`."""
        return int(self.ref.generation or 0)


class Objects(Protocol):
    """Object storage. Every call raises TemporaryError when storage stays unavailable."""

    def stat(self, ref: ObjectRef) -> ObjectInfo | None:
        """The object's metadata, or None if there is no such object or generation."""

    def read(self, ref: ObjectRef) -> tuple[bytes, int]:
        """The whole content and its generation. Raises MissingObject."""

    def open(self, ref: ObjectRef) -> BinaryIO:
        """A seekable stream over the content in bounded memory. Raises MissingObject."""

    def write(
        self,
        ref: ObjectRef,
        data: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> int:
        """Store bytes or a file; the new generation.

        With `if_generation` only if the object is at that generation (ABSENT: does not exist). A write whose response
        was lost counts as won. Raises Conflict.
        """

    def copy(self, source: ObjectRef, target: ObjectRef, *, if_generation: int | None = None) -> int:
        """Copy on the server; the new generation. Raises MissingObject, Conflict."""

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose name starts with `prefix`, in name order."""

    def delete(self, ref: ObjectRef, *, if_generation: int | None = None) -> None:
        """Remove the object; one that is already gone is no error. Raises Conflict."""


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Seconds since the epoch."""
