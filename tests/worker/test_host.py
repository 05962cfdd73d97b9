"""What a VM knows of itself, told by a metadata server of the local cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from localcloud.cloud import CloudConfig, LocalCloud, running
from localcloud.compute.machine import notice
from tests.localcloud.compute.conftest import Compute, deployment, template
from tests.localcloud.compute.test_machines import TELLS, metadata_host
from worker.host import CLUSTER, PROVISIONING, Metadata, Vm, identify
from zeroidle.contracts.machines import Provisioning, VmRef
from zeroidle.core.machines import VmState, VmView
from zeroidle.errors import PermanentError, TemporaryError

REF = VmRef(name="one", cluster="1xl4", region="us-central1", provisioning=Provisioning.SPOT)


class Fleet:
    """`zeroidle.ports.Fleet`, of which a VM uses one call."""

    def __init__(self) -> None:
        self.deleted: list[VmRef] = []

    def delete(self, ref: VmRef) -> None:
        self.deleted.append(ref)

    def create(self, ref: VmRef) -> None: ...

    def view(self, ref: VmRef) -> VmView:
        return VmView(VmState.RUNNING)

    def all(self) -> Any:
        return iter(())


def of_a_vm(claim: Callable[[LocalCloud, Metadata], None]) -> None:
    """Check something of the metadata of a VM that runs."""
    spec = template(TELLS)
    spec.properties["metadata"]["items"] += [
        {"key": CLUSTER, "value": "1xl4"},
        {"key": PROVISIONING, "value": "spot"},
    ]
    with running(CloudConfig(frozen_clock=True), lambda _: deployment(spec)) as cloud:
        compute = Compute(cloud)
        compute.create("one")
        compute.until_running("one")
        claim(cloud, Metadata(metadata_host(compute)))


def test_a_worker_is_its_vm_and_this_boot_of_it() -> None:
    def claim(_: LocalCloud, metadata: Metadata) -> None:
        worker = identify(metadata, "0123456789abcdef")

        assert (worker.vm, worker.zone) == (REF, "us-central1-a")
        assert worker.boot_id == metadata.get("instance/id") + "-01234567"
        with pytest.raises(PermanentError, match="has no instance/attributes/none"):
            metadata.get("instance/attributes/none")

    of_a_vm(claim)


def test_preemption_and_maintenance_are_told_and_silence_is_neither() -> None:
    def claim(cloud: LocalCloud, metadata: Metadata) -> None:
        vm = Vm(metadata, Fleet(), REF)
        (machine,) = cloud.call(lambda: list(cloud.compute.machines.values()))
        assert not vm.is_preempted()
        cloud.call(lambda: machine.metadata.set("instance/maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE"))
        assert vm.is_preempted()
        cloud.call(lambda: machine.metadata.set("instance/maintenance-event", "NONE"))
        cloud.call(notice(machine))
        assert vm.is_preempted()

    of_a_vm(claim)
    nobody = Metadata("127.0.0.1:9")
    assert not Vm(nobody, Fleet(), REF).is_preempted()
    with pytest.raises(TemporaryError, match="does not answer"):
        nobody.get("instance/name")


def test_it_is_deleted_through_its_group() -> None:
    fleet = Fleet()
    Vm(Metadata("127.0.0.1:9"), fleet, REF).delete()

    assert fleet.deleted == [REF]
