"""How is Compute Engine called? Its REST API, which is all that its Python client speaks.

https://cloud.google.com/compute/docs/reference/rest/v1
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from localcloud.compute import operations, views
from localcloud.compute.errors import ComputeError, invalid, not_found
from localcloud.compute.groups import Group, Managed
from localcloud.compute.machine import Status
from localcloud.compute.operations import Operation
from localcloud.compute.state import Compute
from localcloud.gateway import read_body

PREFIX = "/compute/v1/projects/{project}"
MAX_BODY_BYTES = 2**20
PAGE = 500
_VERBS = frozenset(["cancel", "createInstances", "deleteInstances", "listErrors", "listManagedInstances", "resize"])
_VERBS |= {"simulateMaintenanceEvent", "stop", "wait"}
# As the discovery document calls them.
_COLLECTIONS = {
    "instanceGroupManagers": "regionInstanceGroupManagers",
    "resizeRequests": "regionInstanceGroupManagerResizeRequests",
}
_FILTER = re.compile(r"\s*\(?\s*([A-Za-z.]+)(?:\.([-\w]+))?\s*(=|eq|!=|ne|:)\s*\"?([^\")]*)\"?\s*\)?\s*")

Endpoint = Callable[[Request], Awaitable[dict[str, Any]]]


def routes(compute: Compute) -> list[BaseRoute]:
    """All methods that are covered."""
    api = _Api(compute)
    groups = "/regions/{region}/instanceGroupManagers"
    group, requests = groups + "/{group}", groups + "/{group}/resizeRequests"
    templates, instances = "/global/instanceTemplates", "/zones/{zone}/instances"
    instance = instances + "/{instance}"
    table: list[tuple[str, str, Endpoint]] = [
        ("GET", templates, api.list_templates),
        ("POST", templates, api.insert_template),
        ("GET", templates + "/{template}", api.get_template),
        ("DELETE", templates + "/{template}", api.delete_template),
        ("GET", groups, api.list_groups),
        ("POST", groups, api.insert_group),
        ("GET", group, api.get_group),
        ("DELETE", group, api.delete_group),
        ("POST", group + "/resize", api.resize),
        ("POST", group + "/createInstances", api.create_instances),
        ("POST", group + "/deleteInstances", api.delete_instances),
        ("POST", group + "/listManagedInstances", api.list_managed),
        ("GET", group + "/listErrors", api.list_errors),
        ("GET", requests, api.list_resize_requests),
        ("POST", requests, api.insert_resize_request),
        ("GET", requests + "/{request}", api.get_resize_request),
        ("POST", requests + "/{request}/cancel", api.cancel_resize_request),
        ("DELETE", requests + "/{request}", api.delete_resize_request),
        ("GET", "/aggregated/instances", api.aggregated_instances),
        ("GET", instances, api.list_instances),
        ("POST", instances, api.insert_instance),
        ("GET", instance, api.get_instance),
        ("DELETE", instance, api.delete_instance),
        ("POST", instance + "/stop", api.stop_instance),
        ("POST", instance + "/simulateMaintenanceEvent", api.simulate_maintenance),
    ]
    for scope in ("zones/{zone}", "regions/{region}", "global"):
        table += [
            ("GET", f"/{scope}/operations", api.list_operations),
            ("GET", f"/{scope}/operations/{{operation}}", api.get_operation),
            ("POST", f"/{scope}/operations/{{operation}}/wait", api.wait_operation),
        ]
    return [
        Route(PREFIX + path, _answered(endpoint), methods=[method], name=_call_name(method, path))
        for method, path, endpoint in table
    ]


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


def _answered(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return _json(await endpoint(request))
        except ComputeError as refusal:
            return _json(refusal.body(), refusal.status)

    return answer


class _Api:
    """One method a method of the API."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._base = views.base_of(compute)

    # Templates

    async def list_templates(self, request: Request) -> dict[str, Any]:
        found = [views.template(self._compute, each) for _, each in sorted(self._compute.templates.items())]
        return self._page(request, "compute#instanceTemplateList", found)

    async def insert_template(self, request: Request) -> dict[str, Any]:
        resource = self._compute.insert_template(await _body(request))
        return self._done("global", "insert", f"global/instanceTemplates/{resource['name']}")

    async def get_template(self, request: Request) -> dict[str, Any]:
        return views.template(self._compute, self._compute.template(request.path_params["template"]))

    async def delete_template(self, request: Request) -> dict[str, Any]:
        name = request.path_params["template"]
        self._compute.delete_template(name)
        return self._done("global", "delete", f"global/instanceTemplates/{name}")

    # Groups

    async def list_groups(self, request: Request) -> dict[str, Any]:
        region = request.path_params["region"]
        found = [each for (where, _), each in sorted(self._compute.groups.items()) if where == region]
        shown = [views.group(self._compute, each) for each in found]
        return self._page(request, "compute#regionInstanceGroupManagerList", shown)

    async def insert_group(self, request: Request) -> dict[str, Any]:
        region = request.path_params["region"]
        resource = await _body(request)
        size = int(resource.pop("targetSize", 0))
        group = self._compute.insert_group(region, resource)
        self._compute.resize(group, size)
        return self._of_group(group, "insert")

    async def get_group(self, request: Request) -> dict[str, Any]:
        return views.group(self._compute, self._group(request))

    async def delete_group(self, request: Request) -> dict[str, Any]:
        group = self._group(request)
        self._compute.delete_group(group)
        return self._of_group(group, "delete")

    async def resize(self, request: Request) -> dict[str, Any]:
        group, text = self._group(request), request.query_params.get("size", "")
        if not text.isdecimal() or int(text) > 1000:
            raise invalid("size", text, "Must be a whole number from 0 to 1000.")
        if (before := self._repeated(request)) is not None:
            return before
        self._compute.resize(group, int(text))
        return self._of_group(group, "resize", request)

    async def create_instances(self, request: Request) -> dict[str, Any]:
        group, body = self._group(request), await _body(request)
        if (before := self._repeated(request)) is not None:
            return before
        self._compute.create_in(group, [_name(each.get("name")) for each in _list(body, "instances")])
        return self._of_group(group, "createInstances", request)

    async def delete_instances(self, request: Request) -> dict[str, Any]:
        group, body = self._group(request), await _body(request)
        if (before := self._repeated(request)) is not None:
            return before
        names = [str(each).rpartition("/")[2] for each in _list(body, "instances")]
        missing = [name for name in names if name not in group.managed]
        if missing and not body.get("skipInstancesOnValidationError"):
            raise ComputeError(400, f"Instance '{missing[0]:.80}' is not managed by '{group.name}'")
        self._compute.remove_from(group, names)
        return self._of_group(group, "deleteInstances", request)

    async def list_managed(self, request: Request) -> dict[str, Any]:
        group = self._group(request)
        shown = [views.managed(self._compute, group, each) for each in group.managed.values()]
        page = self._page(request, "", shown)
        return {"managedInstances": page.pop("items", []), **{k: v for k, v in page.items() if k == "nextPageToken"}}

    async def list_errors(self, request: Request) -> dict[str, Any]:
        page = self._page(request, "", views.errors(self._compute, self._group(request)))
        return {name: page[name] for name in ("items", "nextPageToken") if name in page}

    # Resize requests: https://cloud.google.com/compute/docs/instance-groups/about-resize-requests-mig

    async def insert_resize_request(self, request: Request) -> dict[str, Any]:
        group, resource = self._group(request), await _body(request)
        name = _name(resource.get("name"))
        if name in group.resize_requests:
            raise ComputeError(409, f"The resource '{name}' already exists")
        given = [_name(each.get("name")) for each in resource.get("instances") or []]
        count = len(given) or int(resource.get("resizeBy", 0))
        if count < 1:
            raise invalid("resource.resizeBy", count, "Must be at least 1.")
        names = given or [f"{group.name}-{name}-{index}" for index in range(count)]
        group.resize_requests[name] = {**resource, "resizeBy": count}
        self._compute.create_in(group, names, resize_request=name)
        return self._of_group(group, "createResizeRequest", request)

    async def get_resize_request(self, request: Request) -> dict[str, Any]:
        group = self._group(request)
        return self._resize_request(group, self._requested(group, request))

    async def list_resize_requests(self, request: Request) -> dict[str, Any]:
        group = self._group(request)
        shown = [self._resize_request(group, name) for name in sorted(group.resize_requests)]
        return self._page(request, "compute#regionInstanceGroupManagerResizeRequestList", shown)

    async def cancel_resize_request(self, request: Request) -> dict[str, Any]:
        group = self._group(request)
        name = self._requested(group, request)
        self._compute.remove_from(group, [each.name for each in _waiting(group, name)])
        group.resize_requests[name]["cancelled"] = True
        return self._of_group(group, "cancelResizeRequest", request)

    async def delete_resize_request(self, request: Request) -> dict[str, Any]:
        group = self._group(request)
        del group.resize_requests[self._requested(group, request)]
        return self._of_group(group, "deleteResizeRequest", request)

    def _resize_request(self, group: Group, name: str) -> dict[str, Any]:
        resource = dict(group.resize_requests[name])
        cancelled = resource.pop("cancelled", False)
        waiting = _waiting(group, name)
        state = "CANCELLED" if cancelled else "ACCEPTED" if waiting else "SUCCEEDED"
        link = f"{self._base}/regions/{group.region}/instanceGroupManagers/{group.name}/resizeRequests/{name}"
        return {
            **resource,
            "kind": "compute#instanceGroupManagerResizeRequest",
            "region": f"{self._base}/regions/{group.region}",
            "state": state,
            "selfLink": link,
        }

    def _requested(self, group: Group, request: Request) -> str:
        name = str(request.path_params["request"])
        if name not in group.resize_requests:
            raise not_found(f"regions/{group.region}/instanceGroupManagers/{group.name}/resizeRequests/{name}")
        return name

    # Instances

    async def aggregated_instances(self, request: Request) -> dict[str, Any]:
        by_zone: dict[str, list[dict[str, Any]]] = {}
        for (zone, _), each in sorted(self._compute.machines.items()):
            shown = views.machine(self._compute, each)
            if _matches(shown, request.query_params.get("filter", "")):
                by_zone.setdefault(f"zones/{zone}", []).append(shown)
        return {
            "kind": "compute#instanceAggregatedList",
            "id": "aggregated",
            "items": {zone: {"instances": found} for zone, found in by_zone.items()},
            "selfLink": f"{self._base}/aggregated/instances",
        }

    async def list_instances(self, request: Request) -> dict[str, Any]:
        zone = request.path_params["zone"]
        found = [each for (where, _), each in sorted(self._compute.machines.items()) if where == zone]
        return self._page(request, "compute#instanceList", [views.machine(self._compute, each) for each in found])

    async def insert_instance(self, request: Request) -> dict[str, Any]:
        zone, body = request.path_params["zone"], await _body(request)
        if (before := self._repeated(request)) is not None:
            return before
        source = request.query_params.get("sourceInstanceTemplate", "").rpartition("/")[2]
        properties = dict(self._compute.template(source).get("properties") or {}) if source else {}
        name = _name(body.get("name"))
        operation = self._begin(f"zones/{zone}", "insert", f"zones/{zone}/instances/{name}", request)
        self._compute.insert_machine(zone, name, {**properties, **body}, operation)
        return operations.shown(operation, self._base)

    async def get_instance(self, request: Request) -> dict[str, Any]:
        return views.machine(self._compute, self._compute.machine(**_of_instance(request)))

    async def delete_instance(self, request: Request) -> dict[str, Any]:
        machine = self._compute.machine(**_of_instance(request))
        operation = self._begin(f"zones/{machine.zone}", "delete", f"zones/{machine.zone}/instances/{machine.name}")
        self._compute.delete_machine(machine, operation)
        return operations.shown(operation, self._base)

    async def stop_instance(self, request: Request) -> dict[str, Any]:
        machine = self._compute.machine(**_of_instance(request))
        operation = self._begin(f"zones/{machine.zone}", "stop", f"zones/{machine.zone}/instances/{machine.name}")
        self._compute.stop_machine(machine, operation)
        return operations.shown(operation, self._base)

    async def simulate_maintenance(self, request: Request) -> dict[str, Any]:
        machine = self._compute.machine(**_of_instance(request))
        if machine.status is not Status.RUNNING:
            raise ComputeError(400, f"Instance '{machine.name}' is not running.", "resourceNotReady")
        machine.metadata.set("instance/maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE")
        self._compute.preempt(machine, 60.0)
        return self._done(
            f"zones/{machine.zone}", "simulateMaintenanceEvent", f"zones/{machine.zone}/instances/{machine.name}"
        )

    # Operations

    async def list_operations(self, request: Request) -> dict[str, Any]:
        found = [operations.shown(each, self._base) for each in self._compute.operations.all(_scope(request))]
        return self._page(request, "compute#operationList", found)

    async def get_operation(self, request: Request) -> dict[str, Any]:
        return operations.shown(self._operation(request), self._base)

    async def wait_operation(self, request: Request) -> dict[str, Any]:
        operation = self._operation(request)
        await self._compute.operations.wait(operation)
        return operations.shown(operation, self._base)

    def _operation(self, request: Request) -> Operation:
        return self._compute.operations.find(_scope(request), request.path_params["operation"])

    # What they share

    def _group(self, request: Request) -> Group:
        return self._compute.group(request.path_params["region"], request.path_params["group"])

    def _begin(self, scope: str, verb: str, target: str, request: Request | None = None) -> Operation:
        request_id = "" if request is None else request.query_params.get("requestId", "")
        return self._compute.operations.begin(scope, verb, target, request_id)

    def _done(self, scope: str, verb: str, target: str, request: Request | None = None) -> dict[str, Any]:
        operation = self._begin(scope, verb, target, request)
        self._compute.operations.end(operation)
        return operations.shown(operation, self._base)

    def _of_group(self, group: Group, verb: str, request: Request | None = None) -> dict[str, Any]:
        target = f"regions/{group.region}/instanceGroupManagers/{group.name}"
        return self._done(f"regions/{group.region}", verb, target, request)

    def _repeated(self, request: Request) -> dict[str, Any] | None:
        before = self._compute.operations.requested(request.query_params.get("requestId", ""))
        return None if before is None else operations.shown(before, self._base)

    def _page(self, request: Request, kind: str, found: list[dict[str, Any]]) -> dict[str, Any]:
        query = request.query_params
        found = [each for each in found if _matches(each, query.get("filter", ""))]
        size = min(PAGE, int(query["maxResults"])) if query.get("maxResults", "").isdecimal() else PAGE
        start = int(query["pageToken"]) if query.get("pageToken", "").isdecimal() else 0
        page: dict[str, Any] = {"kind": kind, "id": request.url.path, "items": found[start : start + size]}
        if start + size < len(found):
            page["nextPageToken"] = str(start + size)
        return page


