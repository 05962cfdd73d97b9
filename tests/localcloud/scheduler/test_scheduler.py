"""A schedule publishes once a period, through restarts, without a burst for what was missed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.pubsub.resources import SubscriptionSpec
from localcloud.scheduler.errors import InvalidSchedule
from localcloud.scheduler.state import Schedule, Scheduler
from tests.localcloud.pubsub.pubsub_cloud import START, Cloud

TICK = Schedule("tick", 60, "jobs-tick", attributes={"kind": "tick"})


class Scheduled:
    """A cloud with a scheduler and a subscription that counts."""

    def __init__(self, directory: Path | None = None, start: float = START) -> None:
        self.cloud = Cloud(directory, start=start)
        self.scheduler = self.cloud.call(lambda: Scheduler(self.cloud.context, self.cloud.pubsub))
        self.cloud.call(lambda: self.cloud.pubsub.create_topic("jobs-tick"))
        self.cloud.call(lambda: self.cloud.pubsub.create_subscription(SubscriptionSpec("ticks", "jobs-tick")))
        self._await(self.scheduler.start())

    def create(self, schedule: Schedule) -> None:
        self.cloud.call(lambda: self.scheduler.create_schedule(schedule))

    def published(self) -> int:
        return self.cloud.call(lambda: self.cloud.pubsub.backlog("ticks"))

    def advance_until(self, published: int, **delta: float) -> None:
        self.cloud.advance(**delta)
        self.cloud.wait_until(lambda: self.cloud.pubsub.backlog("ticks") == published)

    def close(self) -> None:
        self._await(self.scheduler.stop())
        self.cloud.close()

    def _await(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self.cloud.loop).result(10)


@pytest.fixture
def scheduled() -> Iterator[Scheduled]:
    scheduled = Scheduled()
    yield scheduled
    scheduled.close()


def test_a_message_is_published_every_period(scheduled: Scheduled) -> None:
    scheduled.create(TICK)
    for count in range(1, 4):
        scheduled.cloud.advance(seconds=59)
        assert scheduled.published() == count - 1
        scheduled.advance_until(count, seconds=1)


def test_missed_runs_are_not_made_up_and_the_rhythm_is_kept(scheduled: Scheduled) -> None:
    scheduled.create(TICK)

    scheduled.advance_until(1, seconds=60 * 10 + 30)

    assert scheduled.cloud.call(lambda: scheduled.scheduler.next_run("tick")) == START + 60 * 11


def test_the_next_run_survives_a_restart(tmp_path: Path) -> None:
    first = Scheduled(tmp_path)
    first.create(TICK)
    first.cloud.advance(seconds=50)
    first.close()

    second = Scheduled(tmp_path, start=START + 55)
    second.create(TICK)
    second.advance_until(1, seconds=5)
    second.close()


def test_a_long_stop_ends_in_one_message(tmp_path: Path) -> None:
    first = Scheduled(tmp_path)
    first.create(TICK)
    first.close()

    second = Scheduled(tmp_path, start=START + 86_400 + 1)
    second.create(TICK)
    second.cloud.wait_until(lambda: second.cloud.pubsub.backlog("ticks") == 1)
    second.cloud.advance(seconds=50)
    assert second.published() == 1
    second.close()


def test_a_topic_that_is_gone_does_not_stop_the_schedule(scheduled: Scheduled) -> None:
    scheduled.create(Schedule("tick", 60, "later", b"x"))
    scheduled.cloud.advance(seconds=60)
    scheduled.cloud.wait_until(lambda: scheduled.scheduler.next_run("tick") == START + 120)
    scheduled.cloud.call(lambda: scheduled.cloud.pubsub.create_topic("later"))
    spec = SubscriptionSpec("later", "later")
    scheduled.cloud.call(lambda: scheduled.cloud.pubsub.create_subscription(spec))

    scheduled.cloud.advance(seconds=60)

    scheduled.cloud.wait_until(lambda: scheduled.cloud.pubsub.backlog("later") == 1)


def test_an_unexpected_failure_is_logged_and_the_schedule_goes_on(
    scheduled: Scheduled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [sqlite3.OperationalError("database or disk is full")]
    publish = scheduled.cloud.pubsub.publish

    def fail_once(*arguments: Any) -> list[str]:
        if failures:
            raise failures.pop()
        return publish(*arguments)

    monkeypatch.setattr(scheduled.cloud.pubsub, "publish", fail_once)
    scheduled.create(TICK)
    scheduled.cloud.advance(seconds=60)
    scheduled.cloud.wait_until(lambda: "disk is full" in caplog.text)
    assert scheduled.published() == 0

    scheduled.advance_until(1, seconds=60)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Schedule("", 1, "jobs-tick", b"x"), "name"),
        (Schedule("tick", 0, "jobs-tick", b"x"), "every_s"),
        (Schedule("tick", float("nan"), "jobs-tick", b"x"), "every_s"),
        (Schedule("tick", 1, "jobs-tick"), "neither data nor attributes"),
    ],
    ids=["name", "zero", "nan", "empty"],
)
def test_a_schedule_that_cannot_work_is_refused(scheduled: Scheduled, schedule: Schedule, message: str) -> None:
    with pytest.raises(InvalidSchedule, match=message):
        scheduled.create(schedule)
