"""Whatever was acknowledged is there after `kill -9` at any moment, whole, and once.

    make survive N=200

A local cloud under load is killed at seeded moments and started again on what it left. `SURVIVAL_ROUNDS` says how
often, `SURVIVAL_SEED` makes other moments.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import grpc
import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, storage
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from tests.localcloud.survivor import BUCKET, SUBSCRIPTION, TOPIC, serve

ROUNDS = int(os.environ.get("SURVIVAL_ROUNDS", "5"))
SEED = int(os.environ.get("SURVIVAL_SEED", "1"))
WRITERS, PUBLISHERS, NAMES = 3, 2, 6
SIZES = (0, 10, 5_000, 100_000, 700_000)  # in a row of the store, in a file, and in several requests
CHUNK = 256 * 1024
LONGEST_S = 0.4  # of load after the first acknowledgements
PATIENCE_S = 30.0
GONE = (exceptions.ServiceUnavailable, requests.RequestException)  # how clients tell that a server died


@dataclass
class Stored:
    """What is known of an object: the state that was acknowledged, and one that may have come about."""

    generation: int = 0  # 0: there is none
    data: bytes = b""
    latest: int = 0  # the highest generation ever seen of this name
    asked: bytes | None = None  # written without an answer
    deleting: bool = False  # deleted without an answer


@dataclass
class Known:
    """What the clients were told over all rounds."""

    objects: dict[str, Stored] = field(default_factory=dict)
    count: int = 0  # acknowledged increments of the shared counter
    unsure: int = 0  # and those without an answer
    published: dict[str, bytes] = field(default_factory=dict)  # by message id, of those still to be pulled
    ids: set[str] = field(default_factory=set)  # of all messages ever
    asked: set[str] = field(default_factory=set)  # to be acknowledged, perhaps without an answer
    done: set[str] = field(default_factory=set)  # acknowledged, and the server has said so
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Clients:
    """Google's clients of one life of the cloud; nothing is retried, so that what is told is one call's."""

    bucket: storage.Bucket
    publisher: pubsub_v1.PublisherClient
    subscriber: pubsub_v1.SubscriberClient

    @property
    def topic(self) -> str:
        return f"projects/local/topics/{TOPIC}"

    @property
    def subscription(self) -> str:
        return f"projects/local/subscriptions/{SUBSCRIPTION}"

    def pull(self) -> list[pubsub_v1.types.ReceivedMessage]:
        """Up to 100 messages; none if there are none."""
        try:
            answer = self.subscriber.pull(subscription=self.subscription, max_messages=100, timeout=0.5, retry=None)
        except exceptions.DeadlineExceeded:
            return []
        return list(answer.received_messages)

    def acknowledge(self, received: list[pubsub_v1.types.ReceivedMessage]) -> None:
        ack_ids = [each.ack_id for each in received]
        self.subscriber.acknowledge(subscription=self.subscription, ack_ids=ack_ids, timeout=PATIENCE_S, retry=None)


@contextmanager
def living(state: Path) -> Iterator[tuple[BaseProcess, Clients]]:
    """The cloud as a process, killed at the end if not before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.localcloud.survivor"])
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(state, there))
    process.start()
    assert here.poll(PATIENCE_S), "the cloud does not start"
    http_url, grpc_address = here.recv()
    options = {"api_endpoint": http_url}
    client = storage.Client("local", credentials=AnonymousCredentials(), client_options=options)
    with grpc.insecure_channel(grpc_address) as channel:
        publisher = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        try:
            yield process, Clients(client.bucket(BUCKET), publisher, subscriber)
        finally:
            process.kill()
            process.join(PATIENCE_S)
            publisher.stop()  # its threads may still be committing what came too late
            client.close()


# The load


def write(clients: Clients, known: Known, chance: random.Random, writer: int) -> None:
    """Write and delete objects of one's own, each time on the condition that nothing else did, until the end."""
    while True:
        name = f"{writer}/{chance.randrange(NAMES)}"
        stored = known.objects.setdefault(name, Stored())
        blob = clients.bucket.blob(name)
        if stored.generation and chance.random() < 0.1:
            stored.deleting = True
            blob.delete(if_generation_match=stored.generation, retry=None, timeout=PATIENCE_S)
            stored.deleting, stored.generation = False, 0
            continue
        data = chance.randbytes(chance.choice(SIZES))
        blob.chunk_size = CHUNK if len(data) > CHUNK else None
        stored.asked = data
        blob.upload_from_string(data, if_generation_match=stored.generation, retry=None, timeout=PATIENCE_S)
        assert blob.generation > stored.latest, f"{name}: the generation went back"
        stored.generation = stored.latest = blob.generation
        stored.data, stored.asked = data, None


def increment(clients: Clients, known: Known) -> None:
    """Count in one object that all writers share, by compare-and-set."""
    while True:
        blob = clients.bucket.blob("counter")
        try:
            value = int(blob.download_as_bytes(retry=None, timeout=PATIENCE_S))
            generation = blob.generation
        except exceptions.NotFound:
            value, generation = 0, 0
        with known.lock:
            known.unsure += 1
        try:
            blob.upload_from_string(str(value + 1), if_generation_match=generation, retry=None, timeout=PATIENCE_S)
        except exceptions.PreconditionFailed:
            with known.lock:
                known.unsure -= 1
            continue
        with known.lock:
            known.unsure -= 1
            known.count += 1


