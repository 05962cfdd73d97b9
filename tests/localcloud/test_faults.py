"""Does a fault hit the calls it was ordered for, and no other?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from localcloud.faults import CALL, INVOCATION, Fault, Faults


def test_one_order_of_several_is_withdrawn():
    faults = Faults()
    other = Fault("storage.objects.get", times=2)
    for fault in (Fault("storage.objects.insert"), other):
        faults.add(fault)

    faults.withdraw(Fault("storage.objects.insert"))

    assert faults.standing() == [other]
    with pytest.raises(ValueError, match="no such order stands"):
        faults.withdraw(Fault("storage.objects.insert"))


def test_a_fault_hits_as_many_matching_calls_as_ordered():
    faults = Faults()
    faults.add(Fault("storage.objects.*", resource="b/claims/*", times=2))

    hits = [faults.take("storage.objects.insert", "b/claims/x") is not None for _ in range(3)]

    assert hits == [True, True, False]


@pytest.mark.parametrize(
    ("call", "resource"),
    [
        pytest.param("storage.buckets.get", "b/claims/x", id="another call"),
        pytest.param("storage.objects.insert", "b/jobs/x", id="another resource"),
    ],
)
def test_a_fault_lets_other_calls_through(call: str, resource: str):
    faults = Faults()
    faults.add(Fault("storage.objects.insert", resource="b/claims/*"))

    assert faults.take(call, resource) is None
    assert len(faults.standing()) == 1


def test_a_fault_can_let_the_first_calls_pass():
    faults = Faults()
    faults.add(Fault("run.services.invoke", skip=2))

    hits = [faults.take("run.services.invoke", "infer") is not None for _ in range(4)]

    assert hits == [False, False, True, False]


def test_the_oldest_order_comes_first_and_what_is_left_is_told():
    faults = Faults()
    faults.add(Fault("a.b.c", status=500, times=2))
    faults.add(Fault("a.b.c", status=503))

    assert faults.take("a.b.c").status == 500
    assert [(fault.status, fault.times) for fault in faults.standing()] == [(500, 1), (503, 1)]


def test_clearing_withdraws_all_orders():
    faults = Faults()
    faults.add(Fault("a.b.c"))

    faults.clear()

    assert faults.take("a.b.c") is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"action": "explode"}, "action is 'explode'; expected one of fail, fail_after", id="action"),
        pytest.param({"times": 0}, "times is 0; expected at least 1", id="times"),
        pytest.param({"skip": -1}, "skip is -1", id="skip"),
        pytest.param({"status": 200}, "status is 200; expected an HTTP error", id="status"),
        pytest.param({"delay_s": float("nan")}, "delay_s is nan", id="delay"),
        pytest.param({"delay_s": 5, "delay_max_s": 1}, "delay_max_s is 1; expected at least delay_s", id="range"),
        pytest.param({"code": "BROKEN"}, "code is 'BROKEN'; expected one of INVALID_ARGUMENT", id="code"),
        pytest.param({"after_bytes": -1}, "after_bytes is -1", id="bytes"),
        pytest.param({"probability": 0}, "probability is 0; expected more than 0", id="probability"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Fault("a.b.c", **fields)


def hits(fault: Fault, calls: int) -> list[bool]:
    """Which of so many calls it hits."""
    faults = Faults()
    faults.add(fault)
    return [faults.take("a.b.c") is not None for _ in range(calls)]


def test_chance_hits_the_same_calls_for_the_same_seed():
    fault = Fault("a.b.c", times=None, probability=0.3, seed=7)

    assert hits(fault, 200) == hits(fault, 200)
    assert hits(fault, 200) != hits(replace(fault, seed=8), 200)
    assert 30 <= sum(hits(fault, 200)) <= 90


def test_chance_and_a_number_of_times_are_both_kept():
    assert sum(hits(Fault("a.b.c", times=2, probability=0.5, seed=1), 100)) == 2


def test_a_fault_without_end_stands():
    assert hits(Fault("a.b.c", times=None), 100) == [True] * 100


def test_a_latency_is_drawn_from_its_range():
    faults = Faults()
    faults.add(Fault("a.b.c", action="delay", delay_s=1, delay_max_s=3, times=None, seed=3))

    drawn = [faults.take("a.b.c").delay_s for _ in range(50)]

    assert all(1 <= each <= 3 for each in drawn)
    assert len(set(drawn)) == 50


def test_an_order_that_means_nothing_to_a_call_stands_on():
    faults = Faults()
    faults.add(Fault("a.b.c", action="kill"))
    faults.add(Fault("a.b.c", action="fail"))

    assert faults.take("a.b.c", actions=CALL).action == "fail"
    assert faults.take("a.b.c", actions=CALL) is None
    assert faults.take("a.b.c", actions=INVOCATION).action == "kill"


@pytest.mark.parametrize(
    ("fields", "http", "grpc"),
    [
        ({"status": 429}, 429, "RESOURCE_EXHAUSTED"),
        ({"status": 409}, 409, "ABORTED"),
        ({"status": 418}, 418, "FAILED_PRECONDITION"),
        ({"status": 599}, 599, "INTERNAL"),
        ({"code": "DEADLINE_EXCEEDED"}, 504, "DEADLINE_EXCEEDED"),
        ({"code": "ALREADY_EXISTS"}, 409, "ALREADY_EXISTS"),
    ],
)
def test_an_error_is_ordered_by_http_status_or_grpc_code(fields: dict, http: int, grpc: str):
    fault = Fault("a.b.c", **fields)

    assert (fault.http_status, fault.grpc_code) == (http, grpc)


def test_an_order_with_a_time_is_over_after_it():
    class Clock:
        now = 1000.0

        def time(self) -> float:
            return self.now

    faults = Faults()
    faults.clock = clock = Clock()  # type: ignore[assignment]  # of which only the time is asked
    hour, always = Fault("compute.*", times=None, for_s=3600), Fault("storage.*", times=None)
    faults.add(hour)
    faults.add(always)

    clock.now += 3599
    assert faults.take("compute.machines.provision") == hour
    assert faults.standing() == [hour, always]
    clock.now += 1
    assert faults.take("compute.machines.provision") is None
    assert faults.standing() == [always]


@pytest.mark.parametrize("for_s", [0, -1, float("inf"), float("nan")])
def test_a_time_is_a_number_of_seconds(for_s: float):
    with pytest.raises(ValueError, match="for_s is"):
        Fault("compute.*", for_s=for_s)
