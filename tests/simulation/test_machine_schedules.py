"""Jobs on machines under everything that goes wrong with VMs, messages, workers and handlers: do the invariants hold?

`make simulate N=10000 SEED=0` plays as many histories as wanted.
"""

from __future__ import annotations

import ast
import os

import pytest

from tests.simulation.failed_histories import PARTS, SEEDS
from tests.simulation.histories import describe, history, play, replay, shrink
from tests.simulation.simulate import entry
from zeroidle.contracts.records import State

HISTORIES = int(os.environ.get("ZEROIDLE_MACHINE_HISTORIES", "1000"))
FIRST_SEED = int(os.environ.get("ZEROIDLE_SEED", "0"))
BATCH = 50


@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + HISTORIES, BATCH))
def test_the_invariants_hold_whatever_happens_to_machines(first: int) -> None:
    for seed in range(first, first + BATCH):
        try:
            play(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error


FAILED_ONCE = {**{f"seed {seed}": history(seed) for seed in SEEDS}, **PARTS}


@pytest.mark.parametrize("steps", FAILED_ONCE.values(), ids=FAILED_ONCE.keys())
def test_a_history_that_failed_once_does_so_no_more(steps: tuple[int, ...]) -> None:
    replay(steps)


def test_a_shrunk_history_is_printed_as_an_entry_to_paste() -> None:
    steps = history(3)[:4]
    text = entry('seed 3, Violation: 5: a "VM" is left\nand more', steps)

    parts = ast.literal_eval("{" + text + "}")
    assert parts == {'seed 3, Violation: 5: a "VM" is left': steps}
    assert text.count("    # ") == len(describe(steps))
    assert all(len(line) <= 120 for line in text.splitlines())


def test_a_history_of_machines_is_determined_by_its_seed() -> None:
    one, two = play(11), play(11)

    assert one.jobs() == two.jobs()
    assert one.outcomes == two.outcomes


def test_the_histories_of_machines_reach_every_end() -> None:
    reasons, states, codes = set(), set(), set()
    for seed in range(150):
        for job in play(seed).jobs():
            states.add(job.state)
            reasons.update(reason.value for reason in [job.reason, *(past.reason for past in job.history)] if reason)
            codes.update(line.code for line in job.machines.story)

    assert states == {State.SUCCEEDED, State.FAILED, State.STOPPED}
    assert reasons >= {"JOB_ERROR", "PREEMPTED", "WORKER_LOST", "TIMEOUT", "STOP_REQUESTED"}
    assert codes >= {"CLAIMED", "ZONE_RESOURCE_POOL_EXHAUSTED", "QUOTA_EXCEEDED", "SOMETHING_NEW", "AT_CAP"}


def test_a_failing_history_shrinks_to_the_steps_that_matter() -> None:
    steps = history(3)
    culprits = {steps[7], steps[40], steps[41]}

    assert shrink(steps, lambda part: culprits <= set(part)) == (steps[7], steps[40], steps[41])


def test_a_part_of_a_history_is_a_history_and_can_be_told() -> None:
    steps = history(5)[::3]

    told = replay(steps).told

    assert [line.partition(": ")[2] for line in describe(steps)] == list(told)
