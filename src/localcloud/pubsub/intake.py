"""What becomes of a message between its publication and the backlogs?

It is stored for every subscription in one transaction, perhaps of somebody else's, and delivered once that has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

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
        self._arrivals: list[tuple[Subscription, int]] = []  # stored, but not yet in a backlog
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Hand on what arrives from now on, and what has; needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        self.admit()

    def stop(self) -> None:
        """Hand nothing on any more."""
        self._loop = None

    def accept(self, subscriptions: Iterable[Subscription], messages: Sequence[PublishedMessage]) -> list[Row]:
        """Store the messages for those of the subscriptions whose filter they match."""
        published_us = int(self._context.clock.time() * 1e6)
        rows = []
        with self._context.store.transaction():
            for message in messages:
                self.last_message += 1
                rows.append(_row(self.last_message, message, published_us))
                for subscription in subscriptions:
                    if subscription.filter.matches(message.attributes):
                        subscription.backlog.put(rows[-1])
                        self._arrivals.append((subscription, rows[-1].id))
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
        with self._context.store.transaction():  # reads are cheaper together
            for subscription, id_ in arrivals:
                if not subscription.closed and subscription.backlog.admit(id_):
                    reached[subscription.name] = subscription
        for subscription in reached.values():
            subscription.notify()

    def on_the_way(self, subscription: Subscription | None = None) -> int:
        """How many messages have arrived and are not deliverable yet, for one subscription or for all."""
        return sum(subscription in (None, each) for each, _ in self._arrivals)


def _row(id_: int, message: PublishedMessage, published_us: int) -> Row:
    resource = message_type("PubsubMessage")(
        data=message.data,
        attributes=message.attributes,
        message_id=message.message_id or str(id_),
        ordering_key=message.ordering_key,
    )
    resource.publish_time.FromMicroseconds(published_us)
    return Row(id_, resource.SerializeToString(), published_us / 1e6, message.ordering_key)
