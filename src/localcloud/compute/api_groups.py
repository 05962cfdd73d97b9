"""How are regional managed instance groups called, and their resize requests?

https://cloud.google.com/compute/docs/reference/rest/v1/regionInstanceGroupManagers
https://cloud.google.com/compute/docs/instance-groups/about-resize-requests-mig
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from localcloud.compute import shapes, views
from localcloud.compute.calls import Calls, body_of
from localcloud.compute.errors import ComputeError, invalid, not_found
from localcloud.compute.groups import Group


class Groups(Calls):
    """regionInstanceGroupManagers."""

    async def list_groups(self, request: Request) -> dict[str, Any]:
        region = request.path_params["region"]
        found = [each for (where, _), each in sorted(self._compute.groups.items()) if where == region]
        shown = [views.group(self._compute, each) for each in found]
        return self._page(request, "compute#regionInstanceGroupManagerList", shown)

    async def insert_group(self, request: Request) -> dict[str, Any]:
        resource = await body_of(request)
        size = shapes.read(resource, shapes.Group).targetSize
        if (before := self._repeated(request)) is not None:
            return before
        resource.pop("targetSize", None)
        group = self._compute.insert_group(request.path_params["region"], resource)
        self._compute.resize(group, size)
        return self._of(group, "insert", request)

    async def get_group(self, request: Request) -> dict[str, Any]:
        return views.group(self._compute, self._group(request))

    async def delete_group(self, request: Request) -> dict[str, Any]:
        if (before := self._repeated(request)) is not None:
            return before
        group = self._group(request)
        self._compute.delete_group(group)
        return self._of(group, "delete", request)

    async def resize(self, request: Request) -> dict[str, Any]:
        group, text = self._group(request), request.query_params.get("size", "")
        if not text.isdecimal() or int(text) > 1000:
            raise invalid("size", text, "Must be a whole number from 0 to 1000.")
        if (before := self._repeated(request)) is not None:
            return before
        self._compute.resize(group, int(text))
        return self._of(group, "resize", request)

    async def create_instances(self, request: Request) -> dict[str, Any]:
        group, asked = self._group(request), shapes.read(await body_of(request), shapes.ToCreate)
        if (before := self._repeated(request)) is not None:
            return before
        self._compute.create_in(group, [each.name for each in asked.instances])
        return self._of(group, "createInstances", request)

    async def delete_instances(self, request: Request) -> dict[str, Any]:
        group, asked = self._group(request), shapes.read(await body_of(request), shapes.ToRemove)
        if (before := self._repeated(request)) is not None:
            return before
        self._compute.remove_from(group, _managed_by(group, asked))
        return self._of(group, "deleteInstances", request)

    async def abandon_instances(self, request: Request) -> dict[str, Any]:
        group, asked = self._group(request), shapes.read(await body_of(request), shapes.ToRemove)
        if (before := self._repeated(request)) is not None:
            return before
        self._compute.abandon(group, _managed_by(group, asked))
        return self._of(group, "abandonInstances", request)

    async def list_managed(self, request: Request) -> dict[str, Any]:
        group = self._group(request)
        shown = [views.managed(self._compute, group, each) for each in group.managed.values()]
        page = self._page(request, "", shown)
        return {"managedInstances": page.pop("items", []), **{k: v for k, v in page.items() if k == "nextPageToken"}}

    async def list_errors(self, request: Request) -> dict[str, Any]:
        page = self._page(request, "", views.errors(self._compute, self._group(request)))
        return {name: page[name] for name in ("items", "nextPageToken") if name in page}

    # Resize requests

    async def insert_resize_request(self, request: Request) -> dict[str, Any]:
        group, resource = self._group(request), await body_of(request)
        asked = shapes.read(resource, shapes.ResizeRequest)
        if (before := self._repeated(request)) is not None:
            return before
        if asked.name in group.resize_requests:
            raise ComputeError(409, f"The resource '{asked.name}' already exists")
        count = len(asked.instances) or asked.resizeBy
        if count < 1:
            raise invalid("resource.resizeBy", count, "Must be at least 1.")
        given = [each.name for each in asked.instances]
        names = given or [f"{group.name[:40]}-{asked.name[:15]}-{index}" for index in range(count)]
        self._compute.create_in(group, names, resize_request=asked.name)
        group.resize_requests[asked.name] = {**resource, "resizeBy": count}
        return self._of(group, "createResizeRequest", request)

    async def get_resize_request(self, request: Request) -> dict[str, Any]:
        group = self._group(request)
        return views.resize_request(self._compute, group, self._requested(group, request))

    async def list_resize_requests(self, request: Request) -> dict[str, Any]:
        group = self._group(request)
        shown = [views.resize_request(self._compute, group, name) for name in sorted(group.resize_requests)]
        return self._page(request, "compute#regionInstanceGroupManagerResizeRequestList", shown)

    async def cancel_resize_request(self, request: Request) -> dict[str, Any]:
        group = self._group(request)
        name = self._requested(group, request)
        self._compute.remove_from(group, [each.name for each in group.waiting_for(name)])
        group.resize_requests[name]["cancelled"] = True
        return self._of(group, "cancelResizeRequest", request)

    async def delete_resize_request(self, request: Request) -> dict[str, Any]:
        group = self._group(request)
        del group.resize_requests[self._requested(group, request)]
        return self._of(group, "deleteResizeRequest", request)

    def _group(self, request: Request) -> Group:
        return self._compute.group(request.path_params["region"], request.path_params["group"])

    def _requested(self, group: Group, request: Request) -> str:
        name = str(request.path_params["request"])
        if name not in group.resize_requests:
            raise not_found(f"regions/{group.region}/instanceGroupManagers/{group.name}/resizeRequests/{name}")
        return name

    def _of(self, group: Group, verb: str, request: Request) -> dict[str, Any]:
        target = f"regions/{group.region}/instanceGroupManagers/{group.name}"
        return self._done(request, f"regions/{group.region}", verb, target)


def _managed_by(group: Group, asked: shapes.ToRemove) -> list[str]:
    """Names of the VMs that are meant. Raises ComputeError 400 for one that is not of the group."""
    names = [each.rpartition("/")[2] for each in asked.instances]
    missing = [name for name in names if name not in group.managed]
    if missing and not asked.skipInstancesOnValidationError:
        raise ComputeError(400, f"Instance '{missing[0]:.80}' is not managed by '{group.name}'")
    return [name for name in names if name in group.managed]
