"""How is the Run API v2 called? gRPC, and the same methods over REST; the two wires only translate.

https://cloud.google.com/run/docs/reference/rest/v2 https://cloud.google.com/run/docs/reference/rpc
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Any
from urllib.parse import unquote

import grpc
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from localcloud.gateway import read_body
from localcloud.run.errors import InvalidArgument, RunError
from localcloud.run.service import Run

MAX_BODY_BYTES = 2**20
_HERE = "/v2/projects/{project}/locations/{location}"
_SERVICE, _JOB = _HERE + "/services/{service}", _HERE + "/jobs/{job}"
_EXECUTION, _OPERATION = _JOB + "/executions/{execution}", _HERE + "/operations/{operation}"

# Method: verb, path, the field that takes the name in the path, the field that takes the body (*: all of it).
_REST = {
    "CreateService": ("POST", _HERE + "/services", "parent", "service"),
    "ListServices": ("GET", _HERE + "/services", "parent", ""),
    "GetService": ("GET", _SERVICE, "name", ""),
    "UpdateService": ("PATCH", _SERVICE, "service.name", "service"),
    "DeleteService": ("DELETE", _SERVICE, "name", ""),
    "ListRevisions": ("GET", _SERVICE + "/revisions", "parent", ""),
    "GetRevision": ("GET", _SERVICE + "/revisions/{revision}", "name", ""),
    "CreateJob": ("POST", _HERE + "/jobs", "parent", "job"),
    "ListJobs": ("GET", _HERE + "/jobs", "parent", ""),
    "RunJob": ("POST", _JOB + ":run", "name", "*"),
    "GetJob": ("GET", _JOB, "name", ""),
    "UpdateJob": ("PATCH", _JOB, "job.name", "job"),
    "DeleteJob": ("DELETE", _JOB, "name", ""),
    "ListExecutions": ("GET", _JOB + "/executions", "parent", ""),
    "CancelExecution": ("POST", _EXECUTION + ":cancel", "name", "*"),
    "GetExecution": ("GET", _EXECUTION, "name", ""),
    "DeleteExecution": ("DELETE", _EXECUTION, "name", ""),
    "ListTasks": ("GET", _EXECUTION + "/tasks", "parent", ""),
    "GetTask": ("GET", _EXECUTION + "/tasks/{task}", "name", ""),
    "ListOperations": ("GET", _HERE + "/operations", "name", ""),
    "WaitOperation": ("POST", _OPERATION + ":wait", "name", "*"),
    "GetOperation": ("GET", _OPERATION, "name", ""),
    "DeleteOperation": ("DELETE", _OPERATION, "name", ""),
}
_IAM = {"GetIamPolicy": ("GET", ""), "SetIamPolicy": ("POST", "*"), "TestIamPermissions": ("POST", "*")}
_OPERATIONS = "google.longrunning.Operations"
OPERATION_PREFIX = "run-"  # of ids: several services of one server have operations
_GRPC = {
    "google.cloud.run.v2.Services": ("Service", "Services", *_IAM),
    "google.cloud.run.v2.Revisions": ("Revision", "Revisions"),
    "google.cloud.run.v2.Jobs": ("Job", "Jobs", *_IAM),
    "google.cloud.run.v2.Executions": ("Execution", "Executions"),
    "google.cloud.run.v2.Tasks": ("Task", "Tasks"),
    _OPERATIONS: ("Operation", "Operations"),
}


def routes(run: Run) -> list[BaseRoute]:
    """The methods over REST. Those with a verb after a colon come first, as an id could hold one."""
    methods = dict(_REST)
    for name, (verb, body) in _IAM.items():
        suffix = f":{name[0].lower()}{name[1:]}"
        methods[f"{name}/services"] = (verb, _SERVICE + suffix, "resource", body)
        methods[f"{name}/jobs"] = (verb, _JOB + suffix, "resource", body)
    ordered = sorted(methods.items(), key=lambda item: ":" not in item[1][1])
    return [
        Route(path, _endpoint(run, name.partition("/")[0], field, body), methods=[verb])
        for name, (verb, path, field, body) in ordered
    ]


def grpc_handlers(run: Run) -> list[grpc.GenericRpcHandler]:
    """The methods over gRPC, and those of their operations. To stand before those of services that have operations too.

    Which service a list of operations is to be of, a call over gRPC doesn't say: here it is not Cloud Run.
    """
    return [_Handlers(run)]


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Knows a method by its name; what it takes and gives is imported when it is first called."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        service, _, method = handler_call_details.method.strip("/").partition("/")
        if service not in _GRPC or not _is_of(method, _GRPC[service]):
            return None
        if service == _OPERATIONS and not _is_ours(handler_call_details.invocation_metadata):
            return None
        return grpc.unary_unary_rpc_method_handler(
            self._answering(method),
            request_deserializer=_kinds()[method].FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def _answering(self, method: str) -> Callable[[Any, Any], Awaitable[Any]]:
        async def answer(request: Any, context: Any) -> Any:
            try:
                return await _call(self._run, method, request)
            except RunError as error:
                return await context.abort(grpc.StatusCode[error.status], error.message)

        return answer


def _is_of(method: str, nouns: tuple[str, ...]) -> bool:
    """Whether a method is one of a service's: it is called after a verb and what it is about."""
    known = method in _REST or method in _IAM
    return known and (method in nouns or re.sub("[A-Z][a-z]+", "", method, count=1) in nouns)