def _waiting(group: Group, resize_request: str) -> list[Managed]:
    return [each for each in group.managed.values() if each.resize_request == resize_request and each.machine is None]


def _scope(request: Request) -> str:
    parameters = request.path_params
    if "zone" in parameters:
        return f"zones/{parameters['zone']}"
    return f"regions/{parameters['region']}" if "region" in parameters else "global"


def _of_instance(request: Request) -> dict[str, str]:
    return {"zone": request.path_params["zone"], "name": request.path_params["instance"]}


def _matches(resource: dict[str, Any], text: str) -> bool:
    """Filters of one comparison, and several joined by AND: https://cloud.google.com/compute/docs/reference/rest/v1"""
    for part in filter(None, re.split(r"\s+AND\s+", text)):
        found = _FILTER.fullmatch(part)
        if found is None:
            raise invalid("filter", text, "Invalid list filter expression.")
        first, second, operator, wanted = found.groups()
        path = [*first.split("."), *([second] if second else [])]
        if not _compares(resource, path, operator, wanted):
            return False
    return True


def _compares(resource: dict[str, Any], path: Iterable[str], operator: str, wanted: str) -> bool:
    value: Any = resource
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if operator == ":":
        return value is not None and (wanted == "*" or wanted in str(value))
    same = re.fullmatch(wanted, str(value)) is not None if operator in ("eq", "ne") else str(value) == wanted
    return same if operator in ("=", "eq") else not same


def _list(body: dict[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list) or not value:
        raise invalid(name, value, "Must be a list with at least one element.")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", value):
        raise invalid("name", value, "Must be a match of regex '[a-z]([-a-z0-9]{0,61}[a-z0-9])?'")
    return value


async def _body(request: Request) -> dict[str, Any]:
    try:
        data = await read_body(request, MAX_BODY_BYTES)
        return msgspec.json.decode(data or b"{}", type=dict[str, Any])
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise ComputeError(400, f"Parse Error: {error!s:.300}", "parseError") from error


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json; charset=UTF-8")