def publish(clients: Clients, known: Known, chance: random.Random) -> None:
    """Publish, a few at a time."""
    while True:
        payloads = [chance.randbytes(chance.choice((10, 2_000))) for _ in range(chance.randint(1, 5))]
        futures = [clients.publisher.publish(clients.topic, data, retry=None, timeout=PATIENCE_S) for data in payloads]
        for data, future in zip(payloads, futures, strict=True):
            message_id = future.result(PATIENCE_S)
            with known.lock:
                assert message_id not in known.ids, f"the message id {message_id} was given out twice"
                known.ids.add(message_id)
                known.published[message_id] = data


def consume(clients: Clients, known: Known) -> None:
    """Pull and acknowledge."""
    while True:
        received = clients.pull()
        if received:
            ids = {each.message.message_id for each in received}
            with known.lock:
                known.asked |= ids
            clients.acknowledge(received)
            with known.lock:
                known.done |= ids


def load(process: BaseProcess, clients: Clients, known: Known, chance: random.Random) -> None:
    """Everything at once, until the cloud is killed at some moment."""
    failed: list[BaseException] = []

    def until_gone(work: Callable[[], None]) -> None:
        try:
            work()
        except GONE:
            pass
        except BaseException as error:  # noqa: BLE001  # told in the test's own thread
            failed.append(error)

    seeds = [random.Random(chance.random()) for _ in range(WRITERS + PUBLISHERS)]
    works: list[Callable[[], None]] = [
        *(lambda n=n: write(clients, known, seeds[n], n) for n in range(WRITERS)),
        *(lambda n=n: publish(clients, known, seeds[WRITERS + n]) for n in range(PUBLISHERS)),
        *[lambda: increment(clients, known)] * 2,
        lambda: consume(clients, known),
    ]
    before = (known.count, len(known.ids))
    threads = [threading.Thread(target=until_gone, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    end = time.monotonic() + PATIENCE_S
    while known.count == before[0] or len(known.ids) == before[1]:
        assert time.monotonic() < end, f"nothing is acknowledged: {failed}"
        time.sleep(0.001)
    threads[0].join(chance.uniform(0, LONGEST_S))  # which doesn't end before the cloud does
    process.kill()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "a client waits for a dead cloud"
    if failed:
        raise failed[0]


# What must be there


def check_objects(clients: Clients, known: Known) -> None:
    """Each object is in the state that was acknowledged last, or in one that was asked for without an answer."""
    listed = {blob.name: blob for blob in clients.bucket.list_blobs()}
    counter = listed.pop("counter", None)
    assert counter is not None, "the counter is lost"
    value = int(counter.download_as_bytes())  # the client checks the checksum
    assert known.count <= value <= known.count + known.unsure, f"{value} of {known.count} and {known.unsure} unsure"
    known.count, known.unsure = value, 0
    assert set(listed) <= set(known.objects)
    for name, stored in known.objects.items():
        blob = listed.get(name)
        if blob is None:
            assert not stored.generation or stored.deleting, f"{name} is lost"
            stored.generation = 0
        elif blob.generation == stored.generation:
            assert blob.download_as_bytes() == stored.data, f"{name} is damaged"
        else:
            assert stored.asked is not None, f"{name} is not what was acknowledged"
            assert blob.generation > stored.latest, f"{name}: the generation went back"
            assert blob.download_as_bytes() == stored.asked, f"{name} is damaged"
            stored.generation = stored.latest = blob.generation
            stored.data = stored.asked
        stored.asked, stored.deleting = None, False


def check_messages(clients: Clients, known: Known) -> None:
    """Everything published comes but for what was acknowledged; pulls the subscription empty."""
    found: dict[str, bytes] = {}
    while received := clients.pull():
        found.update((each.message.message_id, each.message.data) for each in received)
        clients.acknowledge(received)
    assert not found.keys() & known.done, "an acknowledged message came again"
    for message_id, data in known.published.items():
        assert message_id in known.asked or found.get(message_id) == data, f"message {message_id} is lost or damaged"
    known.ids.update(found)  # of publishes without an answer too
    known.done.update(found)
    known.published.clear()


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * ROUNDS)
def test_everything_acknowledged_survives_kills_at_any_moment(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    known = Known()
    with living(tmp_path) as (process, clients):
        load(process, clients, known, chance)
    for number in range(1, ROUNDS + 1):
        try:
            with living(tmp_path) as (process, clients):
                check_objects(clients, known)
                check_messages(clients, known)
                if number < ROUNDS:
                    load(process, clients, known, chance)
        except AssertionError as error:
            error.add_note(f"after {number} kills, seed {SEED}")
            raise

    assert len(known.ids) >= ROUNDS
    payloads = list((tmp_path / "blobs").iterdir())
    assert len(payloads) <= len(known.objects), "payloads of writes that were cut off are left"