def _is_ours(metadata: Sequence[tuple[str, str | bytes]]) -> bool:
    """Whether a call about operations is about one of Cloud Run's, as the header tells that clients send along."""
    routed = next((value for key, value in metadata or () if key == "x-goog-request-params"), "")
    return f"operations/{OPERATION_PREFIX}" in unquote(routed.decode() if isinstance(routed, bytes) else routed)


@cache
def _kinds() -> dict[str, Any]:
    """The request message of each method."""
    from google.cloud import run_v2
    from google.iam.v1 import iam_policy_pb2
    from google.longrunning import operations_pb2

    iam = {name: getattr(iam_policy_pb2, f"{name}Request") for name in _IAM}
    operations = {name: getattr(operations_pb2, f"{name}Request") for name in _REST if "Operation" in name}
    others = {name: getattr(run_v2, f"{name}Request").pb() for name in _REST if name not in operations}
    return {**others, **operations, **iam}


async def _call(run: Run, method: str, request: Any) -> Any:
    from localcloud.run.methods import Methods

    return await getattr(Methods(run), method)(request)


def _endpoint(run: Run, method: str, name_field: str, body_field: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        from google.protobuf import json_format

        try:
            message = await _message(request, method, name_field, body_field)
            answer = await _call(run, method, message)
        except RunError as error:
            return Response(error.body(), error.code, media_type="application/json")
        return JSONResponse(json_format.MessageToDict(answer))

    return endpoint


async def _message(request: Request, method: str, name_field: str, body_field: str) -> Any:
    """The request of a method from its path, query and body: https://google.aip.dev/127"""
    from google.protobuf import json_format

    message = _kinds()[method]()
    try:
        query = {key: _value(value) for key, value in request.query_params.items() if not key.startswith("$")}
        if "updateMask" in query and hasattr(message, "update_mask"):
            json_format.ParseDict({"updateMask": query.pop("updateMask")}, message)
        json_format.ParseDict(query, message, ignore_unknown_fields=True)
        if body_field:
            target = message if body_field == "*" else getattr(message, body_field)
            body = await read_body(request, MAX_BODY_BYTES)
            json_format.Parse(body or b"{}", target, ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"Invalid JSON payload received. {error}"[:500]) from error
    *above, field = name_field.split(".")
    setattr(getattr(message, above[0]) if above else message, field, _resource_name(request, name_field))
    return message


def _value(text: str) -> object:
    return text == "true" if text in ("true", "false") else text


def _resource_name(request: Request, name_field: str) -> str:
    name = request.url.path.removeprefix("/v2/").partition(":")[0]
    return name.rpartition("/")[0] if name_field == "parent" or name.endswith("/operations") else name
