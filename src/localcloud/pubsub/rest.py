"""How does a call over HTTP become the request message of its method? By the rules of Google's HTTP transcoding.

https://cloud.google.com/endpoints/docs/grpc/transcoding
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterable
from operator import attrgetter
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from localcloud.gateway import read_body
from localcloud.pubsub.errors import InvalidArgument, PubSubError, shown
from localcloud.pubsub.methods import Method
from localcloud.pubsub.state import PubSub

MAX_REQUEST_BYTES = 20 * 2**20
_VARIABLE = re.compile(r"\{([\w.]+)=([^}]+)\}")
_CLIENT_CLOSED_REQUEST = 499  # nobody sees it


def routes(pubsub: PubSub, methods: Iterable[Method]) -> list[BaseRoute]:
    """The methods over HTTP; those with a verb of their own come first, for a name may end like one."""
    return [_route(pubsub, method) for method in sorted(methods, key=lambda each: ":" not in each.http)]


def _route(pubsub: PubSub, method: Method) -> Route:
    verb, _, template = method.http.partition(" ")
    variable = _VARIABLE.search(template)
    assert variable is not None  # noqa: S101  # every rule has one
    field, pattern = variable.groups()
    count = pattern.count("*")
    named = pattern.replace("*", "{}").format(*(f"{{p{number}}}" for number in range(count)))

    async def endpoint(request: Request) -> Response:
        from google.protobuf import json_format

        try:
            message = await _message(request, method)
            parts = (request.path_params[f"p{number}"] for number in range(count))
            _set(message, field, pattern.replace("*", "{}").format(*parts))
            response = await _while_connected(request, method.call(pubsub, message, None))
        except PubSubError as error:
            return JSONResponse(error.body(), error.http_status)
        as_numbers = "enum-encoding=int" in request.query_params.get("$alt", "")
        return JSONResponse(json_format.MessageToDict(response, use_integers_for_enums=as_numbers))

    return Route(template.replace(variable[0], named), endpoint, methods=[verb], name=method.point)


async def _while_connected(request: Request, call: Awaitable[Any]) -> Any:
    """The result of a call, which ends when its caller hangs up: a pull must not take messages for nobody."""
    work = asyncio.ensure_future(call)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise _HungUp
        return work.result()
    finally:
        work.cancel()
        gone.cancel()


class _HungUp(PubSubError):
    status = "CANCELLED"
    http_status = _CLIENT_CLOSED_REQUEST


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _message(request: Request, method: Method) -> Any:
    """The request message, but for what its path says."""
    from google.protobuf import json_format

    message = method.request()()
    try:
        body = await read_body(request, MAX_REQUEST_BYTES)
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    try:
        json_format.ParseDict(_nested(request.query_params.multi_items()), message, ignore_unknown_fields=True)
        if method.body and body:
            target = message if method.body == "*" else attrgetter(method.body)(message)
            json_format.Parse(body, target)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"Invalid JSON payload received. {shown(str(error))}") from error
    return message


def _nested(parameters: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """`a.b=1` as {"a": {"b": "1"}}, without what the API's front end takes for itself (`$alt`, `key`, ...)."""
    fields: dict[str, Any] = {}
    for path, value in parameters:
        *parents, name = path.split(".")
        inner = fields
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise InvalidArgument(f"the query parameter {shown(path)} contradicts another one")
        inner[name] = value
    return fields


def _set(message: Any, path: str, value: str) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        message = getattr(message, parent)
    setattr(message, name, value)
