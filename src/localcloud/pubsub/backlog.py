"""Where are the unacknowledged messages of one subscription?

Each is a row, payload and all, so a restart goes on where the process died. In memory are only those that are out or
next: a backlog of millions costs its disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from localcloud.pubsub.queue import Entry, Queue
from localcloud.pubsub.resources import message_type
from localcloud.pubsub.retained import Row, message_key, row_of
from localcloud.store import Store

MESSAGES, ATTEMPTS = "pubsub.messages", "pubsub.attempts"
PAGE = 500  # messages read ahead
_PAGE_BYTES = 2**20  # of them, payloads that are kept until they go out


class Backlog:
    """The rows of one subscription, and the queue of those that were read."""

    def __init__(self, store: Store, name: str, *, ordered: bool, one_per_key: bool, serial: int) -> None:
        self.queue = Queue(one_per_key=one_per_key, serial=serial)
        self._store = store
        self._prefix = f"{name}/"
        self._ordered = ordered
        self._read = 0  # the last message that is, or was, in the queue
        self._admitted = 0  # the last that may be read
        self._oldest_unread: float | None = None  # None: not known
        self._unread = 0
        self._payloads: dict[int, bytes] = {}  # of messages in the queue that have not gone out yet, as far as they fit
        self._payload_bytes = 0
        self._has_attempts = store.count(ATTEMPTS, self._prefix) > 0  # most have none, and needn't look for them
        self.reset()

    def __len__(self) -> int:
        return len(self.queue) + self._unread

    def put(self, rows: Iterable[Row]) -> None:
        """Store messages in the transaction that is open; `admit` makes them deliverable."""
        self._store.put_all(MESSAGES, ((self._key(row.id), row.message) for row in rows))

    def admit(self, rows: Sequence[Row]) -> bool:
        """Make messages deliverable that one transaction stored; False when it was rolled back."""
        last = rows[-1].id
        if last <= self._admitted:  # by a `reset` since they were stored
            return True
        if self._store.get(MESSAGES, self._key(last)) is None:
            return False
        self._admitted = last
        room = 0 if self._unread else max(0, PAGE - len(self.queue))
        for row in rows[:room]:
            self._enqueue(row)
        self._unread += len(rows[room:])
        return True

    def lease(self, now: float, seconds: float, max_size: float, owner: object) -> Entry | None:
        """Lease the oldest message that is ready for `owner`, unless it is larger than `max_size`."""
        while (entry := self.queue.peek(owner)) is None and self._unread:
            self._read_page()
        if entry is None or entry.size > max_size:
            return None
        self.queue.lease(entry, now, seconds, owner)
        return entry

    def head(self, limit: int) -> list[Entry]:
        """The first `limit` messages and where they stand."""
        while len(self.queue) < limit and self._unread:
            self._read_page()
        return self.queue.head(limit)

    def find(self, id_: int) -> Entry | None:
        """The message of that number, if it is not acknowledged."""
        if id_ > self._read and self._store.get(MESSAGES, self._key(id_)) is not None:
            while id_ > self._read and self._unread:
                self._read_page()
        return self.queue.find(id_)

    def message(self, entry: Entry) -> Any:
        """A PubsubMessage."""
        return message_type("PubsubMessage").FromString(self.row(entry).message)

    def payload(self, entry: Entry) -> bytes:
        """A PubsubMessage, serialized, that goes out."""
        message = self._drop_payload(entry.id)
        return self.row(entry).message if message is None else message

    def row(self, entry: Entry) -> Row:
        """The stored form of a message."""
        message = self._payloads.get(entry.id) or self._store.get(MESSAGES, self._key(entry.id))
        assert message is not None  # noqa: S101  # the row goes when the entry does
        return Row(entry.id, message, entry.published, entry.key)

    def keep_attempts(self, entry: Entry) -> None:
        """Have the count of a message's deliveries survive the process."""
        self._has_attempts = True
        self._store.put(ATTEMPTS, self._key(entry.id), str(entry.attempts).encode())

    def remove(self, entry: Entry, *, expired: bool = False) -> None:
        """The message is done with."""
        self.delete([entry.id])
        self.leave(entry, expired=expired)

    def leave(self, entry: Entry, *, expired: bool = False) -> None:
        """The message is done with; to `delete` its row is left to the caller."""
        self._drop_payload(entry.id)
        self.queue.remove(entry, expired=expired)

    def delete(self, ids: Sequence[int]) -> None:
        """Remove rows, in the transaction that is open, if any."""
        keys = [self._key(id_) for id_ in ids]
        self._store.delete_each(MESSAGES, keys)
        if self._has_attempts:
            self._store.delete_each(ATTEMPTS, keys)

    def oldest(self) -> float | None:
        """When the oldest message was published, in seconds since the epoch."""
        entry = self.queue.oldest()
        if entry is not None:
            return entry.published
        if self._unread and self._oldest_unread is None:
            self._oldest_unread = next((row.published for row in self._unread_rows(limit=1)), None)
        return self._oldest_unread if self._unread else None

    def drop_before(self, moment: float, dropped: Callable[[Row], None] | None = None) -> None:
        """Remove what was published before that moment (seconds since the epoch), telling `dropped`."""
        for entry in self.queue.entries():
            if entry.published >= moment:
                return
            if dropped is not None:
                dropped(self.row(entry))
            self.remove(entry, expired=True)
        for row in self._unread_rows():
            if row.published >= moment:
                return
            if dropped is not None:
                dropped(row)
            self.delete([row.id])
            self._read, self._oldest_unread = row.id, None
            self._unread -= 1

    def rows(self) -> Iterable[Row]:
        """All messages, in publish order; the caller may remove while it iterates."""
        for key, message in self._store.items(MESSAGES, prefix=self._prefix):
            yield row_of(int(key.removeprefix(self._prefix)), message)

    def clear(self) -> None:
        """Drop all."""
        self._store.delete_all(MESSAGES, self._prefix)
        self._store.delete_all(ATTEMPTS, self._prefix)
        self.reset()

    def reset(self) -> None:
        """Begin again with what the store holds: every lease ends, and ack ids of before mean nothing."""
        self.queue.end_all()
        self.queue = Queue(one_per_key=self.queue.one_per_key, serial=self.queue.serial)
        self._payloads.clear()
        self._payload_bytes = 0
        self._read, self._oldest_unread = 0, None
        self._unread = self._store.count(MESSAGES, self._prefix)
        last = self._store.last_key(MESSAGES, self._prefix)
        self._admitted = int(last.removeprefix(self._prefix)) if last else 0

    def _read_page(self) -> None:
        before = self._read
        for row in self._unread_rows(limit=PAGE):
            self._enqueue(row)
            self._unread -= 1
        if self._read == before:  # what was counted has gone with a transaction that was rolled back
            self._unread = 0

    def _enqueue(self, row: Row) -> None:
        self.queue.add(self._entry(row))
        self._read, self._oldest_unread = row.id, None
        if self._payload_bytes + len(row.message) <= _PAGE_BYTES:
            self._payloads[row.id] = row.message
            self._payload_bytes += len(row.message)

    def _drop_payload(self, id_: int) -> bytes | None:
        message = self._payloads.pop(id_, None)
        if message is not None:
            self._payload_bytes -= len(message)
        return message

    def _unread_rows(self, limit: int = -1) -> Iterable[Row]:
        after = self._key(self._read)
        for key, message in self._store.items(MESSAGES, after=after, prefix=self._prefix, limit=limit):
            id_ = int(key.removeprefix(self._prefix))
            if id_ > self._admitted:  # of a transaction that is open
                return
            yield row_of(id_, message)

    def _entry(self, row: Row) -> Entry:
        entry = Entry(row.id, len(row.message), row.published, row.ordering_key if self._ordered else "")
        if self._has_attempts:
            entry.attempts = int(self._store.get(ATTEMPTS, self._key(row.id)) or 0)
        return entry

    def _key(self, id_: int) -> str:
        return message_key(self._prefix, id_)
