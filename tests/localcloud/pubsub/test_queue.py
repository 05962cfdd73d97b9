"""Whatever is leased, lost, given back and acknowledged: nothing is lost, doubled or out of order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from localcloud.pubsub.queue import Entry, Queue, State

ANN, BOB = "ann", "bob"


class QueueMachine(RuleBasedStateMachine):
    """A queue beside the simplest model of it: what is unacknowledged, and what is out."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue()
        self.now = 1_800_000_000.0
        self.next_id = 1
        self.unacknowledged: dict[int, str] = {}
        self.out: dict[int, tuple[Entry, float]] = {}  # with the end of the lease
        self.owners: dict[int, object] = {}
        self.ended: list[int] = []

    @rule(key=st.sampled_from(["", "", "a", "b"]))
    def add(self, key: str) -> None:
        self.queue.add(Entry(self.next_id, 1, self.now, key))
        self.unacknowledged[self.next_id] = key
        self.next_id += 1

    @rule(seconds=st.sampled_from([10.0, 33.3]), owner=st.sampled_from([ANN, BOB]))
    def lease(self, seconds: float, owner: object) -> None:
        entry = self.queue.peek(owner)
        if entry is None:
            return
        assert entry.id in self.unacknowledged
        assert entry.id not in self.out, "leased twice at the same time"
        for id_ in self.of_key(entry.key):
            if id_ < entry.id:
                assert id_ in self.out, "overtook a message of its key"
                assert self.owners[id_] is owner, "two have messages of one key"
        self.queue.lease(entry, self.now, seconds, owner)
        entry.on_end = lambda _: self.ended.append(entry.id)
        self.out[entry.id] = entry, self.now + seconds
        self.owners[entry.id] = owner

    def of_key(self, key: str) -> list[int]:
        return [id_ for id_, other in self.unacknowledged.items() if key and other == key]

    def takes_back(self, id_: int) -> list[int]:
        """The leases that end with that one."""
        return [other for other in self.of_key(self.unacknowledged[id_]) if other > id_ and other in self.out]

    @precondition(lambda self: self.out)
    @rule(data=st.data(), delay=st.sampled_from([0.0, 5.0, 40.1]))
    def release(self, data: st.DataObject, delay: float) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.out)))
        later = self.takes_back(id_)
        taken_back = self.queue.release(self.out.pop(id_)[0], self.now, delay)
        assert [entry.id for entry in taken_back] == later
        for other in later:
            del self.out[other]
        assert self.ended == [id_, *later]
        self.ended.clear()

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
            later = self.takes_back(entry.id)
            self.queue.release(entry, self.now, 0, expired=True)
            for id_ in (entry.id, *later):
                del self.out[id_]
            assert self.ended == [entry.id, *later]
            self.ended.clear()

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
            while (entry := self.queue.peek("eve")) is not None:
                self.queue.lease(entry, self.now, 10, "eve")
                assert entry.id == min(self.of_key(entry.key) or [entry.id])
                self.queue.remove(entry)
                del self.unacknowledged[entry.id]
        assert not self.unacknowledged


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_timers_of_finished_leases_do_not_pile_up() -> None:
    queue = Queue()
    for number in range(10_000):
        queue.add(Entry(number, 1, 0.0))
        entry = queue.peek()
        assert entry is not None
        queue.lease(entry, 0.0, 600)
        queue.remove(entry)

    assert len(queue._timers) < 100
    assert len(queue._ready) < 100
