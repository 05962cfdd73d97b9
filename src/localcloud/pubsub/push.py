"""How does a message become an HTTP request, and which answers acknowledge it?

https://cloud.google.com/pubsub/docs/push
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.clock import Timer
from localcloud.context import Context
from localcloud.pubsub.connections import Connections, NotAnswered
from localcloud.pubsub.deliveries import Delivery
from localcloud.pubsub.errors import shown
from localcloud.pubsub.queue import EARLY_S
from localcloud.pubsub.subscription import Subscription

ACKNOWLEDGING = frozenset({102, 200, 201, 202, 204})
MAX_IN_FLIGHT = 100  # requests of one subscription; the service begins lower and goes beyond
# https://cloud.google.com/pubsub/docs/push#push_backoff
BACKOFF_S = (0.1, 60.0)
_MOST_PAUSES = 11  # the longest is reached; as many successes make the next one the shortest

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # https://www.rfc-editor.org/rfc/rfc9110#name-tokens
_OF_CONNECTION = frozenset(
    ("connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade")
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What is POSTed; the Authorization header is added when it is sent."""

    url: str
    headers: Mapping[str, str]
    body: bytes


Encoder = Callable[[Any, Delivery], PushRequest]  # subscription resource, delivery


def encode(resource: Any, delivery: Delivery) -> PushRequest:
    """The request as the subscription's push_config asks for it."""
    config = resource.push_config
    if config.HasField("no_wrapper"):
        return _unwrapped(resource, delivery)
    body: dict[str, object] = {"message": message_json(delivery.message), "subscription": resource.name}
    if delivery.attempt:
        body["deliveryAttempt"] = delivery.attempt
    return PushRequest(config.push_endpoint, _HEADERS, json.dumps(body).encode())


def message_json(message: Any) -> dict[str, object]:
    """A PubsubMessage as push requests carry it: both spellings of id and time."""
    published = message.publish_time.ToJsonString()
    fields: dict[str, object] = {
        "data": base64.b64encode(message.data).decode(),
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": published,
        "publish_time": published,
    }
    if message.attributes:
        fields["attributes"] = dict(message.attributes)
    if message.ordering_key:
        fields["orderingKey"] = message.ordering_key
    return fields


_HEADERS = {"Content-Type": "application/json", "From": "noreply@google.com", "User-Agent": "CloudPubSub-Google"}


def _unwrapped(resource: Any, delivery: Delivery) -> PushRequest:
    """https://cloud.google.com/pubsub/docs/payload-unwrapping"""
    message = delivery.message
    headers = {name: value for name, value in _HEADERS.items() if name != "Content-Type"}
    if resource.push_config.no_wrapper.write_metadata:
        headers["x-goog-pubsub-subscription-name"] = resource.name
        headers["x-goog-pubsub-message-id"] = message.message_id
        headers["x-goog-pubsub-publish-time"] = message.publish_time.ToJsonString()
        if message.ordering_key:
            headers["x-goog-pubsub-ordering-key"] = message.ordering_key
        if delivery.attempt:
            headers["x-goog-pubsub-delivery-attempt"] = str(delivery.attempt)
        headers.update({k: v for k, v in message.attributes.items() if _fits_header(k, v)})
    return PushRequest(resource.push_config.push_endpoint, headers, message.data)


def _fits_header(name: str, value: str) -> bool:
    return (
        bool(_TOKEN.fullmatch(name)) and name.lower() not in _OF_CONNECTION and value.isascii() and value.isprintable()
    )


