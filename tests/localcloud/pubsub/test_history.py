"""Whatever happens to a subscription, nothing acknowledged comes back, nothing else is lost, and keys keep their order.

A real client does random things to a real server on a stopped clock: it publishes, pulls, acknowledges, nacks, lets
time pass, seeks, and restarts the whole. Beside it stands the simplest model of what is unacknowledged.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf import duration_pb2
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from localcloud.pubsub import backlog
from tests.localcloud.pubsub.pubsub_cloud import PATIENCE_S, PROJECT, START, Cloud, subscription_path, topic_path

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

JOBS, WORKERS = topic_path("jobs"), subscription_path("workers")
SNAPSHOTS = f"projects/{PROJECT}/snapshots"
DEADLINE_S, BACKOFF_S, RETENTION_S = 10.0, 5, 600
BACKOFF, RETENTION = (duration_pb2.Duration(seconds=seconds) for seconds in (BACKOFF_S, RETENTION_S))


class History(RuleBasedStateMachine):
    """One ordered subscription that may retain what it acknowledged, and what it should have to say."""

    snapshots = Bundle("snapshots")

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.now = START
        self.published: dict[str, tuple[float, str]] = {}  # by payload, in publish order: time and key
        self.open: set[str] = set()  # not acknowledged
        self.out: dict[str, tuple[str, float]] = {}  # ack id and end of the lease, by payload
        self.waiting: dict[str, float] = {}  # end of the backoff, by payload
        self.held: dict[str, set[str]] = {}  # by snapshot; what is published later belongs to all
        self.page = backlog.PAGE
        self.begin()

    def begin(self) -> None:
        self.cloud = Cloud(self.directory, start=self.now)
        self.subscriber = self.cloud.subscriber()
        self.publisher = self.cloud.unbatched_publisher()

    def teardown(self) -> None:
        """In the end everything that is open is delivered, in order, and once acknowledged nothing is left."""
        self.pass_time(61)  # leases end
        self.pass_time(61)  # and so do the backoffs that then begin
        delivered: list[str] = []
        while received := self.receive(7):
            delivered += [text for text, _ in received]
            self.subscriber.acknowledge(subscription=WORKERS, ack_ids=[ack_id for _, ack_id in received])
        self.cloud.close()
        backlog.PAGE = self.page
        shutil.rmtree(self.directory)

        assert sorted(delivered) == sorted(self.open)
        for key in "ab":
            of_key = [text for text in delivered if self.published[text][1] == key]
            assert of_key == sorted(of_key, key=list(self.published).index)

    @initialize(exactly_once=st.booleans(), retains=st.booleans(), page=st.sampled_from([1, 3, 500]))
    def subscribe(self, exactly_once: bool, retains: bool, page: int) -> None:
        backlog.PAGE = page
        self.retains = retains
        self.publisher.create_topic(name=JOBS)
        wanted = {
            "name": WORKERS,
            "topic": JOBS,
            "enable_message_ordering": True,
            "enable_exactly_once_delivery": exactly_once,
            "retain_acked_messages": retains,
            "message_retention_duration": RETENTION,
            "retry_policy": {"minimum_backoff": BACKOFF, "maximum_backoff": BACKOFF},
        }
        self.subscriber.create_subscription(request=wanted)

    @rule(keys=st.lists(st.sampled_from(["", "a", "b"]), min_size=1, max_size=4))
    def publish(self, keys: list[str]) -> None:
        texts = [str(len(self.published) + number) for number in range(len(keys))]
        messages = [{"data": text.encode(), "ordering_key": key} for text, key in zip(texts, keys, strict=True)]
        self.publisher.publish(topic=JOBS, messages=messages)
        for text, key in zip(texts, keys, strict=True):
            self.published[text] = self.now, key
            self.open.add(text)
            for held in self.held.values():
                held.add(text)

    @rule(count=st.integers(1, 5))
    def pull(self, count: int) -> None:
        expected = self.deliverable()[:count]
        received = self.receive(count)
        assert [text for text, _ in received] == expected
        for text, ack_id in received:
            self.out[text] = ack_id, self.now + DEADLINE_S

    def deliverable(self) -> list[str]:
        """What is open and neither out nor backing off; of a key, nothing behind what is."""
        found, closed = [], set()
        for text in sorted(self.open, key=int):
            key = self.published[text][1]
            if text in self.out or self.waiting.get(text, 0) > self.now or key in closed:
                closed |= {key} - {""}
            else:
                found.append(text)
        return found

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        texts = data.draw(st.lists(st.sampled_from(sorted(self.out)), min_size=1, unique=True))
        self.subscriber.acknowledge(subscription=WORKERS, ack_ids=[self.out.pop(text)[0] for text in texts])
        self.open -= set(texts)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def nack(self, data: st.DataObject) -> None:
        texts = data.draw(st.lists(st.sampled_from(sorted(self.out)), min_size=1, unique=True))
        self.modify([self.out[text][0] for text in texts], 0)
        self.come_back(texts)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        text = data.draw(st.sampled_from(sorted(self.out)))
        self.modify([self.out[text][0]], 60)
        self.out[text] = self.out[text][0], self.now + 60

    @rule(seconds=st.sampled_from([1, 5, 11, 61, 300]))
    def pass_time(self, seconds: int) -> None:
        self.cloud.advance(seconds=seconds)
        self.now += seconds
        self.open = {text for text in self.open if self.is_kept(text)}
        self.out = {text: out for text, out in self.out.items() if text in self.open}
        self.come_back([text for text, (_, end) in self.out.items() if end <= self.now])

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def seek_to_a_time(self, data: st.DataObject) -> None:
        moments = sorted({moment for moment, _ in self.published.values()} | {self.now + 1})
        moment = data.draw(st.sampled_from(moments))
        self.subscriber.seek(request={"subscription": WORKERS, "time": datetime.fromtimestamp(moment, UTC)})
        there = self.published if self.retains else self.open
        self.open = {text for text in there if self.published[text][0] >= moment and self.is_kept(text)}
        self.forget_leases()

    @rule(target=snapshots)
    def snapshot(self) -> str:
        name = f"{SNAPSHOTS}/snapshot-{len(self.held)}"
        self.subscriber.create_snapshot(name=name, subscription=WORKERS)
        self.held[name] = set(self.open)
        return name

    @rule(name=snapshots)
    def seek_to_a_snapshot(self, name: str) -> None:
        self.subscriber.seek(request={"subscription": WORKERS, "snapshot": name})
        self.open = {text for text in self.held[name] if self.is_kept(text)}
        self.forget_leases()

    @rule()
    def restart(self) -> None:
        self.cloud.close()
        self.begin()
        self.forget_leases()

    @invariant()
    def the_backlog_is_what_is_open(self) -> None:
        if self.published:
            assert self.cloud.call(lambda: self.cloud.pubsub.backlog("workers")) == len(self.open)

    def is_kept(self, text: str) -> bool:
        return self.published[text][0] > self.now - RETENTION_S

    def forget_leases(self) -> None:
        self.out.clear()
        self.waiting.clear()

    def receive(self, count: int) -> list[tuple[str, str]]:
        request = {"subscription": WORKERS, "max_messages": count, "return_immediately": True}
        received = self.subscriber.pull(request, timeout=PATIENCE_S).received_messages
        return [(each.message.data.decode(), each.ack_id) for each in received]

    def modify(self, ack_ids: list[str], seconds: int) -> None:
        self.subscriber.modify_ack_deadline(subscription=WORKERS, ack_ids=ack_ids, ack_deadline_seconds=seconds)

    def come_back(self, texts: list[str]) -> None:
        """Leases have ended, and with them those of later messages of the same keys; the first one backs off."""
        for text in texts:
            self.out.pop(text, None)
            self.waiting[text] = self.now + BACKOFF_S
        for text in sorted(texts, key=int):
            key = self.published[text][1]
            for later in [each for each in self.open if key and self.published[each][1] == key]:
                if int(later) > int(text):
                    self.out.pop(later, None)
                    self.waiting.pop(later, None)


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
