"""Whose batch is next on the device?

One batch at a time. Online requests wait a moment for each other and share batches within the token budget; batches of
shards fill the rest. Where both wait they take turns, so neither starves the other.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from services.gpu_inference.metrics import Metrics
from services.gpu_inference.model import Encoded, Model, Output
from zeroidle.errors import TemporaryError

Kind = Literal["online", "shard"]

log = logging.getLogger(__name__)


class Overloaded(TemporaryError):
    """More online work waits than may; 429."""

    code = "OVERLOADED"


@dataclass(slots=True, eq=False)
class Work:
    """Texts for one model that are predicted in one batch. A cancelled future is work nobody waits for any more."""

    kind: Kind
    model: Model
    texts: Sequence[Encoded]
    arrived: float
    done: Future[list[Output]] = field(default_factory=Future)

    @property
    def tokens(self) -> int:
        """How long it occupies the device, in the unit of the budget."""
        return sum(len(text.ids) for text in self.texts)


class Turns:
    """The waiting work and the rule of who is next. Not thread-safe; time is passed in, in seconds."""

    def __init__(self, *, token_budget: int, max_wait_s: float, queue_limit: int) -> None:
        self._budget, self._max_wait_s, self._limit = token_budget, max_wait_s, queue_limit
        self._online: deque[Work] = deque()
        self._shard: deque[Work] = deque()
        self._last: Kind = "shard"

    def offer(self, work: Sequence[Work]) -> None:
        """Queue work, all of it or none. Raises Overloaded."""
        online = [one for one in work if one.kind == "online"]
        if online and len(self._online) + len(online) > self._limit:
            raise Overloaded(
                f"{len(self._online)} texts wait already, at most {self._limit} may",
                hint="Try again later, or send fewer at once.",
            )
        self._online.extend(online)
        self._shard.extend(one for one in work if one.kind == "shard")

    def withdraw(self, work: Sequence[Work]) -> None:
        """Forget work whose caller is gone; what is on the device already is no longer here."""
        gone = set(map(id, work))
        self._online = deque(one for one in self._online if id(one) not in gone)
        self._shard = deque(one for one in self._shard if id(one) not in gone)

    def next(self, now: float) -> tuple[list[Work], float | None]:
        """The next batch; or none, and in how many seconds to ask again (None: when work comes)."""
        ripe_in = self._ripe_in(now)
        if ripe_in == 0 and (self._last == "shard" or not self._shard):
            self._last = "online"
            return self._take_online(), None
        if self._shard:
            self._last = "shard"
            return [self._shard.popleft()], None
        return [], ripe_in

    def depth(self) -> dict[Kind, int]:
        """How much waits."""
        return {"online": len(self._online), "shard": len(self._shard)}

    def _ripe_in(self, now: float) -> float | None:
        """Seconds until online work should go: at once when the oldest waited long enough or a batch is full."""
        if not self._online:
            return None
        if sum(one.tokens for one in self._online) >= self._budget:
            return 0.0
        return max(0.0, self._online[0].arrived + self._max_wait_s - now)

    def _take_online(self) -> list[Work]:
        """The oldest work and what fits beside it: same model, within the budget, in order of arrival."""
        model, tokens = self._online[0].model, 0
        taken: list[Work] = []
        kept: deque[Work] = deque()
        for one in self._online:
            if one.model is model and (not taken or tokens + one.tokens <= self._budget):
                tokens += one.tokens
                taken.append(one)
            else:
                kept.append(one)
        self._online = kept
        return taken


class Device:
    """The thread that runs batches. Start it before use; `stop` lets the batch in progress end and fails the rest."""

    def __init__(self, turns: Turns, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._turns, self._metrics, self._clock = turns, metrics, clock
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the batch in progress."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        self._drain()

    def submit(self, kind: Kind, model: Model, texts: Sequence[Sequence[Encoded]]) -> list[Work]:
        """Queue one piece of work for each group of texts. Raises Overloaded, TemporaryError when shutting down."""
        now = self._clock()
        work = [Work(kind, model, group, now) for group in texts]
        with self._changed:
            if self._stopping:
                raise _shutting_down()
            self._turns.offer(work)
            self._measure()
            self._changed.notify_all()
        return work

    def withdraw(self, work: Sequence[Work]) -> None:
        """Drop work that nobody waits for any more."""
        for one in work:
            one.done.cancel()
        with self._changed:
            self._turns.withdraw(work)
            self._measure()

    def _run(self) -> None:
        while True:
            with self._changed:
                batch, wait = self._turns.next(self._clock())
                while not batch and not self._stopping:
                    self._changed.wait(wait)
                    batch, wait = self._turns.next(self._clock())
                if self._stopping:
                    _refuse(batch)
                    return
                self._measure()
            self._execute([one for one in batch if one.done.set_running_or_notify_cancel()])

    def _execute(self, batch: Sequence[Work]) -> None:
        if not batch:
            return
        started = self._clock()
        texts = [text for one in batch for text in one.texts]
        try:
            outputs = batch[0].model.predict(texts)
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to the callers, and the thread must live
            self._fail(batch, error)
            return
        self._metrics.observe_batch(
            batch[0].kind, len(texts), sum(one.tokens for one in batch), self._clock() - started
        )
        at = 0
        for one in batch:
            one.done.set_result(outputs[at : at + len(one.texts)])
            at += len(one.texts)

    def _fail(self, batch: Sequence[Work], error: Exception) -> None:
        """One bad text must not fail those that share its batch: each piece is tried by itself."""
        log.warning("a batch of %d failed: %s", len(batch), error)
        if len(batch) == 1:
            batch[0].done.set_exception(error)
            return
        for one in batch:
            try:
                one.done.set_result(one.model.predict(one.texts))
            except Exception as alone:  # noqa: BLE001  # as above: it belongs to this caller
                one.done.set_exception(alone)

    def _measure(self) -> None:
        for kind, depth in self._turns.depth().items():
            self._metrics.queue_depth.labels(kind).set(depth)

    def _drain(self) -> None:
        with self._changed:
            while batch := self._turns.next(math.inf)[0]:
                _refuse(batch)


def _refuse(batch: Sequence[Work]) -> None:
    for one in batch:
        if one.done.set_running_or_notify_cancel():
            one.done.set_exception(_shutting_down())


def _shutting_down() -> TemporaryError:
    return TemporaryError("the instance is shutting down")
