"""The functions as they are deployed: under functions-framework, called with CloudEvents over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import functions_framework
import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent

from tests.simulation.sim_world import START, World
from zeroidle import wiring
from zeroidle.contracts.records import Job, State
from zeroidle.contracts.services import ObjectRef
from zeroidle.errors import PermanentError, TemporaryError

SOURCE = Path(__file__).parents[2] / "functions" / "main.py"
TARGETS = ("on_upload", "on_job_start", "on_job_stop", "on_job_heartbeat", "on_job_meta", "on_tick")
TIME = "2027-01-15T08:00:00Z"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(wiring, "context", lambda: world.context)
    monkeypatch.setattr(wiring, "job_store", lambda: world.context.jobs)
    return world


@pytest.fixture(scope="module")
def clients() -> dict[str, Any]:
    """A test client of each function, made as the framework makes it from FUNCTION_TARGET."""
    return {target: functions_framework.create_app(target, str(SOURCE)).test_client() for target in TARGETS}


@pytest.fixture
def call(world: World, clients: dict[str, Any]) -> Callable[..., int]:
    """Deliver an event to a function; the status of its answer."""

    def deliver(target: str, data: Any, form: Callable[..., Any] = to_binary) -> int:
        event = CloudEvent({"type": "t", "source": "//s", "id": "1"}, data)
        headers, body = form(event)
        status: int = clients[target].post("/", headers=headers, data=body).status_code
        return status

    return deliver


def an_object(world: World, name: str = "in.txt", **fields: Any) -> dict[str, Any]:
    generation = world.objects.write(ObjectRef(bucket="input", name=name), b"text")
    return {
        "bucket": "input",
        "name": name,
        "generation": str(generation),
        "size": "4",
        "timeCreated": TIME,
        **fields,
    }


def a_message(body: Any) -> dict[str, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    message = {"data": base64.b64encode(data).decode(), "messageId": "m1", "publishTime": TIME}
    return {"message": message, "subscription": "projects/p/subscriptions/s"}


def a_start(world: World, **fields: Any) -> dict[str, Any]:
    an_object(world)
    run = {"kind": "workflow", "workflow": "pipeline", "input": {"bucket": "input", "name": "in.txt"}}
    return a_message({"schema": 1, "job_id": "job-1", "user_id": "me", "run": run, **fields})


def the_job(world: World) -> Job:
    (job,) = world.jobs()
    return job


@pytest.mark.parametrize("form", [to_binary, to_structured], ids=["binary", "structured"])
def test_an_upload_becomes_a_job_that_runs(world: World, call: Callable[..., int], form: Callable[..., Any]) -> None:
    status = call("on_upload", an_object(world), form)

    assert status == 200
    assert the_job(world).state is State.PROVISIONING
    assert the_job(world).created_at == START
    assert len(world.executions.active()) == 1


def test_an_event_that_comes_twice_is_one_job(world: World, call: Callable[..., int]) -> None:
    data = an_object(world)

    assert [call("on_upload", data), call("on_upload", data)] == [200, 200]
    assert len(world.jobs()) == len(world.executions.all) == 1


def test_a_job_runs_from_start_to_end_by_messages(world: World, call: Callable[..., int]) -> None:
    assert call("on_job_start", a_start(world)) == 200
    (execution,) = world.executions.active()
    while world.executions.active():
        world.step(execution)
        for message in world.inbox:
            assert call("on_job_heartbeat", a_message(message.payload.data)) == 200
        world.inbox.clear()
    assert call("on_tick", a_message(b"")) == 200

    assert the_job(world).state is State.SUCCEEDED
    assert world.markers() == set()


def test_a_stop_ends_what_runs(world: World, call: Callable[..., int]) -> None:
    call("on_job_start", a_start(world))
    world.step(world.executions.active()[0])

    assert call("on_job_stop", a_message({"schema": 1, "job_id": "job-1", "user_id": "me"})) == 200
    assert the_job(world).state is State.STOPPED
    assert world.executions.active() == []


def test_a_report_is_kept_once(world: World, call: Callable[..., int]) -> None:
    call("on_job_start", a_start(world))
    meta = a_message(
        {
            "schema": 1,
            "job_id": "job-1",
            "user_id": "me",
            "attempt": 1,
            "created_at": 1.0,
            "sender": "preprocess",
            "operation": "input",
            "data": {"records": 3},
        }
    )

    assert [call("on_job_meta", meta), call("on_job_meta", meta)] == [200, 200]
    assert world.objects.names("jobs", "meta/") == ["meta/job-1/m1.json"]


POISON = [
    pytest.param("on_upload", {"bucket": "input"}, id="an upload without a name"),
    pytest.param("on_upload", b"{", id="an upload that is no JSON"),
    pytest.param("on_job_start", {"message": {}}, id="a delivery without a message id"),
    *(
        pytest.param(target, body, id=f"{target} {text}")
        for target in ("on_job_start", "on_job_stop", "on_job_heartbeat", "on_job_meta")
        for text, body in [
            ("empty", a_message(b"")),
            ("no JSON", a_message(b"\xff{")),
            ("of another schema", a_message({"schema": 2})),
            ("of nobody", a_message({"schema": 1, "job_id": "job-1"})),
        ]
    ),
]


@pytest.mark.parametrize(("target", "data"), POISON)
def test_poison_is_acknowledged_logged_and_creates_nothing(
    target: str, data: Any, world: World, call: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    assert call(target, data) == 200
    assert world.objects.stored == {}
    assert world.executions.all == {}
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert line.getMessage().startswith("REJECTED: INVALID_MESSAGE")


@pytest.mark.parametrize("target", ["on_upload", "on_job_start"])
def test_what_cannot_be_done_now_is_delivered_again(target: str, world: World, call: Callable[..., int]) -> None:
    data = an_object(world) if target == "on_upload" else a_start(world)
    world.faults.at, world.faults.how, world.faults.armed = 2, lambda: TemporaryError("storage is away"), True

    assert call(target, data) == 503
    assert call(target, data) == 200
    assert len(world.executions.all) == 1


def test_a_wrong_environment_acknowledges_nothing(
    monkeypatch: pytest.MonkeyPatch, clients: dict[str, Any], world: World, call: Callable[..., int]
) -> None:
    def context() -> None:
        raise PermanentError("environment variable ZEROIDLE_REGION is not set")

    monkeypatch.setattr(wiring, "context", context)
    monkeypatch.setitem(clients["on_upload"].application.config, "PROPAGATE_EXCEPTIONS", False)

    assert call("on_upload", an_object(world)) == 500