class Pusher:
    """Pushes the messages of one subscription, at most MAX_IN_FLIGHT at a time, each as long as its lease lasts.

    Without a retry policy a message that is refused holds up the others: pushing stops for a while, the longer the more
    often that happens.
    """

    def __init__(
        self,
        context: Context,
        subscription: Subscription,
        connections: Connections,
        encoder: Encoder,
    ) -> None:
        self.pauses = 0  # one after another; a success takes one back
        self._context = context
        self._subscription = subscription
        self._connections = connections
        self._encode = encoder
        self._tasks: set[asyncio.Task[None]] = set()
        self._answered: list[str] = []  # ack ids
        self._pause: Timer | None = None
        self._pumping = False
        self._stopped = False

    @property
    def paused_until(self) -> float | None:
        """When pushing goes on, in seconds since the epoch; None: now."""
        return self._pause.when if self._pause is not None and self._pause.is_pending else None

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._context.clock.time()

    def start(self) -> None:
        """Push what there is and what comes."""
        self._subscription.listeners.add(self._pump)
        self._pump()

    async def stop(self) -> None:
        """Break off the requests that are open; their messages are delivered again."""
        self._stopped = True
        self._acknowledge()
        self._subscription.listeners.discard(self._pump)
        if self._pause is not None:
            self._pause.cancel()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _pump(self) -> None:
        # A message given up within `take` notifies its listeners; a request broken off by `stop` makes room.
        if self._pumping or self._stopped or self.paused_until is not None:
            return
        self._pumping = True
        try:
            while len(self._tasks) < MAX_IN_FLIGHT and not self._subscription.closed:
                leased = _Lease(self.now() + self._subscription.resource.ack_deadline_seconds, self)
                deliveries = self._subscription.take(1, on_end=leased.ended)
                if not deliveries:
                    return
                for delivery in deliveries:
                    task = asyncio.get_running_loop().create_task(self._push(delivery))
                    leased.tasks.append(task)
                    self._tasks.add(task)
                    task.add_done_callback(self._done)
        finally:
            self._pumping = False

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: a push failed unexpectedly", self._subscription.name, exc_info=error)
        if self._subscription.queue.leased < len(self._subscription.backlog):
            self._pump()

    async def _push(self, delivery: Delivery) -> None:
        answer = await self._answer(self._encode(self._subscription.resource, delivery))
        if answer in ACKNOWLEDGING and not delivery.response_lost:
            self.pauses = max(0, self.pauses - 1)
            self._answered.append(delivery.ack_id)
            if len(self._answered) == 1:
                asyncio.get_running_loop().call_soon(self._acknowledge)
            return
        log.warning("%s: message %s was answered %s", self._subscription.name, delivery.message.message_id, answer)
        self.back_off()
        self._subscription.extend([delivery.ack_id], 0)

    def _acknowledge(self) -> None:
        """What was answered in one turn of the loop costs one transaction."""
        answered, self._answered = self._answered, []
        if answered and not self._subscription.closed:
            self._subscription.acknowledge(answered)

    def back_off(self) -> None:
        """A message was refused, or not answered in time."""
        # What was on its way when pushing stopped says nothing new.
        if self._stopped or self.paused_until is not None or self._subscription.resource.HasField("retry_policy"):
            return
        shortest, longest = BACKOFF_S
        wait_s = min(longest, shortest * 2.0 ** min(self.pauses, 64))
        self.pauses = min(self.pauses + 1, _MOST_PAUSES)
        self._pause = self._context.clock.call_later(wait_s - EARLY_S, self._pump)

    async def _answer(self, request: PushRequest) -> int | str:
        """The status code, or why there is none."""
        headers = {**request.headers, **self._authorization(request.url)}
        try:
            return await self._connections.post(request.url, headers, request.body)
        except (NotAnswered, OSError, ValueError) as error:
            return f"not at all: {shown(str(error) or type(error).__name__)}"

    def _authorization(self, url: str) -> dict[str, str]:
        token = self._subscription.resource.push_config.oidc_token
        if not token.service_account_email:
            return {}
        return {
            "Authorization": f"Bearer {self._context.identity.mint(token.audience or url, token.service_account_email)}"
        }


class _Lease:
    """The requests that one lease pays for; they end with it."""

    def __init__(self, until: float, pusher: Pusher) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self._until = until
        self._pusher = pusher

    def ended(self, ran_out: bool) -> None:
        if not ran_out:
            return
        if self._pusher.now() >= self._until - 3 * EARLY_S:  # a seek ends leases early, and nobody is to blame
            self._pusher.back_off()
        for task in self.tasks:
            task.cancel()
