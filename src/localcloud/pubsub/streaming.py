"""What does a subscriber that pulls get, and when must it wait?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from localcloud.pubsub.deliveries import Delivery
from localcloud.pubsub.errors import InvalidArgument
from localcloud.pubsub.resources import ACK_DEADLINE_S, message_type
from localcloud.pubsub.subscription import Subscription

# Of the messages in one response. A client on an insecure channel (PUBSUB_EMULATOR_HOST) takes gRPC's default of 4 MiB.
RESPONSE_BYTES = 3 * 2**20
_PER_RESPONSE = 1000


class Stream:
    """One subscriber of a pull subscription: a single Pull, or a StreamingPull with its flow control."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._lease_s: float | None = None
        self._max_messages: float = float("inf")
        self._max_bytes: float = float("inf")
        self._messages = 0  # outstanding: leased through this stream
        self._bytes = 0
        self._changed = asyncio.Event()
        self._confirmations: list[Any] = []  # responses that tell which ack ids were valid

    @property
    def closed(self) -> bool:
        """Is the subscription gone?"""
        return self._subscription.closed

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Have `changed` wake when there may be something to take."""
        self._subscription.listeners.add(self._changed.set)
        try:
            yield
        finally:
            self._subscription.listeners.discard(self._changed.set)
            self._subscription.queue.forget(self)

    async def changed(self, timeout_s: float) -> None:
        """Wait for a change, at most `timeout_s` seconds of real time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    def take(self, limit: int, received: Any) -> None:
        """Lease up to `limit` messages, as many as flow control and the size of a response allow.

        They are added to `received`, the ReceivedMessages of a response.
        """
        with self._subscription.batch():
            self._take(limit, received)

    def _take(self, limit: int, received: Any) -> None:
        room: float = RESPONSE_BYTES
        while len(received) < limit and self._messages < self._max_messages:
            # A message larger than what is allowed in all still goes out when it is alone.
            allowed = self._max_bytes - self._bytes if self._messages else float("inf")
            taken = self._take_one(min(allowed, room) if received else allowed)
            if not taken:
                break
            for delivery in taken:
                added = received.add(ack_id=delivery.ack_id, delivery_attempt=delivery.attempt)
                added.message.MergeFromString(delivery.payload)
                room -= delivery.size

    def _take_one(self, max_bytes: float) -> list[Delivery]:
        share = _Share(self)
        taken = self._subscription.take(1, lease_s=self._lease_s, max_bytes=max_bytes, on_end=share.ended, owner=self)
        if taken:
            share.hold(taken[0].size)
        if taken and taken[0].response_lost:
            self._subscription.extend([taken[0].ack_id], 0)
        return taken

    def configure(self, first: Any) -> None:
        """Take over the settings of a stream's first request. Raises InvalidArgument."""
        self._lease_s = _stream_deadline(first.stream_ack_deadline_seconds)
        if first.max_outstanding_messages > 0:
            self._max_messages = first.max_outstanding_messages
        if first.max_outstanding_bytes > 0:
            self._max_bytes = first.max_outstanding_bytes

    async def run(self, requests: AsyncIterator[Any], write: Callable[[Any], Awaitable[None]]) -> None:
        """Send messages and take acknowledgements until the client or the subscription ends."""
        reader = asyncio.ensure_future(self._read(requests))
        reader.add_done_callback(lambda _: self._changed.set())
        try:
            with self.listening():
                while not self.closed and not reader.done():
                    self._changed.clear()
                    response = self._response()
                    self.take(_PER_RESPONSE, response.received_messages)
                    confirmations, self._confirmations = self._confirmations, []
                    for confirmation in confirmations:
                        await write(confirmation)
                    if response.received_messages:
                        await write(response)
                    elif not confirmations:
                        await self._changed.wait()
            if reader.done():
                reader.result()
        finally:
            reader.cancel()

    async def _read(self, requests: AsyncIterator[Any]) -> None:
        async for request in requests:
            if request.stream_ack_deadline_seconds:
                self._lease_s = _stream_deadline(request.stream_ack_deadline_seconds)
            self._modify(request.modify_deadline_ack_ids, request.modify_deadline_seconds)
            self._acknowledge(request.ack_ids)

    def _acknowledge(self, ack_ids: Sequence[str]) -> None:
        if not ack_ids:
            return
        invalid = self._subscription.acknowledge(ack_ids)
        confirmation = _response().AcknowledgeConfirmation(ack_ids=_without(ack_ids, invalid), invalid_ack_ids=invalid)
        self._confirm(acknowledge_confirmation=confirmation)

    def _modify(self, ack_ids: Sequence[str], seconds: Sequence[int]) -> None:
        if len(ack_ids) != len(seconds):
            raise InvalidArgument("modify_deadline_ack_ids and modify_deadline_seconds differ in length")
        if not ack_ids:
            return
        by_deadline: dict[int, list[str]] = {}
        for ack_id, deadline in zip(ack_ids, seconds, strict=True):
            if not 0 <= deadline <= ACK_DEADLINE_S[1]:
                raise InvalidArgument(f"modify_deadline_seconds has {deadline}; expected 0 to {ACK_DEADLINE_S[1]}")
            by_deadline.setdefault(deadline, []).append(ack_id)
        invalid = [
            ack_id for deadline, ids in by_deadline.items() for ack_id in self._subscription.extend(ids, deadline)
        ]
        confirmation = _response().ModifyAckDeadlineConfirmation(
            ack_ids=_without(ack_ids, invalid), invalid_ack_ids=invalid
        )
        self._confirm(modify_ack_deadline_confirmation=confirmation)

    def _confirm(self, **confirmation: Any) -> None:
        """Where delivery is exactly-once, the subscriber is told what became of its ack ids."""
        if self._subscription.is_exactly_once:
            self._confirmations.append(self._response(**confirmation))
            self._changed.set()

    def _response(self, **fields: Any) -> Any:
        resource = self._subscription.resource
        properties = _response().SubscriptionProperties(
            exactly_once_delivery_enabled=resource.enable_exactly_once_delivery,
            message_ordering_enabled=resource.enable_message_ordering,
        )
        return _response()(subscription_properties=properties, **fields)

    def _outstanding(self, messages: int, size: int) -> None:
        was_full = self._messages >= self._max_messages or self._bytes >= self._max_bytes
        self._messages += messages
        self._bytes += size
        if was_full:
            self._changed.set()


class _Share:
    """What one leased message takes of its stream's flow control."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._size: int | None = None

    def hold(self, size: int) -> None:
        self._size = size
        self._stream._outstanding(1, size)

    def ended(self, ran_out: bool) -> None:
        if self._size is not None:
            self._stream._outstanding(-1, -self._size)
            self._size = None


def _without(ack_ids: Sequence[str], invalid: Sequence[str]) -> list[str]:
    dropped = set(invalid)
    return [ack_id for ack_id in ack_ids if ack_id not in dropped]


def _stream_deadline(seconds: int) -> float:
    if not ACK_DEADLINE_S[0] <= seconds <= ACK_DEADLINE_S[1]:
        raise InvalidArgument(f"stream_ack_deadline_seconds is {seconds}; expected 10 to 600")
    return float(seconds)


def _response() -> Any:
    return message_type("StreamingPullResponse")
