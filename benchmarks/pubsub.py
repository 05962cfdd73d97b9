"""How fast does a message arrive at the local Pub/Sub, beside Google's own emulator? And what does each take to run?

    python -m benchmarks.pubsub [--messages 10000] [--json]

Both are called by google-cloud-pubsub. Latency is from the call of publish to the subscriber's callback, or to the
request that a push endpoint gets; the sides take turns, with pauses of random length, since Google's emulator looks for
messages at intervals. Start-up is from the start of the process to all ports answering, and gcp-storage-emulator's
beside both. Needs Java and Google's emulator (`gcloud components install pubsub-emulator`).
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import uvicorn
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from benchmarks import servers
from benchmarks.servers import Server
from benchmarks.tables import Figures, machine, median, percentile
from localcloud.official.errors import NotInstalled

OURS, PEER = "ours", "Google's emulator"
SAMPLES, STARTS = 100, 5
LONGEST_PAUSE_S = 0.1
BURST = 1_000  # messages pushed at once
KEPT = 100_000  # messages held, for their memory
DATA = b"x" * 100
PATIENCE_S = 300.0
TOPICS = "projects/local/topics"
SUBSCRIPTIONS = "projects/local/subscriptions"


class Side:
    """Google's clients of one server."""

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self.server = server
        channel = grpc.insecure_channel(server.grpc)
        self.unbatched = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        self.publisher = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        self.subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))

    def prepare(self, name: str, endpoint: str = "") -> None:
        """A topic and its subscription, both of that name."""
        self.unbatched.create_topic(name=f"{TOPICS}/{name}")
        push = {"push_config": {"push_endpoint": endpoint}} if endpoint else {}
        request = {"name": f"{SUBSCRIPTIONS}/{name}", "topic": f"{TOPICS}/{name}", "ack_deadline_seconds": 600, **push}
        self.subscriber.create_subscription(request=request)

    def publish_one(self, name: str) -> None:
        """One message, in a call of its own."""
        self.unbatched.publish(topic=f"{TOPICS}/{name}", messages=[{"data": DATA}])

    def publish_many(self, name: str, count: int) -> None:
        """As the client batches them."""
        futures = [self.publisher.publish(f"{TOPICS}/{name}", DATA) for _ in range(count)]
        for future in futures:
            future.result(PATIENCE_S)


class Arrivals:
    """Counts messages, and lets one wait for them."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def add(self, *_: object) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.count >= count, PATIENCE_S), f"{self.count} of {count} arrived"

    def callback(self, message: Any) -> None:
        message.ack()
        self.add()


@contextmanager
def endpoint(arrivals: Arrivals) -> Iterator[str]:
    """A push endpoint in this process that answers 204 at once."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        arrivals.add()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    port = servers.free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_level="critical", http="httptools"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}/push"
    server.should_exit = True
    thread.join()


def latencies(sides: list[Side]) -> Figures:
    """Publish to callback, and to push."""
    figures = Figures("From publish to the subscriber, milliseconds")
    with contextlib.ExitStack() as ending:
        ways: dict[str, dict[str, Arrivals]] = {"callback": {}, "push": {}}
        for side in sides:
            called, posted = Arrivals(), Arrivals()
            side.prepare("callback")
            stream = side.subscriber.subscribe(f"{SUBSCRIPTIONS}/callback", called.callback)
            ending.callback(_end, stream)
            side.prepare("push", ending.enter_context(endpoint(posted)))
            ways["callback"][side.name], ways["push"][side.name] = called, posted
        for way, arrivals in ways.items():
            times = _sampled(sides, way, arrivals)
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                mine, theirs = (percentile(times[side.name], share) for side in sides)
                row = {"": f"publish to {way}, {name}", OURS: mine, PEER: theirs, "times as fast": theirs / mine}
                figures.rows.append(row)
    figures.notes.append(f"{SAMPLES} messages each; {machine()}")
    return figures


def _sampled(sides: list[Side], way: str, arrivals: dict[str, Arrivals]) -> dict[str, list[float]]:
    chance = random.Random(1)
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    for number in range(-5, SAMPLES):
        for side in sides:
            time.sleep(chance.uniform(0, LONGEST_PAUSE_S))
            arrived = arrivals[side.name]
            expected = arrived.count + 1
            began = time.perf_counter()
            side.publish_one(way)
            arrived.wait(expected)
            if number >= 0:  # the first ones open connections
                times[side.name].append((time.perf_counter() - began) * 1000)
    return times


