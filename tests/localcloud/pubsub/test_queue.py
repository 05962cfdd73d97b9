"""Whatever is leased, lost, given back and acknowledged: nothing is lost, doubled or out of order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from localcloud.pubsub.queue import Entry, Queue, State


class QueueMachine(RuleBasedStateMachine):
    """A queue beside the simplest model of it: what is unacknowledged, and what is out."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue()
        self.now = 1_800_000_000.0
        self.next_id = 1
        self.unacknowledged: dict[int, str] = {}
        self.out: dict[int, tuple[Entry, float]] = {}  # with the end of the lease
        self.ended: list[int] = []

    @rule(key=st.sampled_from(["", "", "a", "b"]))
    def add(self, key: str) -> None:
        self.queue.add(Entry(self.next_id, 1, self.now, key))
        self.unacknowledged[self.next_id] = key
        self.next_id += 1

    @rule(seconds=st.sampled_from([10.0, 33.3]))
    def lease(self, seconds: float) -> None:
        entry = self.queue.lease(self.now, seconds)
        if entry is None:
            return
        assert entry.id in self.unacknowledged
        assert entry.id not in self.out, "leased twice at the same time"
        if entry.key:
            earlier = [id_ for id_, key in self.unacknowledged.items() if key == entry.key and id_ < entry.id]
            assert not earlier, "overtook a message of its key"
        entry.on_end = lambda _: self.ended.append(entry.id)
        self.out[entry.id] = entry, self.now + seconds

    @precondition(lambda self: self.out)
    @rule(data=st.data(), delay=st.sampled_from([0.0, 5.0, 40.1]))
    def release(self, data: st.DataObject, delay: float) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.out)))
        self.queue.release(self.out.pop(id_)[0], self.now, delay)
        assert self.ended.pop() == id_

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.out)))
        entry, _ = self.out[id_]
        self.queue.extend(entry, self.now, 60)
        self.out[id_] = entry, self.now + 60

    @precondition(lambda self: self.unacknowledged)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.unacknowledged)))
        entry = self.queue.find(id_)
        assert entry is not None
        self.queue.remove(entry)
        del self.unacknowledged[id_]
        if self.out.pop(id_, None):
            assert self.ended.pop() == id_

    @rule(seconds=st.sampled_from([0.1, 3.0, 10.0, 60.0]))
    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = {id_ for id_, (_, end) in self.out.items() if end <= self.now}
        expired = self.queue.tick(self.now)
        assert {entry.id for entry in expired} == due
        for entry in expired:
            self.queue.release(entry, self.now, 0, expired=True)
            del self.out[entry.id]
            assert self.ended.pop() == entry.id

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.queue) == len(self.unacknowledged)
        assert self.queue.leased == len(self.out)
        assert not self.ended
        oldest = self.queue.oldest()
        assert (oldest.id if oldest else None) == min(self.unacknowledged, default=None)

    @invariant()
    def something_moves_or_comes_due(self) -> None:
        if self.unacknowledged and not any(each.state is State.READY for each in self.queue.entries()):
            assert self.queue.next_due() is not None

    def teardown(self) -> None:
        """In the end everything can be delivered and acknowledged, in order."""
        for _ in range(len(self.unacknowledged) + 1):
            self.advance(100)
            while (entry := self.queue.lease(self.now, 10)) is not None:
                self.queue.remove(entry)
                del self.unacknowledged[entry.id]
        assert not self.unacknowledged


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_timers_of_finished_leases_do_not_pile_up() -> None:
    queue = Queue()
    for number in range(10_000):
        queue.add(Entry(number, 1, 0.0))
        entry = queue.lease(0.0, 600)
        assert entry is not None
        queue.remove(entry)

    assert len(queue._timers) < 100
    assert len(queue._ready) < 100
