"""Where does the local cloud keep its state, and what survives `kill -9`?

One SQLite file holds every document of every service, so that one transaction can span two of them (an object and the
event it causes); payloads too large for a row are files under `blobs`. Nothing is flushed to the disk: what the process
has written survives its own death, not a power cut, which is the price of answering in microseconds.

State "in memory" is the same thing in a temporary directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path


class StateInUse(Exception):
    """Another process has this state directory open."""


class Store:
    """Documents by (table, key), keys ordered as UTF-8 bytes. Used from one thread."""

    def __init__(self, directory: Path | None = None) -> None:
        """Open the state under `directory`, or in a temporary directory that `close` removes.

        Raises:
            StateInUse: another process holds the directory.
        """
        self._temporary = directory is None
        self.directory = Path(tempfile.mkdtemp(prefix="localcloud-")) if directory is None else directory
        self.blobs = self.directory / "blobs"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()
        self._depth = 0
        # Autocommit mode: transactions are ours to open and close.
        self._db = sqlite3.connect(self.directory / "state.sqlite", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS documents"
            " (name TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (name, key)) WITHOUT ROWID"
        )

    def _take_lock(self) -> int:
        handle = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise StateInUse(f"the state in {self.directory} is in use by another local cloud") from error
        return handle

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside become visible together or not at all; an inner transaction joins the outer one.

        The body must not await: another task's writes would join it.
        """
        if self._depth == 0:
            self._db.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            if self._depth == 0:
                self._db.execute("ROLLBACK")
            raise
        self._depth -= 1
        if self._depth == 0:
            self._db.execute("COMMIT")

    def put(self, table: str, key: str, value: bytes) -> None:
        """Write a document, replacing one of the same key."""
        self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (table, key.encode(), value))

    def get(self, table: str, key: str) -> bytes | None:
        """The document, or None."""
        row = self._db.execute("SELECT value FROM documents WHERE name=? AND key=?", (table, key.encode())).fetchone()
        return None if row is None else row[0]

    def delete(self, table: str, key: str) -> None:
        """Remove a document; a missing one is no error."""
        self._db.execute("DELETE FROM documents WHERE name=? AND key=?", (table, key.encode()))

    def items(self, table: str, *, after: str = "", prefix: str = "", limit: int = -1) -> Iterator[tuple[str, bytes]]:
        """Documents whose key starts with `prefix` and is greater than `after`, in key order."""
        rows = self._db.execute(
            "SELECT key, value FROM documents WHERE name=? AND key>? AND key>=? AND substr(key,1,?)=? ORDER BY key LIMIT ?",
            (table, after.encode(), prefix.encode(), len(prefix.encode()), prefix.encode(), limit),
        )
        for key, value in rows:
            yield bytes(key).decode(), value

    def new_blob(self) -> Path:
        """A path for a new payload file, not yet created, unique within this state."""
        return self.blobs / os.urandom(12).hex()

    def close(self) -> None:
        """Let go of the directory; a temporary one is removed."""
        self._db.close()
        os.close(self._lock)
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)
