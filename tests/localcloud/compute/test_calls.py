"""What of a call is wrong is told, and what is not covered is told, too."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from localcloud.faults import Fault
from tests.localcloud.compute.conftest import GROUP, PROJECT, Compute
from tests.localcloud.waiting import wait_until

ZONE = "us-central1-a"


def post(compute: Compute, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    """Status and body of the answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{compute.cloud.http_url}/compute/v1/projects/{PROJECT}/{path}", data, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


TEMPLATES, GROUPS = "global/instanceTemplates", "regions/us-central1/instanceGroupManagers"
INSTANCES, CREATE = f"zones/{ZONE}/instances", f"{GROUPS}/workers/createInstances"
TEMPLATE = "global/instanceTemplates/worker"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (TEMPLATES, {}, "resource"),
        (TEMPLATES, {"name": "Big"}, "resource.name"),
        (TEMPLATES, {"name": "a\n"}, "resource.name"),
        (TEMPLATES, {"name": "t", "properties": "small"}, "resource.properties"),
        (TEMPLATES, {"name": "t", "properties": {"labels": ["gpu"]}}, "resource.properties.labels"),
        (
            TEMPLATES,
            {"name": "t", "properties": {"metadata": {"items": [{"value": "v"}]}}},
            "resource.properties.metadata",
        ),
        (
            TEMPLATES,
            {"name": "t", "properties": {"scheduling": {"maxRunDuration": {"seconds": "soon"}}}},
            "resource.properties.scheduling.maxRunDuration.seconds",
        ),
        (GROUPS, {"name": "g"}, "resource"),
        (GROUPS, {"name": "g", "instanceTemplate": TEMPLATE, "targetSize": "many"}, "resource.targetSize"),
        (GROUPS, {"name": "g", "instanceTemplate": TEMPLATE, "targetSize": -1}, "resource.targetSize"),
        (
            GROUPS,
            {"name": "g", "instanceTemplate": TEMPLATE, "distributionPolicy": {"zones": [ZONE]}},
            "resource.distributionPolicy.zones",
        ),
        (CREATE, {}, "resource"),
        (CREATE, {"instances": []}, "resource.instances"),
        (CREATE, {"instances": ["one"]}, "resource.instances"),
        (CREATE, {"instances": [{"name": "../etc"}]}, "resource.instances"),
        (f"{GROUPS}/workers/deleteInstances", {"instances": "all"}, "resource.instances"),
        (f"{GROUPS}/workers/resizeRequests", {"name": "r", "resizeBy": "x"}, "resource.resizeBy"),
        (f"{GROUPS}/workers/resizeRequests", {"name": "r"}, "resource.resizeBy"),
        (INSTANCES, {"name": ""}, "resource.name"),
        (INSTANCES, {"name": "vm", "guestAccelerators": {"acceleratorType": "l4"}}, "resource.guestAccelerators"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_with_its_field(compute: Compute, path: str, body: Any, field: str) -> None:
    status, answer = post(compute, path, body)

    assert status == 400
    assert f"Invalid value for field '{field}" in answer["error"]["message"]
    assert answer["error"]["errors"][0]["reason"] == "invalid"
    assert compute.managed() == {}


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"null", b'"x"', b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(compute: Compute, body: bytes) -> None:
    status, answer = post(compute, TEMPLATES, body)

    assert (status, answer["error"]["errors"][0]["reason"]) == (400, "parseError")


def test_what_is_not_covered_says_so(compute: Compute) -> None:
    machine_types = compute.client(compute_v1.MachineTypesClient)
    zones = compute.client(compute_v1.ZonesClient)

    for call in (
        lambda: list(machine_types.list(project=PROJECT, zone=ZONE)),
        lambda: zones.get(project=PROJECT, zone=ZONE),
        lambda: compute.instances.set_labels_unary(project=PROJECT, zone=ZONE, instance="one"),
        lambda: compute.groups.patch_unary(**GROUP, instance_group_manager_resource={"target_size": 1}),
        lambda: list(compute.client(compute_v1.InstanceGroupManagersClient).list(project=PROJECT, zone=ZONE)),
    ):
        with pytest.raises(exceptions.MethodNotImplemented, match="not covered by this local Compute Engine"):
            call()


def test_a_vm_that_its_group_lets_go_stays_and_is_no_longer_its(compute: Compute) -> None:
    compute.create("one", "two")
    link = compute.until_running("one").instance
    compute.until_running("two")
    request = compute_v1.AbandonInstancesRegionInstanceGroupManagerRequest(
        **GROUP,
        region_instance_group_managers_abandon_instances_request_resource={
            "instances": ["zones/" + link.partition("/zones/")[2]]
        },
    )

    compute.groups.abandon_instances_unary(request)

    assert list(compute.managed()) == ["two"]
    assert compute.groups.get(GROUP).target_size == 1
    zone = link.split("/")[-3]
    assert compute.instances.get(project=PROJECT, zone=zone, instance="one").status == "RUNNING"
    with pytest.raises(exceptions.BadRequest, match="not managed"):
        compute.groups.abandon_instances_unary(request)
    compute.groups.resize_unary(**GROUP, size=0)
    compute.until(lambda: compute.managed() == {}, "an empty group")
    assert [each.name for each in compute.instances.list(project=PROJECT, zone=zone)] == ["one"]


def test_a_stopped_vm_is_started_again(compute: Compute) -> None:
    compute.create("one")
    zone = compute.until_running("one").instance.split("/")[-3]
    vm = {"project": PROJECT, "zone": zone, "instance": "one"}
    with pytest.raises(exceptions.BadRequest, match="is RUNNING"):
        compute.instances.start_unary(vm)
    before = compute.instances.get(vm)
    compute.instances.stop_unary(vm)
    wait_until(lambda: compute.instances.get(vm).status == "TERMINATED", "the stop")

    compute.instances.start_unary(vm)
    compute.until(lambda: compute.instances.get(vm).status == "RUNNING", "the VM")

    assert compute.instances.get(vm).id == before.id
    assert compute.managed()["one"].instance_status == "RUNNING"
    compute.delete("one")
    compute.until(lambda: compute.managed() == {}, "its end")


def test_the_same_request_again_does_nothing_more(compute: Compute) -> None:
    compute.create("one")
    zone = compute.until_running("one").instance.split("/")[-3]
    request = compute_v1.DeleteInstanceRequest(
        project=PROJECT, zone=zone, instance="one", request_id="6b2ed2b1-7f8b-4b29-9c10-0b7b6c0b7c12"
    )
    first = compute.instances.delete_unary(request)
    compute.until(lambda: compute.managed() == {}, "its end")

    assert compute.instances.delete_unary(request).name == first.name


def test_a_method_that_is_not_covered_has_a_fault_point(compute: Compute) -> None:
    compute.cloud.faults.add(Fault("compute.methods.uncovered", status=503))

    status, _ = post(compute, "global/networks", {"name": "n"})

    assert status == 503
