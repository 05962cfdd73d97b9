"""How are triggers made and looked at? REST v1; what takes a while in the cloud is done when the operation is answered.

https://cloud.google.com/eventarc/docs/reference/rest/v1/projects.locations.triggers
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from localcloud.eventarc import wire
from localcloud.eventarc.errors import InvalidTrigger, TriggerChanged, TriggerExists, TriggerNotFound
from localcloud.eventarc.state import Eventarc, Record
from localcloud.gateway import read_body
from localcloud.pubsub.errors import PubSubError, shown

MAX_BODY_BYTES = 2**20
MAX_PAGE = 100
# Those of an update mask, and the fields of the resource that they name.
_MUTABLE = {
    "event_filters": "eventFilters",
    "service_account": "serviceAccount",
    "destination": "destination",
    "labels": "labels",
}
_TYPES = "type.googleapis.com/google.cloud.eventarc.v1"
_TRIGGERS = "/v1/projects/{project}/locations/{location}/triggers"


def routes(eventarc: Eventarc) -> list[BaseRoute]:
    """The triggers' create, get, list, patch and delete."""
    api = _Triggers(eventarc)
    methods = (("POST", "", api.create), ("GET", "", api.list))
    of_one = (("GET", "/{name}", api.get), ("PATCH", "/{name}", api.patch), ("DELETE", "/{name}", api.delete))
    return [Route(_TRIGGERS + path, _guarded(eventarc, call), methods=[verb]) for verb, path, call in methods + of_one]


class _Triggers:
    """One function a method, from request to JSON."""

    def __init__(self, eventarc: Eventarc) -> None:
        self._eventarc = eventarc

    async def list(self, request: Request) -> dict[str, Any]:
        size, token = _page_size(request), request.query_params.get("pageToken", "")
        names = [trigger.name for trigger in self._eventarc.triggers() if trigger.name > token]
        page = {"triggers": [self._json(name) for name in names[:size]]}
        return page if len(names) <= size else {**page, "nextPageToken": names[size - 1]}

    async def get(self, request: Request) -> dict[str, Any]:
        return self._json(request.path_params["name"])

    async def create(self, request: Request) -> dict[str, Any]:
        return self._create(request, request.query_params.get("triggerId", ""), await _resource(request))

    async def patch(self, request: Request) -> dict[str, Any]:
        name, wanted = request.path_params["name"], await _resource(request)
        if _is_true(request, "allowMissing") and not self._eventarc.has_trigger(name):
            return self._create(request, name, wanted)
        changed = self._json(name)
        for field in _mask(request, wanted):
            changed.pop(field, None)
            if field in wanted:
                changed[field] = wanted[field]
        trigger = self._eventarc.trigger(name).changed_as(wire.from_json(self._eventarc, name, changed))
        self._eventarc.check(trigger)
        if not _is_true(request, "validateOnly"):
            self._eventarc.create_trigger(trigger)
        return self._operation("update", name, self._json(name))

    async def delete(self, request: Request) -> dict[str, Any]:
        name = request.path_params["name"]
        if _is_true(request, "allowMissing") and not self._eventarc.has_trigger(name):
            return self._operation("delete", name, {})
        resource = self._json(name)
        etag = request.query_params.get("etag")
        if etag and etag != resource["etag"]:
            raise TriggerChanged(f"etag is {shown(etag)}; that of trigger {shown(name)} is {resource['etag']}")
        if not _is_true(request, "validateOnly"):
            self._eventarc.delete_trigger(name)
        return self._operation("delete", name, resource)

    def _create(self, request: Request, name: str, wanted: dict[str, Any]) -> dict[str, Any]:
        trigger = wire.from_json(self._eventarc, name, wanted)
        self._eventarc.check(trigger)
        if self._eventarc.has_trigger(name):
            raise TriggerExists(f"trigger {shown(name)} exists")
        if _is_true(request, "validateOnly"):
            now = self._eventarc.context.clock.now().isoformat()
            return self._operation("create", name, wire.to_json(self._eventarc, Record(trigger, "", now, now)))
        self._eventarc.create_trigger(trigger)
        return self._operation("create", name, self._json(name))

    def _json(self, name: str) -> dict[str, Any]:
        return wire.to_json(self._eventarc, self._eventarc.record(name))

    def _operation(self, verb: str, name: str, resource: dict[str, Any]) -> dict[str, Any]:
        """https://cloud.google.com/eventarc/docs/reference/rest/Shared.Types/ListOperationsResponse#operation"""
        context = self._eventarc.context
        location = f"projects/{context.project}/locations/{context.location}"
        now = context.clock.now().isoformat()
        return {
            "name": f"{location}/operations/operation-{uuid.uuid4()}",
            "metadata": {
                "@type": f"{_TYPES}.OperationMetadata",
                "createTime": now,
                "endTime": now,
                "target": f"{location}/triggers/{name}",
                "verb": verb,
                "apiVersion": "v1",
            },
            "done": True,
            "response": {"@type": f"{_TYPES}.Trigger", **resource},
        }


def _guarded(eventarc: Eventarc, call: Callable[[Request], Awaitable[dict[str, Any]]]) -> Callable[..., Any]:
    async def endpoint(request: Request) -> Response:
        context = eventarc.context
        try:
            if (request.path_params["project"], request.path_params["location"]) != (context.project, context.location):
                raise TriggerNotFound(f"there is nothing at {shown(request.url.path)}")
            return JSONResponse(await call(request))
        except PubSubError as error:
            return JSONResponse(error.body(), error.http_status)

    return endpoint


async def _resource(request: Request) -> dict[str, Any]:
    try:
        resource = json.loads(await read_body(request, MAX_BODY_BYTES))
    except ValueError as error:
        raise InvalidTrigger(f"the request does not parse: {shown(str(error))}") from error
    if not isinstance(resource, dict):
        raise InvalidTrigger(f"the request is {shown(resource)}; expected a trigger")
    return resource


def _mask(request: Request, wanted: dict[str, Any]) -> list[str]:
    """The fields to change: those that the mask names, or without one those that are given."""
    named = request.query_params.get("updateMask", "")
    if not named or named == "*":
        return [field for field in _MUTABLE.values() if field in wanted or named]
    roots = [path.strip().partition(".")[0] for path in named.split(",")]
    # The mask of a query is in JSON's spelling or in the protocol's.
    fields = {**_MUTABLE, **{field: field for field in _MUTABLE.values()}}
    for root in roots:
        if root not in fields:
            raise InvalidTrigger(f"update_mask names {shown(root)}, which cannot be changed")
    return [fields[root] for root in roots]


def _page_size(request: Request) -> int:
    text = request.query_params.get("pageSize", "0")
    if not text.isascii() or not text.isdecimal():
        raise InvalidTrigger(f"page_size is {shown(text)}; expected a number of at least 0")
    return min(int(text[:9]) or MAX_PAGE, MAX_PAGE)


def _is_true(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() == "true"
