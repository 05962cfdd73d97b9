"""How are VMs called? https://cloud.google.com/compute/docs/reference/rest/v1/instances"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from localcloud.compute import listing, shapes, views
from localcloud.compute.calls import Calls, body_of
from localcloud.compute.errors import ComputeError
from localcloud.compute.machine import Machine, Status

MAINTENANCE_NOTICE_S = 60.0


class Instances(Calls):
    """instances."""

    async def aggregated_instances(self, request: Request) -> dict[str, Any]:
        machines = [each for _, each in sorted(self._compute.machines.items())]
        found, token = listing.page(request.query_params, [views.machine(self._compute, each) for each in machines])
        by_zone: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for each in found:
            zone = each["zone"].rpartition("/")[2]
            by_zone.setdefault(f"zones/{zone}", {"instances": []})["instances"].append(each)
        return {
            "kind": "compute#instanceAggregatedList",
            "id": request.url.path,
            "items": by_zone,
            "selfLink": f"{self._base}/aggregated/instances",
            **({"nextPageToken": token} if token else {}),
        }

    async def list_instances(self, request: Request) -> dict[str, Any]:
        zone = request.path_params["zone"]
        found = [each for (where, _), each in sorted(self._compute.machines.items()) if where == zone]
        return self._page(request, "compute#instanceList", [views.machine(self._compute, each) for each in found])

    async def insert_instance(self, request: Request) -> dict[str, Any]:
        zone, body = request.path_params["zone"], await body_of(request)
        name = shapes.read(body, shapes.Instance).name
        if (before := self._repeated(request)) is not None:
            return before
        source = request.query_params.get("sourceInstanceTemplate", "").rpartition("/")[2]
        properties = dict(self._compute.template(source).get("properties") or {}) if source else {}
        self._compute.require_no_machine(zone, name)
        operation = self._begin(request, f"zones/{zone}", "insert", f"zones/{zone}/instances/{name}")
        self._compute.insert_machine(zone, name, {**properties, **body}, operation)
        return self._shown(operation)

    async def get_instance(self, request: Request) -> dict[str, Any]:
        return views.machine(self._compute, self._machine(request))

    async def delete_instance(self, request: Request) -> dict[str, Any]:
        if (before := self._repeated(request)) is not None:
            return before
        machine = self._machine(request)
        operation = self._begin(request, f"zones/{machine.zone}", "delete", _path(machine))
        self._compute.delete_machine(machine, operation)
        return self._shown(operation)

    async def stop_instance(self, request: Request) -> dict[str, Any]:
        if (before := self._repeated(request)) is not None:
            return before
        machine = self._machine(request)
        operation = self._begin(request, f"zones/{machine.zone}", "stop", _path(machine))
        self._compute.stop_machine(machine, operation)
        return self._shown(operation)

    async def start_instance(self, request: Request) -> dict[str, Any]:
        if (before := self._repeated(request)) is not None:
            return before
        machine = self._machine(request)
        operation = self._begin(request, f"zones/{machine.zone}", "start", _path(machine))
        self._compute.start_machine(machine, operation)
        return self._shown(operation)

    async def simulate_maintenance(self, request: Request) -> dict[str, Any]:
        machine = self._machine(request)
        if machine.status is not Status.RUNNING:
            raise ComputeError(400, f"Instance '{machine.name}' is not running.", "resourceNotReady")
        machine.metadata.set("instance/maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE")
        self._compute.preempt(machine, MAINTENANCE_NOTICE_S)
        return self._done(request, f"zones/{machine.zone}", "simulateMaintenanceEvent", _path(machine))

    def _machine(self, request: Request) -> Machine:
        return self._compute.machine(request.path_params["zone"], request.path_params["instance"])


def _path(machine: Machine) -> str:
    return f"zones/{machine.zone}/instances/{machine.name}"
