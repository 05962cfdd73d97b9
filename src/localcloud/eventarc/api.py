"""How are triggers looked at? REST v1, reading only; a deployment makes them with `Eventarc.create_trigger`.

https://cloud.google.com/eventarc/docs/reference/rest/v1/projects.locations.triggers
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from localcloud.eventarc.errors import TriggerNotFound
from localcloud.eventarc.state import Eventarc, Trigger
from localcloud.pubsub.errors import shown

_TRIGGERS = "/v1/projects/{project}/locations/{location}/triggers"


def routes(eventarc: Eventarc) -> list[BaseRoute]:
    """`GET .../triggers` and `GET .../triggers/<name>`."""

    async def list_triggers(request: Request) -> Response:
        here = _is_here(eventarc, request)
        return JSONResponse({"triggers": [_json(eventarc, each) for each in eventarc.triggers()] if here else []})

    async def get_trigger(request: Request) -> Response:
        try:
            if not _is_here(eventarc, request):
                raise TriggerNotFound(f"there is nothing at {shown(request.url.path)}")
            return JSONResponse(_json(eventarc, eventarc.trigger(request.path_params["name"])))
        except TriggerNotFound as error:
            return JSONResponse(error.body(), error.http_status)

    return [Route(_TRIGGERS, list_triggers), Route(_TRIGGERS + "/{name}", get_trigger)]


def _is_here(eventarc: Eventarc, request: Request) -> bool:
    context = eventarc.context
    return (request.path_params["project"], request.path_params["location"]) == (context.project, context.location)


def _json(eventarc: Eventarc, trigger: Trigger) -> dict[str, Any]:
    project = eventarc.context.project
    filters = {"type": trigger.event_type}
    if trigger.is_storage:
        filters["bucket"] = trigger.filters["bucket"]
    return {
        "name": eventarc.full_name(trigger),
        "eventFilters": [{"attribute": name, "value": value} for name, value in filters.items()],
        "serviceAccount": eventarc.context.service_account(trigger.service_account),
        "destination": {
            "cloudRun": {"service": trigger.service, "path": trigger.path, "region": eventarc.context.location}
        },
        "transport": {
            "pubsub": {
                "topic": f"projects/{project}/topics/{eventarc.topic(trigger)}",
                "subscription": f"projects/{project}/subscriptions/{eventarc.subscription(trigger)}",
            }
        },
    }
