"""VMs by name on a local Compute Engine, through the adapter that the handlers use."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import pytest
import requests
from google.api_core import exceptions

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.compute.state import ComputeSpec, GroupSpec, TemplateSpec
from localcloud.faults import Fault
from tests.localcloud.waiting import wait_until
from tests.simulation.histories import CODES
from zeroidle.contracts import names
from zeroidle.contracts.machines import Provisioning, VmRef
from zeroidle.core.machines import VmState
from zeroidle.errors import PermanentError, TemporaryError
from zeroidle.gcp.fleet import CLUSTER, PROVISIONING, GoogleFleet

REF = VmRef(name="job-1-a1", cluster="1xl4", region="us-central1")
FLEX = VmRef(name="job-1-a1", cluster="1xl4", region="us-central1", provisioning=Provisioning.FLEX_START)


def spec() -> ComputeSpec:
    """The groups of one cluster."""
    templates, groups = [], []
    for how in (Provisioning.STANDARD, Provisioning.FLEX_START):
        name = names.group_name("1xl4", how.value)
        labels = {CLUSTER: names.cluster_label("1xl4"), PROVISIONING: how.value}
        templates.append(TemplateSpec(name, {"machineType": "g2-standard-12", "labels": labels}))
        groups.append(GroupSpec(name, "us-central1", name))
    return ComputeSpec(tuple(templates), tuple(groups))


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    with running(CloudConfig(frozen_clock=True), lambda _: Deployment(compute=spec())) as cloud:
        yield cloud


@pytest.fixture
def fleet(cloud: LocalCloud) -> GoogleFleet:
    return GoogleFleet("local", cloud.http_url)


def until(cloud: LocalCloud, condition: Callable[[], bool], what: str) -> None:
    """Let virtual time pass until it holds."""

    def holds() -> bool:
        if condition():
            return True
        cloud.clock.advance(seconds=1)
        return False

    wait_until(holds, what)


@pytest.mark.parametrize("ref", [REF, FLEX], ids=lambda ref: ref.provisioning.value)
def test_a_vm_comes_and_goes(cloud: LocalCloud, fleet: GoogleFleet, ref: VmRef) -> None:
    assert fleet.view(ref).state is VmState.GONE

    fleet.create(ref)
    fleet.create(ref)

    assert fleet.view(ref).state is VmState.CREATING
    until(cloud, lambda: fleet.view(ref).state is VmState.RUNNING, "the VM")
    assert [found for found, _ in fleet.all()] == [ref]

    fleet.delete(ref)
    fleet.delete(ref)

    until(cloud, lambda: fleet.view(ref).state is VmState.GONE, "its end")
    assert not list(fleet.all())
    fleet.delete(ref)


def test_why_a_vm_does_not_come_is_seen(cloud: LocalCloud, fleet: GoogleFleet) -> None:
    cloud.faults.add(Fault("compute.machines.provision", reason="ZONE_RESOURCE_POOL_EXHAUSTED", times=None))
    fleet.create(REF)

    until(cloud, lambda: fleet.view(REF).code != "", "the error")

    view = fleet.view(REF)
    assert (view.state, view.code) == (VmState.CREATING, "ZONE_RESOURCE_POOL_EXHAUSTED")
    fleet.delete(REF)
    assert fleet.view(REF).state is VmState.GONE


def test_a_group_that_is_not_deployed_is_named(fleet: GoogleFleet) -> None:
    elsewhere = VmRef(name="job-1-a1", cluster="1xl4", region="europe-west4")

    with pytest.raises(PermanentError, match="1xl4 in europe-west4") as caught:
        fleet.create(elsewhere)
    assert caught.value.code == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize("code", CODES)
def test_whatever_keeps_a_vm_from_coming_is_told_by_its_code(cloud: LocalCloud, fleet: GoogleFleet, code: str) -> None:
    cloud.faults.add(Fault("compute.machines.provision", reason=code, times=None))
    fleet.create(REF)

    until(cloud, lambda: fleet.view(REF).code != "", "the error")

    assert (fleet.view(REF).state, fleet.view(REF).code) == (VmState.CREATING, code)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_no_answer_is_temporary(cloud: LocalCloud, fleet: GoogleFleet, status: int) -> None:
    # The client repeats reads by itself for a while; writes it does not.
    cloud.faults.add(Fault("compute.regionInstanceGroupManagers.createInstances", status=status))

    with pytest.raises(TemporaryError, match="did not answer"):
        fleet.create(REF)
    fleet.create(REF)
    assert fleet.view(REF).state is VmState.CREATING


def test_a_refusal_is_permanent(cloud: LocalCloud, fleet: GoogleFleet) -> None:
    cloud.faults.add(Fault("compute.regionInstanceGroupManagers.createInstances", status=403))

    with pytest.raises(PermanentError) as caught:
        fleet.create(REF)
    assert caught.value.code == "FORBIDDEN"


def test_a_create_whose_answer_is_lost_is_not_made_twice(cloud: LocalCloud, fleet: GoogleFleet) -> None:
    cloud.faults.add(Fault("compute.regionInstanceGroupManagers.createInstances", action="fail_after", status=503))

    with pytest.raises(TemporaryError):
        fleet.create(REF)
    fleet.create(REF)

    assert cloud.call(lambda: len(cloud.compute.group("us-central1", "zeroidle-l4x1-standard").managed)) == 1


def test_a_vm_that_somebody_else_has_asked_for_in_between_is_no_error(
    cloud: LocalCloud, fleet: GoogleFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, found = GoogleFleet("local", cloud.http_url), fleet._find

    def look(ref: VmRef) -> object:
        seen = found(ref)
        other.create(ref)
        return seen

    monkeypatch.setattr(fleet, "_find", look)
    fleet.create(REF)

    assert fleet.view(REF).state is VmState.CREATING


def test_a_vm_that_has_gone_in_between_is_no_error(
    cloud: LocalCloud, fleet: GoogleFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.create(REF)
    until(cloud, lambda: fleet.view(REF).state is VmState.RUNNING, "the VM")
    other, found = GoogleFleet("local", cloud.http_url), fleet._find

    def look(ref: VmRef) -> object:
        seen = found(ref)
        other.delete(ref)
        until(cloud, lambda: found(ref) is None, "its end")
        return seen

    monkeypatch.setattr(fleet, "_find", look)

    fleet.delete(REF)


def test_a_delete_that_is_forbidden_says_so_and_the_vm_is_still_seen(cloud: LocalCloud, fleet: GoogleFleet) -> None:
    fleet.create(REF)
    until(cloud, lambda: fleet.view(REF).state is VmState.RUNNING, "the VM")
    cloud.faults.add(Fault("compute.regionInstanceGroupManagers.deleteInstances", status=403))

    with pytest.raises(PermanentError) as caught:
        fleet.delete(REF)

    assert caught.value.code == "FORBIDDEN"
    assert fleet.view(REF).state is VmState.RUNNING
    assert [found for found, _ in fleet.all()] == [REF]


def test_a_delete_whose_answer_is_lost_is_done(cloud: LocalCloud, fleet: GoogleFleet) -> None:
    fleet.create(REF)
    until(cloud, lambda: fleet.view(REF).state is VmState.RUNNING, "the VM")
    cloud.faults.add(Fault("compute.regionInstanceGroupManagers.deleteInstances", action="disconnect"))

    with pytest.raises(TemporaryError):
        fleet.delete(REF)
    fleet.delete(REF)

    until(cloud, lambda: fleet.view(REF).state is VmState.GONE, "its end")


@pytest.mark.parametrize("call", ["view", "all"])
def test_a_look_that_gets_no_answer_says_nothing_of_the_vm(cloud: LocalCloud, fleet: GoogleFleet, call: str) -> None:
    fleet.create(REF)
    cloud.faults.add(Fault("compute.*", action="drop", times=None))

    with pytest.raises(TemporaryError, match="did not answer"):
        fleet.view(REF) if call == "view" else list(fleet.all())


@pytest.mark.parametrize(
    ("status", "reason", "message", "code"),
    [
        (403, "quotaExceeded", "Quota 'NVIDIA_L4_GPUS' exceeded. Limit: 1.0 in region us-central1.", "QUOTA_EXCEEDED"),
        (403, "forbidden", "Required 'compute.instances.create' permission", "FORBIDDEN"),
        (400, "resourceNotReady", "The resource 'workers' is not ready", "RESOURCE_NOT_READY"),
        (400, "invalid", "Invalid value for field 'resource.name'", "INVALID_FIELD_VALUE"),
        (409, "alreadyExists", "The resource 'x' already exists", "REFUSED"),
    ],
)
def test_a_refusal_of_the_call_is_told_by_its_kind(
    fleet: GoogleFleet, monkeypatch: pytest.MonkeyPatch, status: int, reason: str, message: str, code: str
) -> None:
    answer = requests.Response()
    answer.status_code, answer.request = status, requests.Request("POST", "https://compute.googleapis.com/x").prepare()
    errors = [{"reason": reason, "domain": "usageLimits", "message": message}]
    answer._content = json.dumps({"error": {"code": status, "message": message, "errors": errors}}).encode()

    def refuse(*_: object, **__: object) -> None:
        raise exceptions.from_http_response(answer)

    monkeypatch.setattr(fleet._groups, "create_instances_unary", refuse)

    with pytest.raises(PermanentError, match="refused the call") as caught:
        fleet.create(REF)
    assert caught.value.code == code


def test_nobody_answers() -> None:
    fleet = GoogleFleet("local", "http://127.0.0.1:9")

    with pytest.raises(TemporaryError):
        fleet.create(REF)


def test_the_client_is_imported_by_the_call_that_needs_it() -> None:
    import subprocess
    import sys

    program = "import sys, zeroidle.gcp.fleet as f; f.GoogleFleet('p'); print('google.cloud.compute_v1' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)

    assert done.stdout.strip() == "False"
