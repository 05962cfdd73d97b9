"""How does a person or a test look into a running local cloud and steer it? JSON under `/_localcloud/`.

GET    health                              what runs here: pid, project, addresses, state directory
GET    environment                         the variables for Google's clients and for gcloud
GET    instances                           the instances of all services and the cold starts, by part
GET    faults      POST faults {Fault}     the standing orders; order one more
DELETE faults                              withdraw all
GET    clock       POST clock {"advance_s"}
POST   identity-token?audience=&email=     a token for a call to a private service
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from localcloud.faults import Fault
from localcloud.gateway import error, read_body

if TYPE_CHECKING:
    from localcloud.cloud import LocalCloud

PREFIX = "/_localcloud"
MAX_BODY_BYTES = 64 * 1024
DEFAULT_CALLER = "developer"


class _Advance(msgspec.Struct, forbid_unknown_fields=True):
    advance_s: float


def routes(cloud: LocalCloud) -> list[BaseRoute]:
    """The admin API of `cloud`."""

    async def health(_: Request) -> Response:
        return _json(
            {
                "status": "ok",
                "pid": os.getpid(),
                "project": cloud.config.project,
                "location": cloud.config.location,
                "http_url": cloud.http_url,
                "grpc_address": cloud.grpc_address,
                "state": str(cloud.context.store.directory),
                "idle": cloud.is_idle(),
            }
        )

    async def environment(_: Request) -> Response:
        return _json({"clients": cloud.environment(), "gcloud": cloud.gcloud_environment()})

    async def instances(_: Request) -> Response:
        live = [instance.description() for service in cloud.run.services() for instance in service.instances]
        return _json({"instances": live, "cold_starts": [asdict(start) for start in cloud.run.events]})

    async def faults(request: Request) -> Response:
        if request.method == "POST":
            cloud.faults.add(await _body(request, Fault))
        elif request.method == "DELETE":
            cloud.faults.clear()
        return _json({"faults": [asdict(fault) for fault in cloud.faults.standing()]})

    async def clock(request: Request) -> Response:
        if request.method == "POST":
            cloud.clock.advance(seconds=(await _body(request, _Advance)).advance_s)
        return _json({"time": cloud.clock.now().isoformat()})

    async def identity_token(request: Request) -> Response:
        audience = request.query_params.get("audience", "")
        if not audience:
            raise ValueError("audience is missing; expected the URL of a service")
        email = request.query_params.get("email") or cloud.context.service_account(DEFAULT_CALLER)
        return _json({"token": cloud.context.identity.mint(audience, email)})

    return [
        _route("health", health, "GET"),
        _route("environment", environment, "GET"),
        _route("instances", instances, "GET"),
        _route("faults", faults, "GET", "POST", "DELETE"),
        _route("clock", clock, "GET", "POST"),
        _route("identity-token", identity_token, "POST"),
    ]


def _route(name: str, endpoint: Any, *methods: str) -> Route:
    async def answered(request: Request) -> Response:
        try:
            response: Response = await endpoint(request)
        except (ValueError, OverflowError, msgspec.MsgspecError) as problem:
            return error(400, f"{problem}"[:500])
        return response

    return Route(f"{PREFIX}/{name}", answered, methods=list(methods))


async def _body(request: Request, kind: type[Any]) -> Any:
    return msgspec.json.decode(await read_body(request, MAX_BODY_BYTES), type=kind)


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
