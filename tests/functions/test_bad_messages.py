"""Thousands of bad messages through the functions: none crashes one, changes anything, or goes unexplained."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import functions_framework
import pytest
from cloudevents.conversion import to_binary
from cloudevents.http import CloudEvent
from msgspec.structs import replace

from tests.functions.bad_messages import FORGED, RIGHT, STALE, UNKNOWN, bad_messages, delivered
from tests.simulation.sim_world import World
from zeroidle import wiring
from zeroidle.contracts.records import State

SOURCE = Path(__file__).parents[2] / "functions" / "main.py"
COUNT, SEED = int(os.environ.get("BAD_MESSAGES", "5000")), int(os.environ.get("BAD_MESSAGES_SEED", "1"))
LINE = re.compile(r"(REJECTED: ([A-Z_]+): \S|[a-z_]+: (DUPLICATE)$)")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A machine job in its second attempt and a workflow job, both of `me`."""
    world = World()
    monkeypatch.setattr(wiring, "context", lambda: world.context)
    monkeypatch.setattr(wiring, "job_store", lambda: world.context.jobs)
    world.start_machine("m-1")
    world.start("job-1")
    for message in list(world.inbox):
        world.deliver(message)
    stored = world.context.jobs.load("m-1")
    assert stored is not None
    world.context.jobs.replace(stored, replace(stored.job, attempt=2, state=State.RUNNING))
    return world


def everything(world: World) -> tuple[Any, ...]:
    """All that a message could create or change."""
    vms = [(machine.ref, machine.state) for machine in world.fleet.machines]
    executions = {name: each.state for name, each in world.executions.all.items()}
    return dict(world.objects.stored), vms, executions, len(world.publisher.queue), len(world.inbox)


def test_none_crashes_creates_or_goes_unexplained(world: World, caplog: pytest.LogCaptureFixture) -> None:
    clients = {target: functions_framework.create_app(target, str(SOURCE)).test_client() for target in RIGHT}
    before, outcomes, sent = everything(world), Counter[tuple[str, str]](), 0
    caplog.set_level("INFO", "zeroidle.functions")
    for bad in bad_messages(SEED, COUNT):
        caplog.clear()
        headers, body = to_binary(CloudEvent({"type": "t", "source": "//s", "id": "1"}, bad.data))
        status = clients[bad.target].post("/", headers=headers, data=body).status_code
        sent += 1

        assert status == 200, bad
        (line,) = [each.getMessage() for each in caplog.records if each.name == "zeroidle.functions"]
        told = LINE.match(line)
        assert told is not None, (line, bad)
        assert len(line) < 1000, bad
        outcomes[bad.wrong, told[2] or told[3]] += 1

    assert everything(world) == before
    assert sum(outcomes.values()) == sent > COUNT * 0.85
    codes = {wrong: {code for of, code in outcomes if of == wrong} for wrong, _ in outcomes}
    assert codes.pop(STALE) == {"DUPLICATE"}  # it may be honest, and late
    assert codes.pop(FORGED) == {"NOT_THE_OWNER"}
    assert codes.pop(UNKNOWN) == {"NO_SUCH_JOB"}
    assert codes.pop("an attempt to come") == {"NO_SUCH_ATTEMPT"}
    assert set().union(*codes.values()) <= {"INVALID_MESSAGE", "INVALID_INPUT"}
    assert len(codes) == 15


def test_the_right_ones_among_them_are_taken(world: World) -> None:
    """What the bad ones are made of is right: they are refused for what is wrong with them."""
    clients = {target: functions_framework.create_app(target, str(SOURCE)).test_client() for target in RIGHT}
    before = len(world.jobs())
    for target, body in RIGHT.items():
        right = {**body, "attempt": 2} if "attempt" in body else body
        headers, data = to_binary(CloudEvent({"type": "t", "source": "//s", "id": "1"}, delivered(right)))
        assert clients[target].post("/", headers=headers, data=data).status_code == 200

    assert len(world.jobs()) == before + 1
    assert world.objects.names("jobs", "meta/m-1/") == ["meta/m-1/m.json"]
