"""Which messages are kept beyond their acknowledgement, for whom?

A topic keeps what was published to it (`message_retention_duration`), a subscription what it acknowledged
(`retain_acked_messages`), a snapshot what it holds. They are rows under the holder's full name, in publish order.
https://cloud.google.com/pubsub/docs/replay-overview
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from localcloud.pubsub.resources import message_type
from localcloud.store import Store

RETAINED = "pubsub.retained"


class Row(NamedTuple):
    """A message as it is stored; `published` is in seconds since the epoch."""

    id: int
    message: bytes
    published: float
    ordering_key: str = ""


class Retained:
    """What one holder keeps."""

    def __init__(self, store: Store, holder: str) -> None:
        self._store = store
        self._prefix = f"{holder}/"
        self._oldest: float | None = None  # None: not known

    def put(self, row: Row) -> None:
        """Keep a message."""
        self._store.put(RETAINED, self._key(row.id), row.message)

    def remove(self, id_: int) -> None:
        """Keep a message no longer."""
        self._store.delete(RETAINED, self._key(id_))
        self._oldest = None

    def rows(self) -> Iterator[Row]:
        """All that is kept, in publish order; the caller may remove while it iterates."""
        for key, message in self._store.items(RETAINED, prefix=self._prefix):
            yield row_of(int(key.removeprefix(self._prefix)), message)

    def trim(self, before: float) -> None:
        """Drop what was published before that moment (seconds since the epoch); cheap while that is nothing."""
        if self._oldest is not None and self._oldest >= before:
            return
        for row in self.rows():
            if row.published >= before:
                self._oldest = row.published
                return
            self.remove(row.id)

    def clear(self) -> None:
        """Drop all."""
        self._store.delete_all(RETAINED, self._prefix)
        self._oldest = None

    def _key(self, id_: int) -> str:
        return message_key(self._prefix, id_)


def message_key(prefix: str, id_: int) -> str:
    """The key of a message's row; keys sort as the numbers do."""
    return f"{prefix}{id_:020d}"


def row_of(id_: int, message: bytes) -> Row:
    """A stored message with what one wants to know without reading it again."""
    parsed = message_type("PubsubMessage").FromString(message)
    return Row(id_, message, parsed.publish_time.ToNanoseconds() / 1e9, parsed.ordering_key)
