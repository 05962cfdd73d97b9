"""How are Workflows and Workflow Executions called? gRPC, and the same methods over REST.

One function a method, from request to response; the two wires only translate.
https://cloud.google.com/workflows/docs/reference/rpc https://cloud.google.com/workflows/docs/reference/executions/rest
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.cloud import workflows_v1
from google.cloud.workflows import executions_v1
from google.protobuf import json_format
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from localcloud.gateway import read_body
from localcloud.workflows import listing, values
from localcloud.workflows.callbacks import Busy, WrongMethod
from localcloud.workflows.errors import ApiError, injected, invalid, not_found
from localcloud.workflows.messages import BASIC, FULL, as_json, execution_json, execution_message, workflow_message
from localcloud.workflows.state import Execution, Workflow, Workflows

MAX_BASIC_PAGE, MAX_FULL_PAGE = 1000, 100
MAX_BODY_BYTES = 2 * 2**20  # Not documented: of a callback's request. Here: as large as a response may be.
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_PARENT = "/v1/projects/{project}/locations/{location}"
_EXECUTIONS = f"{_PARENT}/workflows/{{workflow}}/executions"

Endpoint = Callable[[Request], Awaitable[Response]]


async def create(workflows: Workflows, parent: str, wanted: Any) -> Execution:
    """Create an execution from an Execution message, with the faults that were ordered for it."""
    fault = workflows.context.faults.take("workflows.executions.create", parent.rpartition("/")[2])
    if fault is not None and fault.action == "delay":
        await workflows.context.clock.sleep(fault.delay_s)
    if fault is not None and fault.action == "fail":
        raise injected(fault.status)
    execution = workflows.create_execution(parent, wanted.argument, wanted.labels, wanted.call_log_level)
    if fault is not None and fault.action == "fail_after":
        raise injected(fault.status)
    return execution


def list_page(workflows: Workflows, request: Any) -> tuple[list[Execution], str, int]:
    """The executions of a page, the token of the next page, and the view."""
    view = request.view or BASIC
    chosen = listing.select(workflows.list(request.parent), request.filter, request.order_by)
    most = MAX_BASIC_PAGE if view == BASIC else MAX_FULL_PAGE
    return *listing.page(chosen, request.page_size, request.page_token, most=most), view


def grpc_handlers(workflows: Workflows) -> list[grpc.GenericRpcHandler]:
    """The services google.cloud.workflows.executions.v1.Executions and google.cloud.workflows.v1.Workflows."""
    api = _Methods(workflows)
    executions = {
        "CreateExecution": (api.CreateExecution, executions_v1.CreateExecutionRequest),
        "GetExecution": (api.GetExecution, executions_v1.GetExecutionRequest),
        "ListExecutions": (api.ListExecutions, executions_v1.ListExecutionsRequest),
        "CancelExecution": (api.CancelExecution, executions_v1.CancelExecutionRequest),
    }
    definitions = {
        "GetWorkflow": (api.GetWorkflow, workflows_v1.GetWorkflowRequest),
        "ListWorkflows": (api.ListWorkflows, workflows_v1.ListWorkflowsRequest),
    }
    return [
        _service("google.cloud.workflows.executions.v1.Executions", executions),
        _service("google.cloud.workflows.v1.Workflows", definitions),
    ]


class _Methods:
    """The methods of both services, by the names of the protocol."""

    def __init__(self, workflows: Workflows) -> None:
        self._workflows = workflows

    async def CreateExecution(self, request: Any) -> Any:
        return execution_message(await create(self._workflows, request.parent, request.execution), FULL)

    async def GetExecution(self, request: Any) -> Any:
        return execution_message(self._workflows.get(request.name), request.view or FULL)

    async def ListExecutions(self, request: Any) -> Any:
        executions, token, view = list_page(self._workflows, request)
        messages = [execution_message(each, view) for each in executions]
        return executions_v1.ListExecutionsResponse.pb()(executions=messages, next_page_token=token)

    async def CancelExecution(self, request: Any) -> Any:
        return execution_message(self._workflows.cancel(request.name), FULL)

    async def GetWorkflow(self, request: Any) -> Any:
        return self._message(self._workflows.workflow(request.name))

    async def ListWorkflows(self, request: Any) -> Any:
        messages = [self._message(each) for each in self._workflows.workflows()]
        return workflows_v1.ListWorkflowsResponse.pb()(workflows=messages)

    def _message(self, workflow: Workflow) -> Any:
        account = self._workflows.context.service_account(workflow.spec.service_account)
        return workflow_message(workflow, self._workflows.resource_name(workflow.name), account)


def _service(name: str, methods: Mapping[str, tuple[Callable[[Any], Awaitable[Any]], Any]]) -> grpc.GenericRpcHandler:
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(
            _answering(call),
            request_deserializer=kind.pb().FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        for method, (call, kind) in methods.items()
    }
    return grpc.method_handlers_generic_handler(name, handlers)


def _answering(call: Callable[[Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    async def answer(request: Any, context: Any) -> Any:
        try:
            return await call(request)
        except ApiError as error:
            return await context.abort(grpc.StatusCode[error.code], error.message)

    return answer


def routes(workflows: Workflows) -> list[BaseRoute]:
    """The REST methods, and the callback endpoints of executions."""
    api = _Rest(workflows)
    return [
        Route(f"{_PARENT}/workflows", _guarded(api.list_workflows), methods=["GET"]),
        Route(f"{_PARENT}/workflows/{{workflow}}", _guarded(api.get_workflow), methods=["GET"]),
        Route(_EXECUTIONS, _guarded(api.create_execution), methods=["POST"]),
        Route(_EXECUTIONS, _guarded(api.list_executions), methods=["GET"]),
        Route(f"{_EXECUTIONS}/{{execution}}:cancel", _guarded(api.cancel_execution), methods=["POST"]),
        Route(f"{_EXECUTIONS}/{{execution}}", _guarded(api.get_execution), methods=["GET"]),
        Route(f"{_EXECUTIONS}/{{execution}}/callbacks", _guarded(api.list_callbacks), methods=["GET"]),
        Route(f"{_EXECUTIONS}/{{execution}}/callbacks/{{callback}}", _guarded(api.call_back), methods=_METHODS),
    ]


class _Rest:
    """The methods as they are called with JSON."""

    def __init__(self, workflows: Workflows) -> None:
        self._workflows = workflows
        self._methods = _Methods(workflows)

    async def list_workflows(self, request: Request) -> Response:
        return JSONResponse(as_json(await self._methods.ListWorkflows(None)))

    async def get_workflow(self, request: Request) -> Response:
        wanted = workflows_v1.GetWorkflowRequest.pb()(name=_workflow(request))
        return JSONResponse(as_json(await self._methods.GetWorkflow(wanted)))

    async def create_execution(self, request: Request) -> Response:
        body = await _body(request)
        try:
            # Fields that the client library's message lacks, such as disableConcurrencyQuotaOverflowBuffering, pass.
            wanted = json_format.Parse(body or b"{}", executions_v1.Execution.pb()(), ignore_unknown_fields=True)
        except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
            raise invalid(f"the body is not an Execution: {error}") from error
        execution = await create(self._workflows, _workflow(request), wanted)
        return JSONResponse(execution_json(execution, FULL))

    async def get_execution(self, request: Request) -> Response:
        view = _view(request) or FULL
        return JSONResponse(execution_json(self._workflows.get(_execution(request)), view))

    async def cancel_execution(self, request: Request) -> Response:
        return JSONResponse(execution_json(self._workflows.cancel(_execution(request)), FULL))

    async def list_executions(self, request: Request) -> Response:
        query = request.query_params
        size = query.get("pageSize", "0")
        if not size.isdecimal():
            raise invalid(f"pageSize is {size!r}; expected a number")
        wanted = executions_v1.ListExecutionsRequest.pb()(
            parent=_workflow(request),
            page_size=int(size),
            page_token=query.get("pageToken", ""),
            view=_view(request),
            filter=query.get("filter", ""),
            order_by=query.get("orderBy", ""),
        )
        executions, token, view = list_page(self._workflows, wanted)
        page = {"executions": [execution_json(each, view) for each in executions], "nextPageToken": token}
        return JSONResponse({name: value for name, value in page.items() if value})

    async def list_callbacks(self, request: Request) -> Response:
        name = _execution(request)
        self._workflows.get(name)
        callbacks = self._workflows.callbacks(name)
        found = [] if callbacks is None else callbacks.identifiers()
        return JSONResponse({"callbacks": [{"name": f"{name}/callbacks/{each}"} for each in found]})

    async def call_back(self, request: Request) -> Response:
        callbacks = self._workflows.callbacks(_execution(request))
        received = {
            "http_request": {
                "body": _content(await _body(request), request.headers.get("content-type", "")),
                "headers": {name.title(): value for name, value in request.headers.items()},
                "method": request.method,
                "query": {name: request.query_params.getlist(name) for name in request.query_params},
                "url": request.url.path,
            },
            "received_time": self._workflows.context.clock.now().isoformat(),
            "type": "HTTP",
        }
        try:
            if callbacks is None or not callbacks.receive(request.path_params["callback"], request.method, received):
                raise not_found(f"callback {request.url.path}")
        except Busy as error:
            raise ApiError("RESOURCE_EXHAUSTED", "an earlier callback is not processed yet") from error
        except WrongMethod as error:
            return Response(status_code=405, headers={"Allow": str(error)})
        return JSONResponse({})


def _workflow(request: Request) -> str:
    path = request.path_params
    return f"projects/{path['project']}/locations/{path['location']}/workflows/{path['workflow']}"


def _execution(request: Request) -> str:
    return f"{_workflow(request)}/executions/{request.path_params['execution']}"


def _view(request: Request) -> int:
    name = request.query_params.get("view", "EXECUTION_VIEW_UNSPECIFIED")
    if name not in executions_v1.ExecutionView.__members__:
        raise invalid(f"view is {name!r}; expected BASIC or FULL")
    return int(executions_v1.ExecutionView.__members__[name])


async def _body(request: Request) -> bytes:
    try:
        return await read_body(request, MAX_BODY_BYTES)
    except ValueError as error:
        raise invalid(str(error)) from error


def _content(body: bytes, content_type: str) -> Any:
    if content_type.partition(";")[0].strip() == "application/json":
        try:
            return values.from_json(body)
        except ValueError as error:
            raise invalid(f"the body is not JSON: {error}") from error
    try:
        return body.decode() if body else None
    except UnicodeDecodeError:
        return body


def _guarded(endpoint: Endpoint) -> Endpoint:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ApiError as error:
            content = {"code": error.http_status, "message": error.message, "status": error.code}
            return JSONResponse({"error": content}, error.http_status)

    return answer
