"""What does a group do with the VMs it is asked for, as Google's client sees it?"""

from __future__ import annotations

import json
import os

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from localcloud.cloud import CloudConfig, running
from localcloud.faults import Fault
from tests.localcloud.compute.conftest import GROUP, PROJECT, REGION, Compute, deployment, template
from tests.localcloud.waiting import wait_until

STOCKOUT = "ZONE_RESOURCE_POOL_EXHAUSTED"


def lines(compute: Compute) -> list[str]:
    """What the VMs' programs wrote."""
    path = compute.cloud.context.store.directory / "logs" / "compute.jsonl"
    return [json.loads(line)["line"] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_vm_is_made_by_its_name_and_runs_its_script(compute: Compute) -> None:
    operation = compute.create("job-1-a1")
    assert operation.status is compute_v1.Operation.Status.DONE
    assert compute.managed()["job-1-a1"].current_action == "CREATING"

    found = compute.until_running("job-1-a1")

    assert found.instance_status == "RUNNING"
    wait_until(lambda: "started" in lines(compute), "the script")
    instance = compute.instances.get(project=PROJECT, zone="us-central1-a", instance="job-1-a1")
    assert instance.status == "RUNNING"
    assert instance.labels["pool"] == "gpu"
    assert compute.groups.get(GROUP).target_size == 1


def test_a_name_is_made_once(compute: Compute) -> None:
    compute.create("one", request_id="6b2ed2b1-7f8b-4b29-9c10-0b7b6c0b7c11")
    compute.create("one", request_id="6b2ed2b1-7f8b-4b29-9c10-0b7b6c0b7c11")

    assert list(compute.managed()) == ["one"]
    with pytest.raises(exceptions.BadRequest, match="already managed"):
        compute.create("one")


def test_vms_are_spread_over_the_zones(compute: Compute) -> None:
    compute.create("one", "two", "three", "four")
    for name in ("one", "two", "three", "four"):
        compute.until_running(name)

    zones = [each.instance.split("/")[-3] for each in compute.managed().values()]
    assert sorted(zones) == ["us-central1-a"] * 2 + ["us-central1-b"] * 2


def test_a_deleted_vm_is_asked_to_end_and_wanted_no_more(compute: Compute) -> None:
    compute.create("one", "two")
    compute.until_running("one")
    compute.until_running("two")
    wait_until(lambda: lines(compute).count("started") == 2, "the scripts")

    compute.delete("one")

    assert compute.groups.get(GROUP).target_size == 1
    wait_until(lambda: list(compute.managed()) == ["two"], "the end of a VM")
    assert "ended" in lines(compute)


def test_a_vm_that_is_not_there_cannot_be_deleted(compute: Compute) -> None:
    request = compute_v1.DeleteInstancesRegionInstanceGroupManagerRequest(
        **GROUP,
        region_instance_group_managers_delete_instances_request_resource={
            "instances": ["zones/us-central1-a/instances/nobody"]
        },
    )
    with pytest.raises(exceptions.BadRequest, match="not managed"):
        compute.groups.delete_instances_unary(request)
    request.region_instance_group_managers_delete_instances_request_resource.skip_instances_on_validation_error = True

    assert compute.groups.delete_instances_unary(request).status is compute_v1.Operation.Status.DONE


def test_a_stockout_shows_in_the_last_attempt_and_in_the_errors(compute: Compute) -> None:
    compute.cloud.faults.add(Fault("compute.machines.provision", "*/nvidia-l4/*", reason=STOCKOUT, times=None))
    compute.create("one")

    wait_until(lambda: compute.managed()["one"].last_attempt.errors.errors, "the error")

    found = compute.managed()["one"]
    assert found.current_action == "CREATING"
    assert found.last_attempt.errors.errors[0].code == STOCKOUT
    errors = list(compute.groups.list_errors(GROUP))
    assert {error.error.code for error in errors} == {STOCKOUT}
    assert {error.instance_action_details.instance.split("/")[-3] for error in errors} == {
        "us-central1-a",
        "us-central1-b",
    }


def test_a_group_takes_another_zone_where_one_has_no_room(compute: Compute) -> None:
    compute.cloud.faults.add(Fault("compute.machines.provision", "us-central1-a/*", reason=STOCKOUT, times=None))
    compute.create("one")

    assert "/us-central1-b/" in compute.until_running("one").instance


def test_a_group_tries_again_until_there_is_room(compute: Compute) -> None:
    compute.cloud.faults.add(Fault("compute.machines.provision", reason=STOCKOUT, times=2))
    compute.create("one")

    found = compute.until_running("one")

    assert not found.last_attempt.errors.errors


def test_a_stockout_of_an_accelerator_in_a_region_lasts_as_long_as_ordered(compute: Compute) -> None:
    fault = Fault("compute.machines.provision", "us-central1-*/nvidia-l4/*", reason=STOCKOUT, times=None, for_s=600)
    compute.cloud.faults.add(fault)
    compute.create("one")

    start = compute.cloud.clock.time()
    for _ in range(9):
        compute.cloud.clock.advance(minutes=1)
        assert compute.managed()["one"].instance_status == ""
    compute.until_running("one")

    assert 600 <= compute.cloud.clock.time() - start < 700
    assert compute.cloud.faults.standing() == []


def test_a_vm_on_its_way_can_be_given_up(compute: Compute) -> None:
    compute.cloud.faults.add(Fault("compute.machines.provision", reason=STOCKOUT, times=None))
    compute.create("one")
    wait_until(lambda: compute.managed()["one"].last_attempt.errors.errors, "the error")

    compute.delete("one")

    assert compute.managed() == {}
    assert compute.groups.get(GROUP).target_size == 0


def test_resizing_makes_and_deletes_vms(compute: Compute) -> None:
    compute.groups.resize_unary(**GROUP, size=3)
    assert len(compute.managed()) == 3

    compute.groups.resize_unary(**GROUP, size=0)

    compute.until(lambda: compute.managed() == {}, "an empty group")


def test_a_resize_request_waits_for_its_vm(compute: Compute) -> None:
    requests = compute.client(compute_v1.RegionInstanceGroupManagerResizeRequestsClient)
    resource = {"name": "flex", "instances": [{"name": "flex-vm"}]}
    compute.cloud.faults.add(Fault("compute.machines.provision", reason=STOCKOUT, times=2))
    requests.insert_unary(**GROUP, instance_group_manager_resize_request_resource=resource)
    named = {**GROUP, "resize_request": "flex"}
    assert requests.get(named).state == "ACCEPTED"

    compute.until_running("flex-vm")

    assert requests.get(named).state == "SUCCEEDED"
    with pytest.raises(exceptions.Conflict):
        requests.insert_unary(**GROUP, instance_group_manager_resize_request_resource=resource)


def test_what_is_not_there_is_not_found(compute: Compute) -> None:
    with pytest.raises(exceptions.NotFound, match="instanceGroupManagers/others"):
        compute.groups.get({**GROUP, "instance_group_manager": "others"})
    with pytest.raises(exceptions.NotFound):
        compute.instances.get(project=PROJECT, zone="us-central1-a", instance="nobody")


def test_groups_and_templates_can_be_made_over_the_api(compute: Compute) -> None:
    templates = compute.client(compute_v1.InstanceTemplatesClient)
    properties = {"machine_type": "e2-small", "metadata": {"items": [{"key": "k", "value": "v"}]}}
    templates.insert_unary(project=PROJECT, instance_template_resource={"name": "small", "properties": properties})
    compute.groups.insert_unary(
        project=PROJECT,
        region=REGION,
        instance_group_manager_resource={
            "name": "others",
            "instance_template": "global/instanceTemplates/small",
            "target_size": 1,
        },
    )
    named = {**GROUP, "instance_group_manager": "others"}

    assert templates.get(project=PROJECT, instance_template="small").properties.machine_type == "e2-small"
    assert compute.groups.get(named).target_size == 1
    assert [each.name for each in compute.groups.list(project=PROJECT, region=REGION)] == ["others", "workers"]
    with pytest.raises(exceptions.BadRequest, match="in use"):
        templates.delete_unary(project=PROJECT, instance_template="small")
    compute.groups.delete_unary(named)
    templates.delete_unary(project=PROJECT, instance_template="small")


def test_no_process_is_left_when_the_cloud_stops() -> None:
    with running(CloudConfig(frozen_clock=True), lambda _: deployment(template())) as cloud:
        compute = Compute(cloud)
        compute.create("one")
        compute.until_running("one")
        pid = cloud.call(lambda: next(iter(cloud.compute.machines.values())).pid)
        assert pid is not None

    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)
