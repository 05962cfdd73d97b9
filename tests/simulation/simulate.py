"""Play many histories of jobs on machines, on all cores: `make simulate N=10000 SEED=0`.

Prints how far it is and every seed that fails, then the shortest part of the first failing history that still fails, as
the entry to paste into `failed_histories.py`, from where a test replays it. Exits with 1 if one failed.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed

from tests.simulation.histories import describe, history, play, replay, shrink

BATCH = 20
SAY_EVERY_S = 5.0


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", "--histories", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="the first one; each history has the next")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    failures = _play_all(range(arguments.seed, arguments.seed + arguments.histories), arguments.processes)
    if not failures:
        return 0
    seed, error = min(failures)
    _say(f"\nseed {seed} failed: {error}\nlooking for the shortest part of it that fails the same way ...")
    kind = _kind(error)
    steps = shrink(history(seed), lambda part: _kind(_failure(part)) == kind)
    _say(f"{len(steps)} steps. What to add to PARTS in tests/simulation/failed_histories.py:\n")
    _say(entry(f"seed {seed}, {_failure(steps)}", steps))
    return 1


def entry(wrong: str, steps: Sequence[int]) -> str:
    """A line of `failed_histories.PARTS`, with what each step does as comments above it."""
    told = [f"    # {ascii(line)[1:-1][:110]}" for line in describe(steps)]
    what = ascii(wrong.partition("\n")[0][:70])
    numbers = [f"        {step}," for step in steps]
    return "\n".join([*told, f"    {what}: (", *numbers, "    ),"])


def _play_all(seeds: range, processes: int) -> list[tuple[int, str]]:
    """Seeds that failed, and how."""
    failures: list[tuple[int, str]] = []
    ends: Counter[str] = Counter()
    began = said = time.monotonic()
    done = 0
    with ProcessPoolExecutor(processes, initializer=logging.disable) as pool:
        batches = [pool.submit(_play_some, seeds[at : at + BATCH]) for at in range(0, len(seeds), BATCH)]
        finished: Future[tuple[int, list[tuple[int, str]], Counter[str]]]
        for finished in as_completed(batches):
            played, failed, some_ends = finished.result()
            done, ends = done + played, ends + some_ends
            for seed, error in failed:
                _say(f"seed {seed} failed: {error[:300]}")
            failures += failed
            if time.monotonic() - said > SAY_EVERY_S:
                said = time.monotonic()
                _say(f"{done:,} of {len(seeds):,} histories, {len(failures)} failed, {done / (said - began):.0f}/s")
    _say(f"{done:,} histories in {time.monotonic() - began:.0f} s, {len(failures)} failed")
    _say("attempts and jobs ended: " + ", ".join(f"{name} {count:,}" for name, count in ends.most_common()))
    return failures


def _play_some(seeds: Sequence[int]) -> tuple[int, list[tuple[int, str]], Counter[str]]:
    failed, ends = [], Counter[str]()
    for seed in seeds:
        try:
            world = play(seed)
        except Exception as error:  # noqa: BLE001  # whatever it is, the seed is to be told
            failed.append((seed, f"{type(error).__name__}: {error}"))
            continue
        for job in world.jobs():
            ends[job.reason.value if job.reason else job.state.value] += 1
            ends.update(past.reason.value for past in job.history if past.reason)
    return len(seeds), failed, ends


def _failure(steps: Sequence[int]) -> str:
    try:
        replay(steps)
    except Exception as error:  # noqa: BLE001  # as above
        return f"{type(error).__name__}: {error}"
    return ""


def _kind(error: str) -> str:
    """The type of the error and the number of the invariant."""
    return ":".join(error.split(":")[:2])


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.disable()
    sys.exit(main())
