"""Who is next on the device: the rule by itself, then the thread that follows it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, cast

import numpy as np
import pytest

from services.gpu_inference.batching import Device, Kind, Overloaded, Turns, Work
from services.gpu_inference.metrics import Metrics
from services.gpu_inference.model import Encoded, Model, Output
from tests.services.gpu_inference.instance import wait_until
from zeroidle.errors import PermanentError, TemporaryError

BUDGET, MAX_WAIT_S = 100, 0.002
SMALL, OTHER = cast(Model, "small"), cast(Model, "other")  # the rule only compares models


def turns(queue_limit: int = 100) -> Turns:
    return Turns(token_budget=BUDGET, max_wait_s=MAX_WAIT_S, queue_limit=queue_limit)


def encoded(tokens: int) -> Encoded:
    return Encoded(text="", ids=[0] * tokens, truncated=False)


def work(kind: Kind = "online", tokens: int = 10, at: float = 0.0, model: Model = SMALL) -> Work:
    return Work(kind, model, [encoded(tokens)], at)


def offered(queue: Turns, *items: Work) -> list[Work]:
    queue.offer(items)
    return list(items)


def test_a_lone_request_waits_a_moment_for_company() -> None:
    queue = turns()
    (lone,) = offered(queue, work(at=10.0))

    assert queue.next(10.0) == ([], pytest.approx(MAX_WAIT_S))
    (late,) = offered(queue, work(at=10.001))
    assert queue.next(10.0 + MAX_WAIT_S) == ([lone, late], None)


def test_a_full_batch_does_not_wait() -> None:
    queue = turns()
    first, second, third = offered(queue, *(work(tokens=45) for _ in range(3)))

    assert queue.next(0.0)[0] == [first, second]
    assert queue.next(MAX_WAIT_S)[0] == [third]


def test_a_text_longer_than_the_budget_goes_alone() -> None:
    queue = turns()
    long, short = offered(queue, work(tokens=BUDGET * 2), work())

    assert queue.next(1.0)[0] == [long]
    assert queue.next(1.0)[0] == [short]


def test_a_batch_is_of_one_model() -> None:
    queue = turns()
    a, b, c = offered(queue, work(), work(model=OTHER), work())

    assert queue.next(1.0)[0] == [a, c]
    assert queue.next(1.0)[0] == [b]


def test_online_and_shard_work_take_turns() -> None:
    queue = turns()
    offered(queue, *(work("shard", BUDGET) for _ in range(4)), *(work(tokens=BUDGET) for _ in range(3)))

    order = [queue.next(1.0)[0][0].kind for _ in range(7)]

    assert order == ["online", "shard", "online", "shard", "online", "shard", "shard"]


def test_shards_do_not_wait_for_online_requests_that_are_not_due() -> None:
    queue = turns()
    online, shard = offered(queue, work(at=5.0), work("shard"))

    assert queue.next(5.0)[0] == [shard]
    assert queue.next(5.0 + MAX_WAIT_S)[0] == [online]


def test_more_online_work_than_may_wait_is_refused_whole() -> None:
    queue = turns(queue_limit=3)
    offered(queue, work(), work())

    with pytest.raises(Overloaded, match="2 texts wait already, at most 3 may"):
        queue.offer([work(), work()])

    assert queue.depth() == {"online": 2, "shard": 0}
    queue.offer([work("shard") for _ in range(9)])  # a shard has its own limit


def test_withdrawn_work_makes_room() -> None:
    queue = turns(queue_limit=2)
    gone, stays = offered(queue, work(), work())

    queue.withdraw([gone])

    queue.offer([work()])
    assert queue.next(1.0)[0][0] is stays


class Slow:
    """In place of a model: notes its batches, waits when told, refuses the token 13."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def predict(self, texts: Sequence[Encoded]) -> list[Output]:
        self.batches.append(len(texts))
        assert self.may_go_on.wait(10)
        if any(13 in text.ids for text in texts):
            raise PermanentError("token 13")
        return [np.array([len(text.ids)], np.float32) for text in texts]


@pytest.fixture
def slow() -> Any:
    return Slow()


@pytest.fixture
def device() -> Iterator[Device]:
    device = Device(turns(), Metrics())
    device.start()
    yield device
    device.stop()


def test_work_gets_its_own_outputs(device: Device, slow: Any) -> None:
    pieces = device.submit("online", slow, [[encoded(3)], [encoded(4), encoded(5)]])

    assert [[float(row[0]) for row in one.done.result(10)] for one in pieces] == [[3.0], [4.0, 5.0]]
    assert slow.batches == [3]


def test_a_bad_text_fails_alone(device: Device, slow: Any) -> None:
    bad = Encoded(text="", ids=[13], truncated=False)
    good, failed = device.submit("online", slow, [[encoded(3)], [bad]])

    assert len(good.done.result(10)) == 1
    with pytest.raises(PermanentError, match="token 13"):
        failed.done.result(10)


def test_withdrawn_work_is_never_predicted(device: Device, slow: Any) -> None:
    slow.may_go_on.clear()
    (busy,) = device.submit("shard", slow, [[encoded(1)]])
    wait_until(lambda: slow.batches == [1])
    gone = device.submit("online", slow, [[encoded(2)], [encoded(2)]])

    device.withdraw(gone)
    slow.may_go_on.set()

    assert len(busy.done.result(10)) == 1
    assert len(device.submit("shard", slow, [[encoded(4)]])[0].done.result(10)) == 1
    assert slow.batches == [1, 1]
    with pytest.raises(CancelledError):
        gone[0].done.result(0)


def test_a_stop_ends_the_batch_in_progress_and_refuses_the_rest(slow: Any) -> None:
    device = Device(turns(), Metrics())
    device.start()
    slow.may_go_on.clear()
    (busy,) = device.submit("shard", slow, [[encoded(1)]])
    wait_until(lambda: slow.batches == [1])
    waiting = device.submit("shard", slow, [[encoded(1)], [encoded(1)]])
    stopping = threading.Thread(target=device.stop)
    stopping.start()
    wait_until(lambda: device._stopping)
    slow.may_go_on.set()
    stopping.join(10)

    assert len(busy.done.result(0)) == 1
    for one in waiting:
        with pytest.raises(TemporaryError, match="shutting down"):
            one.done.result(0)
    with pytest.raises(TemporaryError, match="shutting down"):
        device.submit("shard", slow, [[encoded(1)]])
