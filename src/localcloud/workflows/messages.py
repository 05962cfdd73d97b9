"""What does the wire call our records? Protocol buffers of the client library, and their JSON form.

The service knows a few fields, and whole resources, that the client library's messages lack; they are JSON only.
The messages are imported when the first one is needed: a cloud that nobody asks for executions starts without them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from localcloud.workflows import values
from localcloud.workflows.callbacks import Endpoint
from localcloud.workflows.definitions import Workflow
from localcloud.workflows.executions import Execution
from localcloud.workflows.operations import Operation

BASIC, FULL = 1, 2  # ExecutionView
HISTORY_LEVELS = {
    "EXECUTION_HISTORY_LEVEL_UNSPECIFIED": 0, "EXECUTION_HISTORY_BASIC": 1, "EXECUTION_HISTORY_DETAILED": 2,
}  # fmt: skip
_HISTORY_LEVEL_NAMES = tuple(HISTORY_LEVELS)
EXECUTIONS = "google.cloud.workflows.executions.v1.Executions"
WORKFLOWS = "google.cloud.workflows.v1.Workflows"
OPERATIONS = "google.longrunning.Operations"


@cache
def message_type(service: str, name: str) -> Any:
    """A message of a service, as the plain protobuf class below the client's wrapper."""
    if service == EXECUTIONS:
        from google.cloud.workflows.executions_v1 import types as executions_v1

        return getattr(executions_v1, name).pb()
    if service == WORKFLOWS:
        from google.cloud.workflows_v1 import types as workflows_v1

        return getattr(workflows_v1, name).pb()
    from google.longrunning import operations_pb2

    return getattr(operations_pb2, name)


def execution_message(execution: Execution, view: int) -> Any:
    """An Execution. The basic view has its name, times, state and revision."""
    kind = message_type(EXECUTIONS, "Execution")
    message = kind(
        name=execution.name,
        start_time=_timestamp(execution.create_time),
        state=kind.State.Value(execution.state),
        workflow_revision_id=execution.revision,
    )
    if execution.end_time is not None:
        message.end_time.CopyFrom(_timestamp(execution.end_time))
        message.duration.FromMicroseconds(_micros(execution.end_time) - _micros(execution.create_time))
    if view == BASIC:
        return message
    message.argument = execution.argument or ""
    message.result = execution.result or ""
    message.call_log_level = execution.call_log_level
    message.labels.update(execution.labels)
    if execution.current is not None:
        routine, step = execution.current
        message.status.current_steps.add(routine=routine, step=step)
    if execution.error is not None:
        message.error.payload = execution.error.payload
        message.error.context = execution.error.context
        for element in execution.error.trace:
            message.error.stack_trace.elements.add(**element)
    return message


def execution_json(execution: Execution, view: int) -> dict[str, Any]:
    """An Execution as JSON."""
    found = {**as_json(execution_message(execution, view)), "createTime": stamp(execution.create_time)}
    if execution.history_level and view != BASIC:
        found["executionHistoryLevel"] = _HISTORY_LEVEL_NAMES[execution.history_level]
    return found


def workflow_message(workflow: Workflow, name: str, account: str, *, source: bool = True) -> Any:
    """A Workflow under its resource name; lists leave the source out."""
    kind, spec = message_type(WORKFLOWS, "Workflow"), workflow.spec
    project = name.split("/")[1]
    return kind(
        name=name,
        state=kind.State.ACTIVE,
        revision_id=workflow.revision,
        create_time=_timestamp(workflow.create_time),
        update_time=_timestamp(workflow.update_time),
        revision_create_time=_timestamp(workflow.revision_create_time),
        description=spec.description,
        labels=spec.labels,
        source_contents=spec.source if source else "",
        service_account=f"projects/{project}/serviceAccounts/{account}",
        user_env_vars=spec.env,
        call_log_level=spec.call_log_level,
        execution_history_level=spec.history_level,
        crypto_key_name=spec.crypto_key_name,
    )


def operation_message(operation: Operation, response: Any | None) -> Any:
    """An Operation; `response` is the message of the workflow it has made or changed."""
    from google.protobuf.empty_pb2 import Empty
    from google.rpc import code_pb2

    message = message_type(OPERATIONS, "Operation")(name=operation.name, done=True)
    metadata = message_type(WORKFLOWS, "OperationMetadata")(
        create_time=_timestamp(operation.create_time),
        end_time=_timestamp(operation.end_time),
        target=operation.target,
        verb=operation.verb,
        api_version="v1",
    )
    message.metadata.Pack(metadata)
    if operation.error:
        message.error.code = code_pb2.INVALID_ARGUMENT
        message.error.message = operation.error
    else:
        message.response.Pack(Empty() if response is None else response)
    return message


def callback_json(endpoint: Endpoint, execution: str) -> dict[str, Any]:
    """A Callback."""
    found: dict[str, Any] = {
        "name": f"{execution}/callbacks/{endpoint.id}",
        "method": endpoint.method,
        "waiters": str(endpoint.waiters),
    }
    if endpoint.pending:
        found["availablePayloads"] = [values.error_json(request) for request in endpoint.pending]
    return found


def as_json(message: Any) -> dict[str, Any]:
    """The JSON form of a message."""
    from google.protobuf import json_format

    content: dict[str, Any] = json_format.MessageToDict(message)
    return content


def stamp(seconds: float) -> str:
    """A time as JSON has it."""
    text: str = _timestamp(seconds).ToJsonString()
    return text


def _timestamp(seconds: float) -> Any:
    from google.protobuf.timestamp_pb2 import Timestamp

    made = Timestamp()
    made.FromMicroseconds(_micros(seconds))
    return made


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)
