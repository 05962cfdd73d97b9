"""Do the rules choose, start and stop the right instances?"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from localcloud.run import state
from localcloud.run.state import ServiceSpec


@dataclass(frozen=True)
class Slot:
    active: int = 0
    is_open: bool = True


def a_spec(**options: object) -> ServiceSpec:
    return ServiceSpec("infer", ("serve",), **options)


@pytest.mark.parametrize(
    ("slots", "chosen"),
    [
        pytest.param([], None, id="none there"),
        pytest.param([Slot()], 0, id="idle"),
        pytest.param([Slot(active=2), Slot(active=1)], 1, id="the least busy"),
        pytest.param([Slot(active=1), Slot(active=1)], 0, id="of equals the oldest"),
        pytest.param([Slot(active=3)], None, id="full"),
        pytest.param([Slot(is_open=False), Slot(active=2)], 1, id="not one that is closed"),
    ],
)
def test_which_instance_takes_a_request(slots: list[Slot], chosen: int | None):
    found = state.choose(slots, concurrency=3)

    assert found is (None if chosen is None else slots[chosen])


@pytest.mark.parametrize(
    ("limits", "now", "expected"),
    [
        pytest.param({}, {"live": 0, "starting": 0, "waiting": 0}, 0, id="nothing to do"),
        pytest.param({}, {"live": 0, "starting": 0, "waiting": 1}, 1, id="from zero"),
        pytest.param({}, {"live": 0, "starting": 0, "waiting": 10}, 1, id="one takes ten"),
        pytest.param({}, {"live": 0, "starting": 0, "waiting": 11}, 2, id="eleven need two"),
        pytest.param({}, {"live": 1, "starting": 1, "waiting": 10}, 0, id="the one that starts takes them"),
        pytest.param({}, {"live": 1, "starting": 1, "waiting": 11}, 1, id="it takes ten of eleven"),
        pytest.param({}, {"live": 1, "starting": 0, "waiting": 1}, 1, id="the one there is full"),
        pytest.param({}, {"live": 0, "starting": 0, "waiting": 1000}, 4, id="up to the maximum"),
        pytest.param({}, {"live": 4, "starting": 0, "waiting": 1000}, 0, id="at the maximum"),
        pytest.param({"min_instances": 2}, {"live": 0, "starting": 0, "waiting": 0}, 2, id="the minimum"),
        pytest.param({"min_instances": 2}, {"live": 2, "starting": 2, "waiting": 5}, 0, id="the minimum suffices"),
    ],
)
def test_how_many_instances_are_started(limits: dict, now: dict, expected: int):
    spec = a_spec(concurrency=10, max_instances=4, **limits)

    assert state.instances_to_start(spec, **now) == expected


@pytest.mark.parametrize(
    ("limits", "instance", "expected"),
    [
        pytest.param({}, {"live": 1, "active": 0, "idle_for_s": 900}, True, id="idle for long enough"),
        pytest.param({}, {"live": 1, "active": 0, "idle_for_s": 899}, False, id="not yet"),
        pytest.param({}, {"live": 1, "active": 1, "idle_for_s": 5000}, False, id="at work"),
        pytest.param({"min_instances": 1}, {"live": 1, "active": 0, "idle_for_s": 900}, False, id="the last one kept"),
        pytest.param({"min_instances": 1}, {"live": 2, "active": 0, "idle_for_s": 900}, True, id="above the minimum"),
    ],
)
def test_when_an_instance_may_stop(limits: dict, instance: dict, expected: bool):
    assert state.may_stop(a_spec(max_instances=2, **limits), **instance) is expected


def test_the_wait_between_failed_starts_doubles_up_to_a_minute():
    assert [state.start_backoff(failures) for failures in (1, 2, 3, 7, 5000)] == [1, 2, 4, 60, 60]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"name": "../etc"}, r"service name is '\.\./etc'; expected", id="name is a path"),
        pytest.param({"name": "Infer"}, "service name is 'Infer'", id="name has capitals"),
        pytest.param({"command": ()}, "command is empty", id="no command"),
        pytest.param({"concurrency": 0}, "at least 1", id="no concurrency"),
        pytest.param({"min_instances": 2}, "min_instances is 2; expected 0 to max_instances", id="minimum"),
        pytest.param({"health_path": "ready"}, "health_path is 'ready'", id="health path"),
    ],
)
def test_a_service_that_cannot_work_is_refused(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        ServiceSpec(**{"name": "infer", "command": ("serve",), **options})
