"""How fast does a message arrive at the local Pub/Sub, beside Google's own emulator? And what does each take to run?

    python -m benchmarks.pubsub [--messages 10000] [--json]

Both are called by google-cloud-pubsub. Latency is from the call of publish to the subscriber's callback, or to the
request that a push endpoint in a process of its own gets; the sides take turns, with pauses of random length, since
Google's emulator looks for messages at intervals. Beside them stands a floor: servers that do as little as possible.
Start-up is from the start of the process to all ports answering, and gcp-storage-emulator's
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
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from benchmarks import servers
from benchmarks.servers import Server
from benchmarks.tables import Figures, machine, median, percentile
from localcloud.official.errors import NotInstalled

OURS, PEER, FLOOR = "ours", "Google's emulator", "floor"
SAMPLES, UNCOUNTED = 200, 20  # the first ones open connections, and compile
STARTS, TURNS = 5, 3
LONGEST_PAUSE_S = 0.1
BURST = 1_000  # messages pushed at once
KEPT = 100_000  # messages held, for their memory
DATA = b"x" * 100
SIZES = (100, 1_000)  # bytes of them
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

    def publish_many(self, name: str, count: int, data: bytes = DATA) -> None:
        """As the client batches them."""
        futures = [self.publisher.publish(f"{TOPICS}/{name}", data) for _ in range(count)]
        for future in futures:
            future.result(PATIENCE_S)


class Callbacks:
    """The messages that a streaming subscriber got, and when the last one came."""

    def __init__(self) -> None:
        self.count = 0
        self.moment = 0.0
        self._changed = threading.Condition()

    def __call__(self, message: Any) -> None:
        moment = time.perf_counter()
        message.ack()
        with self._changed:
            self.count, self.moment = self.count + 1, moment
            self._changed.notify_all()

    def wait(self, count: int) -> float:
        """When the last of so many came, in seconds of `time.perf_counter`."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.count >= count, PATIENCE_S), f"{self.count} of {count} arrived"
            return self.moment


class Pushes:
    """The messages that were pushed to a receiver, which is a process of its own."""

    def __init__(self, receiver: Server) -> None:
        self.count = 0
        self.url = f"{receiver.http}/push"
        self._receiver = receiver.http

    def wait(self, count: int) -> float:
        """When the last of so many came, in seconds of `time.perf_counter`."""
        with urllib.request.urlopen(f"{self._receiver}/{count}", timeout=PATIENCE_S) as answer:
            number, moment = answer.read().split()
        self.count = int(number)
        return float(moment)


def latencies(sides: list[Side]) -> Figures:
    """Publish to callback, and to push; the latter beside a floor."""
    figures = Figures("From publish to the subscriber, milliseconds")
    with contextlib.ExitStack() as ending:
        called: dict[Side, Callbacks | Pushes] = {}
        pushed: dict[Side, Callbacks | Pushes] = {}
        for side in sides:
            called[side] = callbacks = Callbacks()
            pushed[side] = pushes = Pushes(ending.enter_context(servers.receiver()))
            side.prepare("callback")
            ending.callback(_end, side.subscriber.subscribe(f"{SUBSCRIPTIONS}/callback", callbacks))
            side.prepare("push", pushes.url)
        receiver = ending.enter_context(servers.receiver())
        port = int(receiver.http.rpartition(":")[2])
        pushed[Side(FLOOR, ending.enter_context(servers.pubsub_floor(port)))] = Pushes(receiver)
        for way, arrivals in (("callback", called), ("push", pushed)):
            times = _sampled(way, arrivals)
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                found = {side: percentile(values, share) for side, values in times.items()}
                row = {"": f"publish to {way}, {name}", OURS: found[OURS], PEER: found[PEER]}
                figures.rows.append({**row, "times as fast": found[PEER] / found[OURS], FLOOR: found.get(FLOOR, "")})
    figures.notes.append(f"{SAMPLES} messages each; {machine()}")
    figures.notes.append(
        "The floor: a gRPC server that answers, and sends one bare request, as any Pub/Sub would have to."
    )
    return figures


def _sampled(way: str, arrivals: dict[Side, Callbacks | Pushes]) -> dict[str, list[float]]:
    chance = random.Random(1)
    times: dict[str, list[float]] = {side.name: [] for side in arrivals}
    for number in range(-UNCOUNTED, SAMPLES):
        for side, arrived in arrivals.items():
            time.sleep(chance.uniform(0, LONGEST_PAUSE_S))
            expected = arrived.count + 1
            began = time.perf_counter()
            side.publish_one(way)
            moment = arrived.wait(expected)
            if number >= 0:
                times[side.name].append((moment - began) * 1000)
    return times


