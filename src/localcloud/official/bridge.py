"""How does what happens in Google's emulator reach the local cloud, and the other way round?

Out: what the local cloud publishes to a topic goes to one push subscription of the embedded Pub/Sub, which posts it to
Google's emulator until that takes it. In: for each Pub/Sub trigger a subscription of Google's emulator is pulled, its
messages are stored in the trigger's own, with their ids, and only then acknowledged.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import grpc

from localcloud.context import Context
from localcloud.eventarc.state import Eventarc, Trigger
from localcloud.gateway import MAX_MESSAGE_BYTES
from localcloud.official.process import Emulator
from localcloud.pubsub.deliveries import Delivery
from localcloud.pubsub.push import PushRequest
from localcloud.pubsub.resources import PublishedMessage, SubscriptionSpec, full_name, short_name
from localcloud.pubsub.state import PubSub

RELAY = "official-relay-"  # and the topic's name: the subscription that posts to Google's emulator
FAULT_POINT = "pubsub.messages.relay"
MAX_PULLED = 100  # the emulator gives no more at a time
PULL_S, RETRY_S = 60.0, 1.0  # of real time, like the emulator's own
CONNECT_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


class Bridge:
    """Google's emulator in front of the embedded Pub/Sub, for the topics and triggers that are there at the start."""

    def __init__(self, context: Context, pubsub: PubSub, eventarc: Eventarc, emulator: Emulator) -> None:
        self.url = f"http://{emulator.address}"
        self._project = context.project
        self._pubsub = pubsub
        self._eventarc = eventarc
        self._emulator = emulator
        self._ending = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Start the emulator and put up in it what the local cloud has. Raises EmulatorFailed."""
        import aiohttp
        from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient  # half a second, for this choice alone
        from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
        from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

        self._ending.push_async_callback(self._emulator.stop)
        await self._emulator.start()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self.session = await self._ending.enter_async_context(session)  # the callers limit the time of an answer
        options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
        channel = await self._ending.enter_async_context(grpc.aio.insecure_channel(self._emulator.address, options))
        self._publisher = PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel))
        self._subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
        await self._put_up()
        for topic in self._topics():
            self._relay(topic)
        works = [self._hand_on_forever(trigger) for trigger in self._eventarc.triggers() if not trigger.is_storage]
        tasks = [asyncio.create_task(work) for work in (*works, self._tell_its_end())]
        self._ending.push_async_callback(_cancelled, tasks)

    async def stop(self) -> None:
        """Stop handing over, and the emulator."""
        await self._ending.aclose()

    def _topics(self) -> list[str]:
        """The topics that both have: all but those by which storage events travel to their triggers."""
        transports = {self._eventarc.topic(trigger) for trigger in self._eventarc.triggers() if trigger.is_storage}
        names = [str(topic.name) for topic in self._pubsub.topics(f"projects/{self._project}")]
        return [name for name in names if short_name(name) not in transports]

    def _subscriptions(self) -> Iterator[tuple[str, str]]:
        """Name and topic of what is subscribed in Google's emulator, both short."""
        for trigger in self._eventarc.triggers():
            yield trigger.dead_letter, trigger.dead_letter
            if not trigger.is_storage:
                yield self._eventarc.subscription(trigger), self._eventarc.topic(trigger)

    async def _put_up(self) -> None:
        """Create what is missing in Google's emulator."""
        from google.api_core.exceptions import AlreadyExists

        for topic in self._topics():
            with contextlib.suppress(AlreadyExists):
                await self._publisher.create_topic(name=topic)
        for name, topic in self._subscriptions():
            with contextlib.suppress(AlreadyExists):
                await self._subscriber.create_subscription(
                    name=full_name(self._project, "subscriptions", name),
                    topic=full_name(self._project, "topics", topic),
                )

    def _relay(self, topic: str) -> None:
        """Have the embedded Pub/Sub post to Google's emulator what is published to it."""
        name = RELAY + short_name(topic)
        self._pubsub.set_encoder(name, _publish_request, (FAULT_POINT, short_name(topic)))
        self._pubsub.create_subscription(
            SubscriptionSpec(name, topic, push_endpoint=f"{self.url}/v1/{topic}:publish", backoff_s=(RETRY_S, 60.0))
        )
        self._pubsub.relay(topic, name)

    async def _hand_on_forever(self, trigger: Trigger) -> None:
        from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError, NotFound

        subscription = full_name(self._project, "subscriptions", self._eventarc.subscription(trigger))
        while True:
            try:
                await self._hand_on(subscription)
            except DeadlineExceeded:
                continue  # there was nothing
            except NotFound:
                log.warning(
                    "%s is gone from Google's emulator, with all that was reset; it is put up again", subscription
                )
                await self._put_up()
            except (GoogleAPICallError, OSError) as error:
                log.error("%s is not pulled: %s", subscription, error)
                await asyncio.sleep(RETRY_S)

    async def _hand_on(self, subscription: str) -> None:
        """Wait for messages, store them, acknowledge them."""
        pulled = await self._subscriber.pull(
            subscription=subscription, max_messages=MAX_PULLED, timeout=PULL_S, retry=None
        )
        received = pulled.received_messages
        if not received:
            return
        self._pubsub.hand_on(subscription, [_published(each.message) for each in received])
        await self._subscriber.acknowledge(subscription=subscription, ack_ids=[each.ack_id for each in received])

    async def _tell_its_end(self) -> None:
        code = await self._emulator.ended()
        log.error("Google's Pub/Sub emulator has ended with exit code %s: %s", code, self._emulator.words())


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def forget(pubsub: PubSub) -> None:
    """Remove what an earlier run left that posted to Google's emulator; where that isn't, it would try for days."""
    for resource in pubsub.subscriptions(f"projects/{pubsub.context.project}"):
        if short_name(resource.name).startswith(RELAY):
            pubsub.delete_subscription(resource.name)


def _publish_request(resource: Any, delivery: Delivery) -> PushRequest:
    """https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics/publish"""
    message = {
        "data": base64.b64encode(delivery.message.data).decode(),
        "attributes": dict(delivery.message.attributes),
        "orderingKey": delivery.message.ordering_key,
    }
    body = json.dumps({"messages": [message]}).encode()
    return PushRequest(resource.push_config.push_endpoint, {"Content-Type": "application/json"}, body)


def _published(message: Any) -> PublishedMessage:
    return PublishedMessage(message.data, dict(message.attributes), message.ordering_key, message.message_id)
