"""How is Compute Engine called? Its REST API, which is all that its Python client speaks.

https://cloud.google.com/compute/docs/reference/rest/v1
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from localcloud.compute import shapes, views
from localcloud.compute.api_groups import Groups
from localcloud.compute.api_instances import Instances
from localcloud.compute.calls import Calls, Endpoint, answered, body_of
from localcloud.compute.errors import ComputeError
from localcloud.compute.operations import Operation
from localcloud.compute.state import Compute

PREFIX = "/compute/v1/projects/{project}"
_VERBS = frozenset(["cancel", "createInstances", "deleteInstances", "listErrors", "listManagedInstances", "resize"])
_VERBS |= {"abandonInstances", "simulateMaintenanceEvent", "start", "stop", "wait"}
# As the discovery document calls them.
_COLLECTIONS = {
    "instanceGroupManagers": "regionInstanceGroupManagers",
    "resizeRequests": "regionInstanceGroupManagerResizeRequests",
}
_ANY = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def routes(compute: Compute) -> list[BaseRoute]:
    """All methods that are covered, and an answer for those that are not."""
    covered = [
        Route(PREFIX + path, answered(endpoint), methods=[method], name=_call_name(method, path))
        for method, path, endpoint in [*_of_groups(Groups(compute)), *_of_others(compute)]
    ]
    rest = Route("/compute/{path:path}", answered(_not_covered), methods=_ANY, name="compute.methods.uncovered")
    return [*covered, rest]


def _of_groups(api: Groups) -> list[tuple[str, str, Endpoint]]:
    groups = "/regions/{region}/instanceGroupManagers"
    group, requests = groups + "/{group}", groups + "/{group}/resizeRequests"
    return [
        ("GET", groups, api.list_groups),
        ("POST", groups, api.insert_group),
        ("GET", group, api.get_group),
        ("DELETE", group, api.delete_group),
        ("POST", group + "/resize", api.resize),
        ("POST", group + "/createInstances", api.create_instances),
        ("POST", group + "/deleteInstances", api.delete_instances),
        ("POST", group + "/abandonInstances", api.abandon_instances),
        ("POST", group + "/listManagedInstances", api.list_managed),
        ("GET", group + "/listErrors", api.list_errors),
        ("GET", requests, api.list_resize_requests),
        ("POST", requests, api.insert_resize_request),
        ("GET", requests + "/{request}", api.get_resize_request),
        ("POST", requests + "/{request}/cancel", api.cancel_resize_request),
        ("DELETE", requests + "/{request}", api.delete_resize_request),
    ]


def _of_others(compute: Compute) -> list[tuple[str, str, Endpoint]]:
    api, templates, operations = Instances(compute), _Templates(compute), _Operations(compute)
    all_templates, instances = "/global/instanceTemplates", "/zones/{zone}/instances"
    template, instance = all_templates + "/{template}", instances + "/{instance}"
    table: list[tuple[str, str, Endpoint]] = [
        ("GET", all_templates, templates.list_templates),
        ("POST", all_templates, templates.insert_template),
        ("GET", template, templates.get_template),
        ("DELETE", template, templates.delete_template),
        ("GET", "/aggregated/instances", api.aggregated_instances),
        ("GET", instances, api.list_instances),
        ("POST", instances, api.insert_instance),
        ("GET", instance, api.get_instance),
        ("DELETE", instance, api.delete_instance),
        ("POST", instance + "/stop", api.stop_instance),
        ("POST", instance + "/start", api.start_instance),
        ("POST", instance + "/simulateMaintenanceEvent", api.simulate_maintenance),
    ]
    for scope in ("zones/{zone}", "regions/{region}", "global"):
        table += [
            ("GET", f"/{scope}/operations", operations.list_operations),
            ("GET", f"/{scope}/operations/{{operation}}", operations.get_operation),
            ("POST", f"/{scope}/operations/{{operation}}/wait", operations.wait_operation),
        ]
    return table


def _call_name(method: str, path: str) -> str:
    """As the discovery document has it: `compute.regionInstanceGroupManagers.createInstances`."""
    *above, last = path.strip("/").split("/")
    if last.startswith("{"):
        collection, verb = above[-1], "delete" if method == "DELETE" else "get"
    elif last in _VERBS:
        collection, verb = above[-2], last
    else:
        collection, verb = last, "aggregatedList" if above == ["aggregated"] else _of_collection(method)
    if collection == "operations":
        return f"compute.{above[0].removesuffix('s')}Operations.{verb}"
    return f"compute.{_COLLECTIONS.get(collection, collection)}.{verb}"


def _of_collection(method: str) -> str:
    return "insert" if method == "POST" else "list"


async def _not_covered(request: Request) -> dict[str, Any]:
    what = f"{request.method} {request.url.path}"
    message = f"{what:.300} is not covered by this local Compute Engine. What is: docs/local-cloud.md, Compute Engine."
    raise ComputeError(501, message)


class _Templates(Calls):
    """instanceTemplates."""

    async def list_templates(self, request: Request) -> dict[str, Any]:
        found = [views.template(self._compute, each) for _, each in sorted(self._compute.templates.items())]
        return self._page(request, "compute#instanceTemplateList", found)

    async def insert_template(self, request: Request) -> dict[str, Any]:
        resource = await body_of(request)
        name = shapes.read(resource, shapes.Template).name
        if (before := self._repeated(request)) is not None:
            return before
        self._compute.insert_template(resource)
        return self._done(request, "global", "insert", f"global/instanceTemplates/{name}")

    async def get_template(self, request: Request) -> dict[str, Any]:
        return views.template(self._compute, self._compute.template(request.path_params["template"]))

    async def delete_template(self, request: Request) -> dict[str, Any]:
        if (before := self._repeated(request)) is not None:
            return before
        name = request.path_params["template"]
        self._compute.delete_template(name)
        return self._done(request, "global", "delete", f"global/instanceTemplates/{name}")


class _Operations(Calls):
    """zoneOperations, regionOperations, globalOperations."""

    async def list_operations(self, request: Request) -> dict[str, Any]:
        found = [self._shown(each) for each in self._compute.operations.all(_scope(request))]
        return self._page(request, "compute#operationList", found)

    async def get_operation(self, request: Request) -> dict[str, Any]:
        return self._shown(self._operation(request))

    async def wait_operation(self, request: Request) -> dict[str, Any]:
        operation = self._operation(request)
        await self._compute.operations.wait(operation)
        return self._shown(operation)

    def _operation(self, request: Request) -> Operation:
        return self._compute.operations.find(_scope(request), request.path_params["operation"])


def _scope(request: Request) -> str:
    parameters = request.path_params
    if "zone" in parameters:
        return f"zones/{parameters['zone']}"
    return f"regions/{parameters['region']}" if "region" in parameters else "global"
