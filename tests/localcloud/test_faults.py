"""Does a fault hit the calls it was ordered for, and no other?"""

from __future__ import annotations

import pytest

from localcloud.faults import Fault, Faults


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
    ],
)
def test_an_order_that_makes_no_sense_is_refused(fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Fault("a.b.c", **fields)
