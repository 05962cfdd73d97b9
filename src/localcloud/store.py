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
from collections.abc import Iterable, Iterator
from pathlib import Path

PAGE = 500
DATABASE = "state.sqlite"


class StateInUse(Exception):
    """Another process has this state directory open."""


class Store:
    """Documents by (table, key), keys ordered as UTF-8 bytes. Used from one thread."""

    def __init__(self, directory: Path | None = None) -> None:
        """Open the state under `directory`, or in a temporary directory that `close` removes.

        Raises:
            StateInUse: another process holds the directory.
        """
        self.is_temporary = directory is None
        self.directory = Path(tempfile.mkdtemp(prefix="localcloud-")) if directory is None else directory.absolute()
        self.blobs = self.directory / "blobs"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()
        self._depth = 0
        try:
            self._db = self._open_database()
        except BaseException:
            os.close(self._lock)
            raise

    def _take_lock(self) -> int:
        handle = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 32).decode(errors="replace").strip()
            os.close(handle)
            by = f"process {holder}" if holder.isdigit() else "another local cloud"
            raise StateInUse(f"the state in {self.directory} is in use by {by}") from error
        os.truncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        return handle

    def _open_database(self) -> sqlite3.Connection:
        # Autocommit mode: transactions are ours to open and close.
        db = sqlite3.connect(self.directory / DATABASE, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=OFF")
            # With row ids: WITHOUT them inner pages hold whole documents, four of 1 kB, and a large table is deep.
            db.execute(
                "CREATE TABLE IF NOT EXISTS documents"
                " (name TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (name, key))"
            )
        except BaseException:
            db.close()
            raise
        return db

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside become visible together or not at all.

        A transaction inside another is undone alone when its body raises, and becomes visible with the outer one.
        The body must not await: another task's writes would join it.
        """
        if self._depth == 0:
            begin, commit, undo = "BEGIN IMMEDIATE", "COMMIT", ["ROLLBACK"]
        else:
            begin, commit = "SAVEPOINT nested", "RELEASE nested"
            undo = ["ROLLBACK TO nested", "RELEASE nested"]
        self._db.execute(begin)
        self._depth += 1
        try:
            yield
            self._db.execute(commit)
        except BaseException:
            if self._db.in_transaction:  # a full disk has already rolled it back
                for statement in undo:
                    self._db.execute(statement)
            raise
        finally:
            self._depth -= 1

    def put(self, table: str, key: str, value: bytes) -> None:
        """Write a document, replacing one of the same key."""
        self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (table, key.encode(), value))

    def put_all(self, table: str, documents: Iterable[tuple[str, bytes]]) -> None:
        """Write many documents, by key: cheaper than one by one."""
        rows = ((table, key.encode(), value) for key, value in documents)
        self._db.executemany("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", rows)

    def get(self, table: str, key: str) -> bytes | None:
        """The document, or None."""
        row = self._db.execute("SELECT value FROM documents WHERE name=? AND key=?", (table, key.encode())).fetchone()
        return None if row is None else row[0]

    def delete(self, table: str, key: str) -> None:
        """Remove a document; a missing one is no error."""
        self._db.execute("DELETE FROM documents WHERE name=? AND key=?", (table, key.encode()))

    def delete_each(self, table: str, keys: Iterable[str]) -> None:
        """Remove many documents: cheaper than one by one."""
        rows = ((table, key.encode()) for key in keys)
        self._db.executemany("DELETE FROM documents WHERE name=? AND key=?", rows)

    def delete_all(self, table: str, prefix: str) -> None:
        """Remove every document whose key starts with `prefix`."""
        low = prefix.encode()
        self._db.execute("DELETE FROM documents WHERE name=? AND key>=? AND key<?", (table, low, _successor(low)))

    def count(self, table: str, prefix: str = "") -> int:
        """How many documents have a key that starts with `prefix`."""
        low = prefix.encode()
        query = "SELECT COUNT(*) FROM documents WHERE name=? AND key>=? AND key<?"
        return int(self._db.execute(query, (table, low, _successor(low))).fetchone()[0])

    def last_key(self, table: str, prefix: str = "") -> str | None:
        """The greatest key that starts with `prefix`, or None."""
        low = prefix.encode()
        query = "SELECT key FROM documents WHERE name=? AND key>=? AND key<? ORDER BY key DESC LIMIT 1"
        row = self._db.execute(query, (table, low, _successor(low))).fetchone()
        return None if row is None else row[0].decode()

    def backwards(self, table: str, *, before: str = "", prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """Documents whose key starts with `prefix` and is less than `before`, greatest key first; read as `items`."""
        low = prefix.encode()
        high = min(before.encode(), _successor(low)) if before else _successor(low)
        query = "SELECT key, value FROM documents WHERE name=? AND key>=? AND key<? ORDER BY key DESC LIMIT ?"
        while rows := self._db.execute(query, (table, low, high, PAGE)).fetchall():
            for key, value in rows:
                yield key.decode(), value
            high = rows[-1][0]

    def items(self, table: str, *, after: str = "", prefix: str = "", limit: int = -1) -> Iterator[tuple[str, bytes]]:
        """Documents whose key starts with `prefix` and is greater than `after`, in key order.

        A negative `limit` is none. They are read in pages, so the caller may write while it iterates: a page shows what
        stood when it was read.
        """
        # key + NUL is the smallest key greater than `key`.
        low = after.encode() + b"\0" if after >= prefix else prefix.encode()
        high = _successor(prefix.encode())
        while limit != 0:
            size = PAGE if limit < 0 else min(limit, PAGE)
            rows = self._db.execute(
                "SELECT key, value FROM documents WHERE name=? AND key>=? AND key<? ORDER BY key LIMIT ?",
                (table, low, high, size),
            ).fetchall()
            for key, value in rows:
                yield key.decode(), value
            if len(rows) < size:
                return
            low = rows[-1][0] + b"\0"
            limit -= size if limit > 0 else 0

    def new_blob(self) -> Path:
        """A path for a new payload file, not yet created, unique within this state."""
        return self.blobs / os.urandom(12).hex()

    def close(self) -> None:
        """Let go of the directory; a temporary one is removed."""
        self._db.close()
        os.close(self._lock)
        if self.is_temporary:
            shutil.rmtree(self.directory, ignore_errors=True)


def _successor(prefix: bytes) -> bytes:
    """The smallest key after all that start with `prefix`; UTF-8 has no byte 0xFF, so the last one can be raised."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else b"\xff"
