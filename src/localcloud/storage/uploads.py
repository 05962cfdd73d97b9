"""How far has each resumable upload come?

A session is a row and, past the first quantum, a file; both outlive the process.
https://cloud.google.com/storage/docs/resumable-uploads
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable

import msgspec

from localcloud.storage.errors import StorageError, invalid
from localcloud.storage.payloads import FILE_SUFFIX, PayloadWriter
from localcloud.storage.resources import Target
from localcloud.store import Store

LIFETIME_US = 7 * 24 * 3600 * 1_000_000
_TABLE = "storage.uploads"
_encode = msgspec.msgpack.Encoder().encode
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)")


class Session(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an upload will become once complete; `result` is the response to the request that completed it."""

    id: str
    target: Target
    total: int | None  # size, where the client has announced it
    created: int
    result: bytes = b""

    @property
    def file(self) -> str:
        """Name of the file that holds what has arrived."""
        return f"{self.id}{FILE_SUFFIX}"


class ContentRange(msgspec.Struct, frozen=True):
    """A chunk's place: `start` to `end` (inclusive), both None for a status query; `total` None while unknown."""

    start: int | None
    end: int | None
    total: int | None

    def completes(self, persisted: int) -> bool:
        """Whether nothing is missing after this chunk; without an end the body is the rest."""
        if self.start is None:
            return self.total is not None and self.total == persisted
        return self.end is None or self.end + 1 == self.total


class Uploads:
    """All sessions, oldest first."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        self._store = store
        self._now = now  # microseconds
        sessions = [msgspec.msgpack.decode(value, type=Session) for _, value in store.items(_TABLE)]
        self._sessions = {session.id: session for session in sorted(sessions, key=lambda s: s.created)}
        self._writers: dict[str, PayloadWriter] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def begin(self, target: Target, total: int | None) -> Session:
        """A new session."""
        self.expire()
        session = Session(id=secrets.token_hex(24), target=target, total=total, created=self._now())
        self._store.put(_TABLE, session.id, _encode(session))
        self._sessions[session.id] = session
        return session

    def get(self, upload_id: str) -> Session:
        """The session. Raises StorageError 404: unknown, cancelled or expired; the client must begin anew."""
        self.expire()
        session = self._sessions.get(upload_id)
        if session is None:
            raise StorageError(404, "The upload session does not exist or has expired.", xml_code="NoSuchUpload")
        return session

    def lock(self, session: Session) -> asyncio.Lock:
        """Held while a request adds to the session: a client that gave up on one may be trying again already."""
        return self._locks.setdefault(session.id, asyncio.Lock())

    def writer(self, session: Session) -> PayloadWriter:
        """Where the session's bytes go, at the place where they stopped."""
        writer = self._writers.get(session.id)
        if writer is None:
            writer = self._writers[session.id] = PayloadWriter.reopen(self._store.blobs / session.file)
        return writer

    def completion(self, session: Session, result: bytes) -> tuple[str, str, bytes]:
        """The row that says the session is complete, to be written in the transaction that makes the object."""
        return _TABLE, session.id, _encode(msgspec.structs.replace(session, result=result))

    def complete(self, session: Session, result: bytes) -> None:
        """Remember the response, for a client that does not get it; its row is written."""
        self._sessions[session.id] = msgspec.structs.replace(session, result=result)
        self._forget(session)

    def cancel(self, session: Session) -> None:
        """End the session; what has arrived is gone."""
        self._store.delete(_TABLE, session.id)
        del self._sessions[session.id]
        if writer := self._writers.get(session.id):
            writer.close()
        if not session.result:  # else the file is the object's
            (self._store.blobs / session.file).unlink(missing_ok=True)
        self._forget(session)

    def expire(self) -> None:
        """End the sessions that are older than a week."""
        oldest = self._now() - LIFETIME_US
        for session in list(self._sessions.values()):
            if session.created > oldest:
                break
            self.cancel(session)

    def files(self) -> set[str]:
        """Names of the files of incomplete sessions."""
        return {session.file for session in self._sessions.values() if not session.result}

    def close(self) -> None:
        """Close files; the sessions stay."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _forget(self, session: Session) -> None:
        self._writers.pop(session.id, None)
        self._locks.pop(session.id, None)


def content_range(header: str | None) -> ContentRange:
    """The header `Content-Range`; without one the body is the whole. Raises StorageError 400."""
    if header is None:
        return ContentRange(0, None, None)
    match = _CONTENT_RANGE.fullmatch(header)
    if match is None:
        raise invalid(f"Failed to parse Content-Range header: {header[:60]!r}.", ("header", "Content-Range"))
    start, end, total = (None if text in (None, "*") else int(text) for text in match.groups())
    if end is not None and start is not None and (end < start or (total is not None and end >= total)):
        raise invalid(f"Invalid Content-Range header: {header[:60]!r}.", ("header", "Content-Range"))
    return ContentRange(start, end, total)
