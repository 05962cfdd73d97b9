"""A local cloud with one instance template, a group in a region, and Google's client for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1

from localcloud.cloud import CloudConfig, Deployment, LocalCloud, running
from localcloud.compute.state import ComputeSpec, GroupSpec, TemplateSpec
from tests.localcloud.waiting import wait_until

PROJECT, REGION, ZONES = "local", "us-central1", ("us-central1-a", "us-central1-b")
SCRIPT = "#!/bin/sh\ntrap 'echo ended; exit 0' TERM\necho started\nwhile true; do sleep 0.05; done\n"


@dataclass
class Compute:
    """One cloud and the clients of its Compute Engine."""

    cloud: LocalCloud

    def client(self, kind: Any) -> Any:
        """A client of that class."""
        return kind(credentials=AnonymousCredentials(), client_options={"api_endpoint": self.cloud.http_url})

    @property
    def groups(self) -> compute_v1.RegionInstanceGroupManagersClient:
        return self.client(compute_v1.RegionInstanceGroupManagersClient)

    @property
    def instances(self) -> compute_v1.InstancesClient:
        return self.client(compute_v1.InstancesClient)

    def create(self, *names: str, request_id: str = "") -> Any:
        """Ask the group for VMs."""
        request = compute_v1.CreateInstancesRegionInstanceGroupManagerRequest(
            **GROUP,
            region_instance_group_managers_create_instances_request_resource={
                "instances": [{"name": name} for name in names]
            },
            **({"request_id": request_id} if request_id else {}),
        )
        return self.groups.create_instances_unary(request)

    def delete(self, *names: str) -> Any:
        """Have the group delete VMs."""
        found = {each.instance.rpartition("/")[2]: each.instance for each in self.managed().values()}
        request = compute_v1.DeleteInstancesRegionInstanceGroupManagerRequest(
            **GROUP,
            region_instance_group_managers_delete_instances_request_resource={
                "instances": ["zones/" + found[name].partition("/zones/")[2] for name in names]
            },
        )
        return self.groups.delete_instances_unary(request)

    def managed(self) -> dict[str, compute_v1.ManagedInstance]:
        """The VMs of the group by name."""
        return {each.instance.rpartition("/")[2]: each for each in self.groups.list_managed_instances(GROUP)}

    def until(self, condition: Callable[[], bool], what: str, *, seconds: float = 1.0) -> None:
        """Let virtual time pass until it holds."""

        def holds() -> bool:
            if condition():
                return True
            self.cloud.clock.advance(seconds=seconds)
            return False

        wait_until(holds, what)

    def until_running(self, name: str) -> compute_v1.ManagedInstance:
        """The VM once its program has been started."""
        self.until(lambda: self.managed()[name].current_action == "NONE", f"VM {name}")
        return self.managed()[name]


GROUP = {"project": PROJECT, "region": REGION, "instance_group_manager": "workers"}


def template(script: str = SCRIPT, **properties: Any) -> TemplateSpec:
    """The template of the group."""
    items = [{"key": "startup-script", "value": script}, {"key": "pool", "value": "gpu"}]
    return TemplateSpec(
        "worker",
        {
            "machineType": "g2-standard-12",
            "guestAccelerators": [{"acceleratorType": "nvidia-l4", "acceleratorCount": 1}],
            "labels": {"pool": "gpu"},
            "metadata": {"items": items},
            **properties,
        },
    )


def deployment(spec: TemplateSpec) -> Deployment:
    """That template and its group."""
    return Deployment(compute=ComputeSpec((spec,), (GroupSpec("workers", REGION, "worker", ZONES),)))


@pytest.fixture
def compute() -> Iterator[Compute]:
    with running(CloudConfig(frozen_clock=True), lambda _: deployment(template())) as cloud:
        yield Compute(cloud)
