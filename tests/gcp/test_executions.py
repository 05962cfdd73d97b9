"""The adapter against a real gRPC server that speaks the API's own protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.cloud.workflows.executions_v1.types import (
    CancelExecutionRequest,
    CreateExecutionRequest,
    Execution,
    GetExecutionRequest,
)
from google.protobuf.timestamp_pb2 import Timestamp

from zeroidle.core.converge import ExecutionState
from zeroidle.errors import PermanentError, TemporaryError
from zeroidle.gcp.executions import GoogleExecutions, connect

WORKFLOW = "projects/p/locations/r/workflows/w"
NAME = f"{WORKFLOW}/executions/e1"
SERVICE = "google.cloud.workflows.executions.v1.Executions"


class Api:
    """A scripted server: `answer` is what the next call gets, `calls` is what was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.answer: Execution | grpc.StatusCode = Execution(name=NAME, state=Execution.State.ACTIVE)

    def handle(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.calls.append((method, request))
        if isinstance(self.answer, grpc.StatusCode):
            context.abort(self.answer, "as ordered")
        return Execution.pb(self.answer)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def executions(api: Api) -> Iterator[GoogleExecutions]:
    kinds = {
        "CreateExecution": CreateExecutionRequest,
        "GetExecution": GetExecutionRequest,
        "CancelExecution": CancelExecutionRequest,
    }

    def handler(method: str, kind: Any) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: api.handle(method, kind.wrap(request), context),
            request_deserializer=kind.pb().FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    server = grpc.server(ThreadPoolExecutor(2))
    handlers = {method: handler(method, kind) for method, kind in kinds.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield connect(f"127.0.0.1:{port}")
    server.stop(None)


def test_an_execution_is_started_with_its_argument_and_labels(api: Api, executions: GoogleExecutions) -> None:
    assert executions.create(WORKFLOW, b'{"a": 1}', {"job_id": "job-1"}) == NAME

    ((method, request),) = api.calls
    assert (method, request.parent) == ("CreateExecution", WORKFLOW)
    assert json.loads(request.execution.argument) == {"a": 1}
    assert dict(request.execution.labels) == {"job_id": "job-1"}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (Execution.State.ACTIVE, ExecutionState.ACTIVE),
        (Execution.State.QUEUED, ExecutionState.ACTIVE),
        (Execution.State.SUCCEEDED, ExecutionState.SUCCEEDED),
        (Execution.State.FAILED, ExecutionState.FAILED),
        (Execution.State.CANCELLED, ExecutionState.CANCELLED),
        (Execution.State.UNAVAILABLE, ExecutionState.UNKNOWN),
        (Execution.State.STATE_UNSPECIFIED, ExecutionState.UNKNOWN),
    ],
    ids=lambda state: state.name,
)
def test_an_execution_is_seen_as_it_is(
    api: Api, executions: GoogleExecutions, state: Execution.State, expected: ExecutionState
) -> None:
    api.answer = Execution(name=NAME, state=state)

    view = executions.get(NAME)

    assert (view.name, view.state, view.ended_at) == (NAME, expected, None)


def test_the_end_of_an_execution_is_seen(api: Api, executions: GoogleExecutions) -> None:
    error = Execution.Error(payload='{"code": "X"}')
    api.answer = Execution(
        name=NAME, state=Execution.State.FAILED, error=error, end_time=Timestamp(seconds=1_800_000_000)
    )

    view = executions.get(NAME)

    assert (view.error, view.result, view.ended_at) == ('{"code": "X"}', "", 1_800_000_000)


def test_an_execution_that_is_not_found_is_gone(api: Api, executions: GoogleExecutions) -> None:
    api.answer = grpc.StatusCode.NOT_FOUND

    assert executions.get(NAME).state is ExecutionState.GONE


@pytest.mark.parametrize("answer", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION])
def test_cancelling_what_has_ended_is_no_error(api: Api, executions: GoogleExecutions, answer: grpc.StatusCode) -> None:
    api.answer = answer

    executions.cancel(NAME)

    assert [method for method, _ in api.calls] == ["CancelExecution"]


CALLS: list[Callable[[GoogleExecutions], object]] = [
    lambda executions: executions.create(WORKFLOW, b"{}", {}),
    lambda executions: executions.get(NAME),
    lambda executions: executions.cancel(NAME),
]


@pytest.mark.parametrize("call", CALLS, ids=["create", "get", "cancel"])
@pytest.mark.parametrize(
    "answer",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
    ],
)
def test_what_may_pass_is_temporary(
    api: Api, executions: GoogleExecutions, call: Callable[[GoogleExecutions], object], answer: grpc.StatusCode
) -> None:
    api.answer = answer

    with pytest.raises(TemporaryError, match="Workflows did not answer"):
        call(executions)


@pytest.mark.parametrize("call", CALLS, ids=["create", "get", "cancel"])
@pytest.mark.parametrize("answer", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT])
def test_what_is_refused_stays_refused(
    api: Api, executions: GoogleExecutions, call: Callable[[GoogleExecutions], object], answer: grpc.StatusCode
) -> None:
    api.answer = answer

    with pytest.raises(PermanentError, match="refused"):
        call(executions)


def test_a_workflow_that_is_not_deployed_is_named(api: Api, executions: GoogleExecutions) -> None:
    api.answer = grpc.StatusCode.NOT_FOUND

    with pytest.raises(PermanentError, match="workflows/w does not exist"):
        executions.create(WORKFLOW, b"{}", {})


def test_a_server_that_is_not_there_is_temporary() -> None:
    with pytest.raises(TemporaryError):
        connect("127.0.0.1:9").get(NAME)
