"""What becomes of a message between its publication and the backlogs?

It is stored for every subscription in one transaction, perhaps of somebody else's, and delivered once that has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from localcloud.context import Context
from localcloud.pubsub.resources import PublishedMessage, message_type
from localcloud.pubsub.retained import Row
from localcloud.pubsub.subscription import Subscription

COUNTERS, LAST_MESSAGE = "pubsub.counters", "last-message"


class Intake:
    """Numbers messages and hands them to subscriptions."""

    def __init__(self, context: Context) -> None:
        self.last_message = int(context.store.get(COUNTERS, LAST_MESSAGE) or 0)
        self._context = context
        self._arrivals: list[tuple[Subscription, list[Row]]] = []  # stored, but not yet in a backlog
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Hand on what arrives from now on, and what has; needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        self.admit()

    def stop(self) -> None:
        """Hand nothing on any more."""
        self._loop = None

    def accept(self, subscriptions: Iterable[Subscription], messages: Sequence[PublishedMessage]) -> list[Row]:
        """Store the messages for those of the subscriptions whose filter they match.

        In the transaction that is open.
        """
        published_us = int(self._context.clock.time() * 1e6)
        published = message_type("PubsubMessage")().publish_time
        published.FromMicroseconds(published_us)
        rows = [
            _row(id_, message, published, published_us / 1e6)
            for id_, message in enumerate(messages, self.last_message + 1)
        ]
        for subscription in subscriptions:
            matches = subscription.filter.matches
            wanted = [row for row, message in zip(rows, messages, strict=True) if matches(message.attributes)]
            if wanted:
                subscription.backlog.put(wanted)
                self._arrivals.append((subscription, wanted))
        self.last_message += len(rows)
        self._context.store.put(COUNTERS, LAST_MESSAGE, str(self.last_message).encode())
        if self._loop is not None and self._arrivals:
            # Not before the transaction that this may be part of has ended.
            self._loop.call_soon(self.admit)
        return rows

    def admit(self) -> None:
        """Make deliverable what has arrived."""
        if not self._arrivals:
            return
        arrivals, self._arrivals = self._arrivals, []
        reached = {}
        for subscription, rows in arrivals:
            if not subscription.closed and subscription.backlog.admit(rows):
                reached[subscription.name] = subscription
        for subscription in reached.values():
            subscription.notify()

    def on_the_way(self, subscription: Subscription | None = None) -> int:
        """How many messages have arrived and are not deliverable yet, for one subscription or for all."""
        return sum(len(rows) for each, rows in self._arrivals if subscription in (None, each))


def _row(id_: int, message: PublishedMessage, published: Any, published_s: float) -> Row:
    resource = message_type("PubsubMessage")(
        data=message.data, message_id=message.message_id or str(id_), ordering_key=message.ordering_key
    )
    if message.attributes:
        resource.attributes.update(message.attributes)
    resource.publish_time.CopyFrom(published)
    return Row(id_, resource.SerializeToString(), published_s, message.ordering_key)
