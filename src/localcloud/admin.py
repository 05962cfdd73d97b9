"""How does a person or a test look into a running local cloud and steer it? JSON under `/_localcloud/`.

GET    health                              what runs here: pid, project, addresses, state directory
GET    environment                         the variables for Google's clients and for gcloud
GET    instances                           the instances of all services and the cold starts, by part
GET    faults      POST faults {Fault}     the standing orders; order one more
DELETE faults                              withdraw all
POST   faults/withdraw {Fault}             withdraw one, as it is listed
GET    clock       POST clock {"advance_s"}
POST   identity-token?audience=&email=     a token for a call to a private service
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from localcloud.endpoints import body, parameter, reply, route
from localcloud.faults import Fault

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
        return reply(
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
        return reply({"clients": cloud.environment(), "gcloud": cloud.gcloud_environment()})

    async def instances(_: Request) -> Response:
        live = [instance.description() for service in cloud.run.services() for instance in service.instances]
        return reply({"instances": live, "cold_starts": [asdict(start) for start in cloud.run.events]})

    async def faults(request: Request) -> Response:
        if request.method == "POST":
            cloud.faults.add(await body(request, Fault, MAX_BODY_BYTES))
        elif request.method == "DELETE":
            cloud.faults.clear()
        return reply({"faults": [asdict(fault) for fault in cloud.faults.standing()]})

    async def withdraw(request: Request) -> Response:
        cloud.faults.withdraw(await body(request, Fault, MAX_BODY_BYTES))
        return reply({"faults": [asdict(fault) for fault in cloud.faults.standing()]})

    async def clock(request: Request) -> Response:
        if request.method == "POST":
            seconds = (await body(request, _Advance, MAX_BODY_BYTES)).advance_s
            cloud.clock.advance(seconds=seconds)
            cloud.context.activity.emit("clock", "clock", "advanced", "by %g s", seconds)
        return reply({"time": cloud.clock.now().isoformat()})

    async def identity_token(request: Request) -> Response:
        audience = parameter(request, "audience")
        email = request.query_params.get("email") or cloud.context.service_account(DEFAULT_CALLER)
        return reply({"token": cloud.context.identity.mint(audience, email)})

    return [
        route(f"{PREFIX}/health", health, "GET"),
        route(f"{PREFIX}/environment", environment, "GET"),
        route(f"{PREFIX}/instances", instances, "GET"),
        route(f"{PREFIX}/faults", faults, "GET", "POST", "DELETE"),
        route(f"{PREFIX}/faults/withdraw", withdraw, "POST"),
        route(f"{PREFIX}/clock", clock, "GET", "POST"),
        route(f"{PREFIX}/identity-token", identity_token, "POST"),
    ]