def rates(sides: list[Side], messages: int) -> Figures:
    """Messages a second, and the CPU time that each takes of the server."""
    figures = Figures("Messages a second")
    with servers.pubsub_floor() as floor:
        sending = [*sides, Side(FLOOR, floor)]
        rows = {
            f"publish {messages:,}, batched by the client": [_published(side, messages) for side in sending],
            f"publish to callback, {messages:,}": [_streamed(side, messages) for side in sides],
            f"push, a burst of {BURST:,}": [_pushed(side, BURST) for side in sides],
            f"push, a burst of {messages:,}": [_pushed(side, messages) for side in sides],
        }
        for title, runs in rows.items():
            found: list[list[tuple[float, float]]] = [[] for _ in runs]
            for turn in range(TURNS):
                for results, run in zip(found, runs, strict=True):
                    results.append(run(f"{title.split()[0]}-{title.split()[-1]}-{turn}".replace(",", "")))
            rate = [median([each for each, _ in results]) for results in found]
            cpu = [median([each for _, each in results]) for results in found]
            row = {"": title, OURS: rate[0], PEER: rate[1], "times as fast": rate[0] / rate[1]}
            cpu_row = {"CPU µs, ours": cpu[0], "theirs": cpu[1]}
            figures.rows.append({**row, FLOOR: rate[2] if len(rate) > 2 else "", **cpu_row})
    figures.notes.append(f"Medians of {TURNS} turns; CPU time is the server's, of one message.")
    figures.notes.append(
        "The floor: a gRPC server that only answers, which is what this client can publish on these cores."
    )
    return figures


Run = Callable[[str], tuple[float, float]]  # name of a topic -> messages a second, microseconds of CPU for each


def _published(side: Side, count: int) -> Run:
    def run(name: str) -> tuple[float, float]:
        if side.name != FLOOR:
            side.unbatched.create_topic(name=f"{TOPICS}/{name}")
        return _timed(side, count, lambda: side.publish_many(name, count))

    return run


def _streamed(side: Side, count: int) -> Run:
    def run(name: str) -> tuple[float, float]:
        side.prepare(name)
        callbacks = Callbacks()
        stream = side.subscriber.subscribe(f"{SUBSCRIPTIONS}/{name}", callbacks)

        def work() -> None:
            side.publish_many(name, count)
            callbacks.wait(count)

        result = _timed(side, count, work)
        _end(stream)
        return result

    return run


def _pushed(side: Side, count: int) -> Run:
    def run(name: str) -> tuple[float, float]:
        with servers.receiver() as receiver:
            pushes = Pushes(receiver)
            side.prepare(name, pushes.url)

            def work() -> None:
                side.publish_many(name, count)
                pushes.wait(count)

            result = _timed(side, count, work)
            side.subscriber.delete_subscription(subscription=f"{SUBSCRIPTIONS}/{name}")
            return result

    return run


def _timed(side: Side, count: int, work: Callable[[], None]) -> tuple[float, float]:
    cpu_s, began = side.server.cpu_s(), time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    return count / seconds, (side.server.cpu_s() - cpu_s) / count * 1e6


def _end(stream: Any) -> None:
    stream.cancel()
    with contextlib.suppress(exceptions.GoogleAPICallError):
        stream.result(PATIENCE_S)


def memory() -> Figures:
    """What servers of their own hold of many messages that nobody takes."""
    figures = Figures(f"Memory for {KEPT:,} messages, MiB")
    for size in SIZES:
        row: dict[str, Any] = {"": f"of {size:,} bytes"}
        for name, begin in ((OURS, _ours), (PEER, servers.google_pubsub)):
            with begin() as server:
                side = Side(name, server)
                side.prepare("kept")
                side.publish_one("kept")  # what the first one needs is not of the messages
                before = server.memory_mb()
                side.publish_many("kept", KEPT, b"x" * size)
                row[name] = server.memory_mb() - before
        figures.rows.append(row)
    figures.notes.append("Resident and swapped out, more than after one message; ours keeps messages on disk.")
    return figures


@contextmanager
def _ours() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="bench-pubsub-") as directory, servers.ours(Path(directory)) as server:
        yield server


def starts() -> Figures:
    """From the start of the process to its ports answering; the sides take turns. The first of each may compile, and
    doesn't count."""
    figures = Figures("Start-up, seconds")
    times: dict[str, list[float]] = {OURS: [], PEER: [], "gcp-storage-emulator": []}
    memories: dict[str, float] = {}
    for _ in range(STARTS + 1):
        for side, found in times.items():
            with tempfile.TemporaryDirectory(prefix="bench-start-") as directory:
                begin = {
                    OURS: lambda: servers.ours(Path(directory)),  # called at once
                    PEER: servers.google_pubsub,
                }.get(side, lambda: servers.gcp_storage_emulator(Path(directory)))
                with begin() as server:
                    found.append(server.seconds)
                    memories[side] = server.memory_mb()
    medians = {side: median(found[1:]) for side, found in times.items()}
    for side, seconds in medians.items():
        figures.rows.append({"": side, "median": seconds, "to ours": seconds / medians[OURS], "MiB": memories[side]})
    return figures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pubsub", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000, help="messages in a row of rates")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    try:
        tables = [starts()]
        with _ours() as ours, servers.google_pubsub() as google:
            sides = [Side(OURS, ours), Side(PEER, google)]
            tables += [latencies(sides), rates(sides, options.messages)]
        tables.append(memory())
    except NotInstalled as missing:
        sys.stderr.write(f"benchmarks.pubsub is skipped: {missing}\n")
        return
    for figures in tables:
        figures.print(as_json=options.json)


if __name__ == "__main__":
    main()
