"""Does everyone who waits for a moment of virtual time wake at it?"""

from __future__ import annotations

import asyncio
import threading

import pytest
import uvloop

from localcloud.clock import Clock


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_frozen_clock_stands_still_until_it_is_advanced():
    clock = Clock(start=1000.0, frozen=True)

    clock.advance(minutes=1, seconds=5)

    assert clock.time() == 1065.0
    assert clock.now().isoformat() == "1970-01-01T00:17:45+00:00"


async def _sleepers_in_order() -> list[int]:
    clock, woken = Clock(start=0.0, frozen=True), []

    async def sleeper(seconds: int) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (30, 10, 20, 40)]
    await settle()
    clock.advance(seconds=30)
    await settle()
    for task in tasks:
        task.cancel()
    return woken


def test_sleepers_wake_in_the_order_of_their_moments_and_only_those_due():
    assert asyncio.run(_sleepers_in_order()) == [10, 20, 30]


def test_advancing_from_another_thread_wakes_the_sleeper():
    async def scenario() -> float:
        clock = Clock(start=0.0, frozen=True)
        sleeper = asyncio.create_task(clock.sleep(600))
        await settle()
        await asyncio.to_thread(clock.advance, minutes=10)
        await sleeper
        return clock.time()

    assert asyncio.run(scenario()) == 600.0


def test_a_clock_that_runs_wakes_sleepers_in_real_time():
    async def scenario() -> None:
        clock = Clock()
        async with asyncio.timeout(5):
            await clock.sleep(0.01)

    asyncio.run(scenario())


def test_time_cannot_go_back():
    with pytest.raises(ValueError, match=r"cannot go back: -1\.0 s"):
        Clock(frozen=True).advance(seconds=-1)


def test_time_stays_within_what_a_date_can_say():
    clock = Clock(frozen=True)
    before = clock.now()

    with pytest.raises(ValueError, match="beyond the year 9000"):
        clock.advance(seconds=1e12)

    assert clock.now() == before


def test_work_that_takes_too_long_is_cancelled_before_the_timeout_is_raised():
    async def scenario() -> bool:
        clock, cleaned = Clock(frozen=True), False

        async def work() -> None:
            nonlocal cleaned
            try:
                await asyncio.sleep(3600)
            finally:
                cleaned = True

        task = asyncio.create_task(clock.timeout(work(), 300))
        await settle()
        clock.advance(seconds=300)
        with pytest.raises(TimeoutError, match="took longer than 300 s"):
            await task
        return cleaned

    assert asyncio.run(scenario())


def test_a_timeout_error_of_the_work_itself_keeps_its_message():
    async def scenario() -> None:
        async def work() -> None:
            raise TimeoutError("the disk")

        with pytest.raises(TimeoutError, match="the disk"):
            await Clock(frozen=True).timeout(work(), 300)

    asyncio.run(scenario())


def test_a_time_limit_already_over_ends_the_work_even_while_time_stands_still():
    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            await Clock(frozen=True).timeout(asyncio.sleep(3600), 0)

    asyncio.run(asyncio.wait_for(scenario(), 5))


def test_time_limits_that_were_not_reached_leave_nothing_behind():
    async def scenario() -> int:
        clock = Clock(frozen=True)
        for _ in range(1000):
            await clock.timeout(asyncio.sleep(0), 300)
        return len(clock._timers)

    assert asyncio.run(scenario()) < 200


def test_a_limit_may_be_infinite():
    async def scenario() -> str:
        return await Clock().timeout(asyncio.sleep(0, "done"), float("inf"))

    assert uvloop.run(scenario()) == "done"


def test_a_cancelled_timer_does_not_run():
    async def scenario() -> list[str]:
        clock, ran = Clock(frozen=True), []
        clock.call_later(10, lambda: ran.append("kept"))
        clock.call_later(10, lambda: ran.append("cancelled")).cancel()
        clock.advance(seconds=10)
        return ran

    assert asyncio.run(scenario()) == ["kept"]


def test_advancing_from_a_thread_before_anybody_waits_moves_the_time():
    clock = Clock(start=0.0, frozen=True)

    thread = threading.Thread(target=clock.advance, kwargs={"hours": 1})
    thread.start()
    thread.join()

    assert clock.time() == 3600.0
