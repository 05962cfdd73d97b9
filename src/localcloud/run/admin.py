"""Which services are deployed? The read side of the Admin API v2, as `run_v2.ServicesClient` asks for it over REST.

https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from localcloud.run.errors import NoSuchService, RunError
from localcloud.run.service import Run, Service

_PARENT = "/v2/projects/{project}/locations/{location}/services"


def routes(run: Run) -> list[BaseRoute]:
    """GET and list services."""

    async def list_services(request: Request) -> Response:
        if not _is_here(run, request):
            return _json({"services": []})
        return _json({"services": [_resource(run, service) for service in run.services()]})

    async def get_service(request: Request) -> Response:
        name = request.path_params["service"]
        try:
            if not _is_here(run, request):
                raise NoSuchService(f"Resource {request.url.path[4:]!r:.200} was not found.")
            return _json(_resource(run, run.service(name)))
        except RunError as error:
            return Response(error.body(), error.code, media_type="application/json")

    return [
        Route(_PARENT, list_services, methods=["GET"]),
        Route(_PARENT + "/{service}", get_service, methods=["GET"]),
    ]


def _is_here(run: Run, request: Request) -> bool:
    params, context = request.path_params, run.context
    return params["project"] == context.project and params["location"] in (context.location, "-")


def _resource(run: Run, service: Service) -> dict[str, Any]:
    context, spec = run.context, service.spec
    name = f"projects/{context.project}/locations/{context.location}/services/{spec.name}"
    revision = f"{name}/revisions/{service.revision}"
    ready = {"type": "Ready", "state": "CONDITION_SUCCEEDED", "lastTransitionTime": _time(service.updated)}
    return {
        "name": name,
        "generation": str(service.generation),
        "observedGeneration": str(service.generation),
        "createTime": _time(service.created),
        "updateTime": _time(service.updated),
        "uri": service.url,
        "urls": [service.url],
        "invokerIamDisabled": spec.public,
        "template": {
            "scaling": {"minInstanceCount": spec.min_instances, "maxInstanceCount": spec.max_instances},
            "timeout": f"{spec.timeout_s:g}s",
            "maxInstanceRequestConcurrency": spec.concurrency,
            # Values stay here: they may be secrets.
            "containers": [{"command": list(spec.command), "env": [{"name": key} for key in spec.env]}],
        },
        "latestCreatedRevision": revision,
        "latestReadyRevision": revision,
        "terminalCondition": ready,
        "reconciling": False,
    }


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
