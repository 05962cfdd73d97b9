"""How are Workflows and Workflow Executions called? gRPC and REST, both from the table in `table.py`.

A REST request becomes the message of its method by the rules of transcoding (https://google.aip.dev/127): path, query
and body each fill fields. Beside the methods stand the endpoints at which executions are called back.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import grpc
import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from localcloud.gateway import read_body
from localcloud.workflows import choices, values
from localcloud.workflows.callbacks import Busy, WrongMethod
from localcloud.workflows.errors import ApiError, invalid, not_found
from localcloud.workflows.state import Workflows
from localcloud.workflows.table import METHODS, Method

MAX_BODY_BYTES = choices.callback_bytes()
_CALLBACK = (
    "/v1/projects/{project}/locations/{location}/workflows/{workflow}/executions/{execution}/callbacks/{callback}"
)
_CALLBACK_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# https://cloud.google.com/apis/docs/system-parameters
_SYSTEM_PARAMETERS = {
    "$alt", "$.xgafv", "$fields", "$prettyPrint", "$userProject", "access_token", "alt", "callback", "fields", "key",
    "oauth_token", "prettyPrint", "quotaUser", "uploadType", "upload_protocol", "userIp",
}  # fmt: skip
_VARIABLE = re.compile(r"\{([\w.]+)=([^}]+)\}")

Endpoint = Callable[[Request], Awaitable[Response]]


# gRPC


def grpc_handlers(workflows: Workflows) -> list[grpc.GenericRpcHandler]:
    """The services Executions, Workflows and Operations."""
    services: dict[str, dict[str, Any]] = defaultdict(dict)
    for method in METHODS:
        if method.rpc is not None and method.message is not None:
            service, name = method.rpc
            services[service][name] = grpc.unary_unary_rpc_method_handler(
                _rpc(workflows, method, method.message),
                request_deserializer=partial(_parsed, method),
                response_serializer=lambda message: message.SerializeToString(),
            )
    return [grpc.method_handlers_generic_handler(service, handlers) for service, handlers in services.items()]


def _parsed(method: Method, data: bytes) -> Any:
    return method.kind.FromString(data)


def _rpc(
    workflows: Workflows, method: Method, message: Callable[[Workflows, Any], Any]
) -> Callable[[Any, Any], Awaitable[Any]]:
    async def called(request: Any, context: Any) -> Any:
        try:
            return message(workflows, method.call(workflows, request))
        except ApiError as error:
            return await context.abort(grpc.StatusCode[error.code], error.message)

    return called


# REST


def routes(workflows: Workflows) -> list[BaseRoute]:
    """The methods, and the callback endpoints of executions."""
    # A path with a verb also matches without it, as a name that ends with the verb.
    ordered = sorted((method for method in METHODS if method.path), key=lambda method: ":" not in method.path)
    return [
        *(
            Route(
                _route(method.path),
                _guarded(_rest(workflows, method)),
                methods=[method.verb],
                name=f"workflows.{method.fault}",
            )
            for method in ordered
        ),
        Route(
            _CALLBACK,
            _guarded(_called_back(workflows)),
            methods=_CALLBACK_METHODS,
            name="workflows.callbacks.receive",
        ),
    ]


def _route(path: str) -> str:
    """`{name=projects/*/x/*}:run` as a path with one parameter for each `*`."""
    numbered = iter(range(20))
    return "/v1/" + _VARIABLE.sub(lambda match: re.sub(r"\*", lambda _: f"{{p{next(numbered)}}}", match[2]), path)


def _rest(workflows: Workflows, method: Method) -> Endpoint:
    match = _VARIABLE.search(method.path)
    assert match is not None, method.path  # noqa: S101  # each path in the table has one
    field, template = match[1], match[2]

    async def called(request: Request) -> Response:
        parts = iter(request.path_params.values())
        named = re.sub(r"\*", lambda _: next(parts), template)
        body = await _json_body(request) if method.body else {}
        extras = [_extras(method.extras, body)] if method.extras is not None else []
        content = _content(method, _query(method.kind, request), body, field, named)
        found = method.call(workflows, _message(method.kind, content), *extras)
        return JSONResponse(method.json(workflows, found))

    return called


def _content(method: Method, query: Mapping[str, str], body: dict[str, Any], field: str, named: str) -> dict[str, Any]:
    """The request as JSON."""
    content: dict[str, Any] = {**query}
    if method.body == "*":
        content |= body
    elif method.body:
        content[method.body] = body
    holder, _, rest = field.rpartition(".")
    if holder:
        content[holder] = {**content.get(holder, {}), rest: named}
    else:
        content[field] = named
    return content


def _query(kind: Any, request: Request) -> dict[str, Any]:
    """Query parameters as JSON has them; all but booleans are read from text there too."""
    query: dict[str, Any] = {
        name: value for name, value in request.query_params.items() if name not in _SYSTEM_PARAMETERS
    }
    if not issubclass(kind, msgspec.Struct):
        for name, field in kind.DESCRIPTOR.fields_by_camelcase_name.items():
            if field.type == field.TYPE_BOOL and query.get(name) in ("true", "false"):
                query[name] = query[name] == "true"
    if "updateMask" in query:  # the JSON form of a mask knows camel case only; the service takes both
        query["updateMask"] = re.sub(r"_([a-z])", lambda found: found[1].upper(), query["updateMask"])
    return query


async def _json_body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await _body(request) or b"{}")
    except (ValueError, RecursionError) as error:
        raise invalid(f"the body is not JSON: {str(error)[:200]}") from error
    if not isinstance(body, dict):
        raise invalid("the body is not a JSON object")
    return body


def _extras(kind: type[msgspec.Struct], body: dict[str, Any]) -> Any:
    """The fields that the message lacks, taken out of the body."""
    names = msgspec.structs.fields(kind)
    taken = {field.encode_name: body.pop(field.encode_name) for field in names if field.encode_name in body}
    return _message(kind, taken)


def _message(kind: Any, content: dict[str, Any]) -> Any:
    from google.protobuf import json_format

    try:
        if issubclass(kind, msgspec.Struct):
            return msgspec.convert(content, kind, strict=False)
        return json_format.ParseDict(content, kind())
    except (json_format.ParseError, msgspec.ValidationError, RecursionError) as error:
        raise invalid(f"invalid request: {str(error)[:300]}") from error


async def _body(request: Request) -> bytes:
    try:
        return await read_body(request, MAX_BODY_BYTES)
    except ValueError as error:
        raise invalid(str(error)) from error


def _guarded(endpoint: Endpoint) -> Endpoint:
    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ApiError as error:
            content = {"code": error.http_status, "message": error.message, "status": error.code}
            return JSONResponse({"error": content}, error.http_status)

    return guarded


# Callbacks


def _called_back(workflows: Workflows) -> Endpoint:
    """Takes what is sent to a callback endpoint. Anybody may send: there are no permissions here."""

    async def called(request: Request) -> Response:
        name, _, identifier = request.url.path.removeprefix("/v1/").rpartition("/callbacks/")
        callbacks = workflows.callbacks(name)
        received = {
            "http_request": {
                "body": _received(await _body(request), request.headers.get("content-type", "")),
                "headers": {name.title(): value for name, value in request.headers.items()},
                "method": request.method,
                "query": {name: request.query_params.getlist(name) for name in request.query_params},
                "url": request.url.path,
            },
            "received_time": workflows.context.clock.now().isoformat(),
            "type": "HTTP",
        }
        try:
            if callbacks is None or not callbacks.receive(identifier, request.method, received):
                raise not_found(f"callback {request.url.path}")
        except Busy as error:
            raise ApiError("RESOURCE_EXHAUSTED", "an earlier callback is not processed yet") from error
        except WrongMethod as error:
            return Response(status_code=405, headers={"Allow": str(error)})
        return JSONResponse({})

    return called


def _received(body: bytes, content_type: str) -> Any:
    if content_type.partition(";")[0].strip() == "application/json":
        try:
            return values.from_json(body)
        except ValueError as error:
            raise invalid(f"the body is not JSON: {error}") from error
    try:
        return body.decode() if body else None
    except UnicodeDecodeError:
        return body