def rates(sides: list[Side], messages: int) -> Figures:
    """Messages a second."""
    figures = Figures("Messages a second")
    rows: dict[str, Callable[[Side], float]] = {
        f"publish {messages:,}, batched by the client": lambda side: _published(side, messages),
        f"publish to callback, {messages:,}": lambda side: _streamed(side, messages),
        f"push, a burst of {BURST:,}": _pushed,
    }
    for title, measure in rows.items():
        mine, theirs = (measure(side) for side in sides)
        figures.rows.append({"": title, OURS: mine, PEER: theirs, "times as fast": mine / theirs})
    figures.notes.append("The client takes its share of the two cores, and is the limit of ours.")
    return figures


def _published(side: Side, messages: int) -> float:
    side.unbatched.create_topic(name=f"{TOPICS}/published")
    began = time.perf_counter()
    side.publish_many("published", messages)
    return messages / (time.perf_counter() - began)


def _streamed(side: Side, messages: int) -> float:
    side.prepare("streamed")
    arrivals = Arrivals()
    stream = side.subscriber.subscribe(f"{SUBSCRIPTIONS}/streamed", arrivals.callback)
    began = time.perf_counter()
    side.publish_many("streamed", messages)
    arrivals.wait(messages)
    rate = messages / (time.perf_counter() - began)
    _end(stream)
    return rate


def _pushed(side: Side) -> float:
    with servers.receiver() as receiver:

        def arrived() -> int:
            with urllib.request.urlopen(receiver.http, timeout=PATIENCE_S) as answer:
                return int(answer.read())

        side.prepare("burst", f"{receiver.http}/push")
        began = time.perf_counter()
        side.publish_many("burst", BURST)
        while arrived() < BURST:
            time.sleep(0.02)
        return BURST / (time.perf_counter() - began)


def _end(stream: Any) -> None:
    stream.cancel()
    with contextlib.suppress(exceptions.GoogleAPICallError):
        stream.result(PATIENCE_S)


def memory(sides: list[Side]) -> Figures:
    """What the servers hold of many messages that nobody takes."""
    figures = Figures(f"Memory for {KEPT:,} messages of {len(DATA)} bytes, MiB")
    for side in sides:
        side.prepare("kept")
        before = side.server.memory_mb()
        side.publish_many("kept", KEPT)
        after = side.server.memory_mb()
        figures.rows.append({"": side.name, "before": before, "after": after, "for the messages": after - before})
    return figures


def starts() -> Figures:
    """From the start of the process to its ports answering; the sides take turns."""
    figures = Figures("Start-up, seconds")
    times: dict[str, list[float]] = {OURS: [], PEER: [], "gcp-storage-emulator": []}
    memories: dict[str, float] = {}
    for _ in range(STARTS):
        for side, found in times.items():
            with tempfile.TemporaryDirectory(prefix="bench-start-") as directory:
                begin = {
                    OURS: lambda: servers.ours(Path(directory)),  # called at once
                    PEER: servers.google_pubsub,
                }.get(side, lambda: servers.gcp_storage_emulator(Path(directory)))
                with begin() as server:
                    found.append(server.seconds)
                    memories[side] = server.memory_mb()
    for side, found in times.items():
        figures.rows.append(
            {"": side, "median": median(found), "to ours": median(found) / median(times[OURS]), "MiB": memories[side]}
        )
    return figures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pubsub", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000, help="messages in a row of rates")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    try:
        tables = [starts()]
        with (
            tempfile.TemporaryDirectory(prefix="bench-pubsub-") as directory,
            servers.ours(Path(directory)) as ours,
            servers.google_pubsub() as google,
        ):
            sides = [Side(OURS, ours), Side(PEER, google)]
            tables += [latencies(sides), rates(sides, options.messages), memory(sides)]
    except NotInstalled as missing:
        sys.stderr.write(f"benchmarks.pubsub is skipped: {missing}\n")
        return
    for figures in tables:
        figures.print(as_json=options.json)


if __name__ == "__main__":
    main()
