"""What does the wire call our records? Protocol buffers of the client library, and their JSON form."""

from __future__ import annotations

from typing import Any

from google.cloud import workflows_v1
from google.cloud.workflows import executions_v1
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from localcloud.workflows.state import Execution, Workflow

BASIC, FULL = int(executions_v1.ExecutionView.BASIC), int(executions_v1.ExecutionView.FULL)


def execution_message(execution: Execution, view: int) -> Any:
    """An Execution. The basic view has its name, times, state and revision."""
    kind = executions_v1.Execution
    message = kind.pb()(
        name=execution.name,
        start_time=_timestamp(execution.create_time),
        state=kind.State.__members__[execution.state],
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
    """An Execution as JSON, which has a field that the client library's message lacks."""
    created = _timestamp(execution.create_time).ToJsonString()
    return {**as_json(execution_message(execution, view)), "createTime": created}


def workflow_message(workflow: Workflow, name: str, service_account: str) -> Any:
    """A Workflow under its resource name."""
    kind = workflows_v1.Workflow
    return kind.pb()(
        name=name,
        state=kind.State.ACTIVE,
        revision_id=workflow.revision,
        create_time=_timestamp(workflow.create_time),
        update_time=_timestamp(workflow.update_time),
        revision_create_time=_timestamp(workflow.update_time),
        source_contents=workflow.spec.source,
        service_account=service_account,
        user_env_vars=workflow.spec.env,
    )


def as_json(message: Any) -> dict[str, Any]:
    """The JSON form of a message."""
    content: dict[str, Any] = json_format.MessageToDict(message)
    return content


def _timestamp(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(_micros(seconds))
    return stamp


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)
