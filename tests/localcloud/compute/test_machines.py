"""What does a VM know of itself, and how does it end?"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from google.cloud import compute_v1

from localcloud.cloud import CloudConfig, running
from localcloud.faults import Fault
from tests.localcloud.compute.conftest import GROUP, PROJECT, Compute, deployment, template
from tests.localcloud.waiting import wait_until

TELLS = """#!/bin/sh
echo "metadata $GCE_METADATA_HOST"
trap 'echo ended; exit 0' TERM
while true; do sleep 0.05; done
"""


def metadata_host(compute: Compute) -> str:
    """Where a VM's metadata server is, as its program was told."""
    path = compute.cloud.context.store.directory / "logs" / "compute.jsonl"

    def told() -> list[str]:
        written = [json.loads(line)["line"] for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in written if line.startswith("metadata ")]

    wait_until(told, "the script")
    return told()[-1].split()[1]


def metadata(host: str, path: str) -> str:
    request = urllib.request.Request(f"http://{host}/computeMetadata/v1/{path}", headers={"Metadata-Flavor": "Google"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return str(answer.read().decode())


def test_a_vm_has_a_metadata_server_of_its_own() -> None:
    with running(CloudConfig(frozen_clock=True), lambda _: deployment(template(TELLS))) as cloud:
        compute = Compute(cloud)
        compute.create("one")
        compute.until_running("one")
        host = metadata_host(compute)

        assert metadata(host, "instance/name") == "one"
        assert metadata(host, "instance/zone").endswith("/zones/us-central1-a")
        assert metadata(host, "instance/attributes/pool") == "gpu"
        assert metadata(host, "instance/preempted") == "FALSE"
        assert json.loads(metadata(host, "instance/service-accounts/default/token"))["access_token"]


def test_a_preempted_vm_is_told_and_then_deleted() -> None:
    spec = template(TELLS, scheduling={"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE"})
    with running(CloudConfig(frozen_clock=True), lambda _: deployment(spec)) as cloud:
        compute = Compute(cloud)
        compute.create("one")
        compute.until_running("one")
        host = metadata_host(compute)

        cloud.faults.add(Fault("compute.machines.run", "*/one", action="preempt", delay_s=30))
        cloud.clock.advance(seconds=1)

        assert metadata(host, "instance/preempted") == "TRUE"
        assert "one" in compute.managed()
        compute.until(lambda: compute.managed() == {}, "the end of the VM", seconds=5)


def test_a_vm_whose_host_is_lost_is_gone_without_a_word(compute: Compute) -> None:
    compute.create("one")
    compute.until_running("one")

    compute.cloud.faults.add(Fault("compute.machines.run", "*/one", action="kill"))

    compute.until(lambda: compute.managed() == {}, "the end of the VM")


def test_a_vm_ends_by_itself_when_its_time_is_over() -> None:
    scheduling = {"maxRunDuration": {"seconds": "3600"}, "instanceTerminationAction": "DELETE"}
    with running(CloudConfig(frozen_clock=True), lambda _: deployment(template(scheduling=scheduling))) as cloud:
        compute = Compute(cloud)
        compute.create("one")
        compute.until_running("one")

        cloud.clock.advance(minutes=59)
        assert "one" in compute.managed()
        cloud.clock.advance(minutes=2)

        compute.until(lambda: compute.managed() == {}, "the end of the VM")


def test_maintenance_is_announced(compute: Compute) -> None:
    compute.create("one")
    compute.until_running("one")

    compute.instances.simulate_maintenance_event_unary(project=PROJECT, zone="us-central1-a", instance="one")

    machine = compute.cloud.call(lambda: compute.cloud.compute.machine("us-central1-a", "one"))
    assert machine.metadata.find("instance/maintenance-event") == "TERMINATE_ON_HOST_MAINTENANCE"


def insert_alone(compute: Compute) -> compute_v1.Operation:
    """A VM that no group knows."""
    request = compute_v1.InsertInstanceRequest(
        project=PROJECT,
        zone="us-central1-b",
        source_instance_template="global/instanceTemplates/worker",
        instance_resource={"name": "alone"},
    )
    return compute.instances.insert_unary(request)


def test_a_vm_can_be_made_without_a_group(compute: Compute) -> None:
    operation = insert_alone(compute)
    zone_operations = compute.client(compute_v1.ZoneOperationsClient)
    named = {"project": PROJECT, "zone": "us-central1-b", "operation": operation.name}
    done = compute_v1.Operation.Status.DONE
    compute.until(lambda: zone_operations.get(named).status is done, "the VM")

    found = list(compute.instances.list(project=PROJECT, zone="us-central1-b"))

    assert [(each.name, each.status) for each in found] == [("alone", "RUNNING")]
    compute.instances.delete_unary(project=PROJECT, zone="us-central1-b", instance="alone")
    wait_until(lambda: not list(compute.instances.list(project=PROJECT, zone="us-central1-b")), "its end")


def test_a_vm_without_room_fails_its_operation(compute: Compute) -> None:
    compute.cloud.faults.add(Fault("compute.machines.provision", "us-central1-b/*", reason="QUOTA_EXCEEDED"))

    operation = insert_alone(compute)

    assert operation.error.errors[0].code == "QUOTA_EXCEEDED"
    assert not list(compute.instances.list(project=PROJECT, zone="us-central1-b"))


def test_all_vms_are_listed_by_label(compute: Compute) -> None:
    compute.create("one")
    compute.until_running("one")
    request = compute_v1.AggregatedListInstancesRequest(project=PROJECT, filter="labels.pool:*")

    found = [each.name for _, scoped in compute.instances.aggregated_list(request) for each in scoped.instances]

    assert found == ["one"]
    request.filter = "labels.other=x"
    assert not [each for _, scoped in compute.instances.aggregated_list(request) for each in scoped.instances]


def test_templates_and_groups_survive_and_vms_do_not(tmp_path: Path) -> None:
    config = CloudConfig(frozen_clock=True, state=tmp_path)
    with running(config, lambda _: deployment(template())) as cloud:
        compute = Compute(cloud)
        compute.create("one")
        compute.until_running("one")

    with running(config) as cloud:
        compute = Compute(cloud)

        assert compute.groups.get(GROUP).target_size == 0
        assert compute.managed() == {}
