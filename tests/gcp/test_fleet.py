"""VMs by name on a local Compute Engine, through the adapter that the handlers use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.compute.state import ComputeSpec, GroupSpec, TemplateSpec
from localcloud.faults import Fault
from tests.localcloud.waiting import wait_until
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


@pytest.mark.parametrize("status", [429, 503])
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
