"""Which subscriptions are being pushed, and in what form?"""

from __future__ import annotations

import asyncio

from localcloud.context import Context
from localcloud.pubsub import push
from localcloud.pubsub.connections import Connections
from localcloud.pubsub.push import Encoder, Pusher
from localcloud.pubsub.subscription import Subscription


class Pushers:
    """One pusher for each push subscription, once they are started."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._encoders: dict[str, Encoder] = {}
        self._pushers: dict[str, Pusher] = {}
        self._is_open = False
        self._connections = Connections()
        self._stopping: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Be ready to push; needs a running event loop."""
        self._is_open = True

    async def close(self) -> None:
        """Stop all pushing, and wait until what was open is broken off."""
        await asyncio.gather(*(pusher.stop() for pusher in self._pushers.values()), *self._stopping)
        self._pushers.clear()
        self._is_open = False
        self._connections.close()

    def set_encoder(self, subscription: str, encoder: Encoder) -> None:
        """Have a subscription (full name; it need not exist yet) send other requests than Pub/Sub's own."""
        self._encoders[subscription] = encoder

    def start(self, subscription: Subscription) -> None:
        """Push the messages of a subscription."""
        if not self._is_open:
            return
        encoder = self._encoders.get(subscription.name, push.encode)
        pusher = self._pushers[subscription.name] = Pusher(self._context, subscription, self._connections, encoder)
        pusher.start()

    def stop(self, name: str) -> None:
        """Push the messages of that subscription (full name) no more."""
        pusher = self._pushers.pop(name, None)
        if pusher is not None and self._is_open:
            task = asyncio.get_running_loop().create_task(pusher.stop())
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    def pusher(self, name: str) -> Pusher | None:
        """What pushes that subscription (full name), if anything does."""
        return self._pushers.get(name)

    @property
    def is_settled(self) -> bool:
        """Are all requests broken off that were to be?"""
        return not self._stopping
