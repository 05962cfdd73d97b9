"""Which methods do the Workflows and Workflow Executions APIs have, and how do both wires show what they give?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from localcloud.workflows import methods
from localcloud.workflows.definitions import Workflow
from localcloud.workflows.executions import Execution
from localcloud.workflows.listing import Page
from localcloud.workflows.messages import (
    EXECUTIONS,
    OPERATIONS,
    WORKFLOWS,
    as_json,
    execution_json,
    execution_message,
    message_type,
    operation_message,
    workflow_message,
)
from localcloud.workflows.methods import Shown, page_json
from localcloud.workflows.operations import Operation
from localcloud.workflows.requests import (
    Extras,
    ListCallbacksRequest,
    ListStepEntriesRequest,
    NameRequest,
    StepEntryRequest,
    TriggerRequest,
)
from localcloud.workflows.state import Workflows


@dataclass(frozen=True)
class Method:
    """One method.

    `fault` is its name as a fault point. `request` names a message of the service of `rpc`, or is a struct where there
    is none. `path` is the REST path, in which `{name}` and `{parent}` stand for what is before; `body` names the field
    that the HTTP body is, `*` for all. `extras` are fields of the body apart from the message.
    """

    fault: str
    verb: str
    path: str
    request: str | type[msgspec.Struct]
    call: Callable[..., Any]
    json: Callable[[Workflows, Any], dict[str, Any]]
    rpc: tuple[str, str] | None = None  # service and method
    message: Callable[[Workflows, Any], Any] | None = None
    body: str = ""
    extras: type[Extras] | None = None

    @property
    def kind(self) -> Any:
        """The class of its request."""
        if isinstance(self.request, str):
            assert self.rpc is not None  # noqa: S101  # only what the client library can call has a message
            return message_type(self.rpc[0], self.request)
        return self.request


def _execution_message(_: Workflows, shown: Shown) -> Any:
    return execution_message(shown.execution, shown.view)


def _execution_json(_: Workflows, shown: Shown) -> dict[str, Any]:
    return execution_json(shown.execution, shown.view)


def _executions_message(_: Workflows, answer: tuple[Page[Execution], int]) -> Any:
    page, view = answer
    messages = [execution_message(each, view) for each in page.items]
    return message_type(EXECUTIONS, "ListExecutionsResponse")(executions=messages, next_page_token=page.next_token)


def _executions_json(_: Workflows, answer: tuple[Page[Execution], int]) -> dict[str, Any]:
    page, view = answer
    return page_json("executions", [execution_json(each, view) for each in page.items], page)


def _workflow_message(workflows: Workflows, workflow: Workflow, *, source: bool = True) -> Any:
    account = workflows.definitions.account(workflow)
    return workflow_message(workflow, workflows.resource_name(workflow.name), account, source=source)


def _workflows_message(workflows: Workflows, page: Page[Workflow]) -> Any:
    messages = [_workflow_message(workflows, each, source=False) for each in page.items]
    return message_type(WORKFLOWS, "ListWorkflowsResponse")(workflows=messages, next_page_token=page.next_token)


def _revisions_message(workflows: Workflows, page: Page[Workflow]) -> Any:
    messages = [_workflow_message(workflows, each) for each in page.items]
    return message_type(WORKFLOWS, "ListWorkflowRevisionsResponse")(workflows=messages, next_page_token=page.next_token)


def _operation_message(workflows: Workflows, operation: Operation) -> Any:
    made = None if operation.workflow is None else _workflow_message(workflows, operation.workflow)
    return operation_message(operation, made)


def _operations_message(workflows: Workflows, page: Page[Operation]) -> Any:
    messages = [_operation_message(workflows, each) for each in page.items]
    return message_type(OPERATIONS, "ListOperationsResponse")(operations=messages, next_page_token=page.next_token)


def _nothing(_: Workflows, __: None) -> Any:
    from google.protobuf.empty_pb2 import Empty

    return Empty()


def _plain(_: Workflows, answer: dict[str, Any]) -> dict[str, Any]:
    return answer


def _of(message: Callable[[Workflows, Any], Any]) -> Callable[[Workflows, Any], dict[str, Any]]:
    """The JSON form of a message."""
    return lambda workflows, record: as_json(message(workflows, record))


_LOCATION = "projects/*/locations/*"
_FLOW = f"{_LOCATION}/workflows/*"
_EXECUTION = f"{_FLOW}/executions/*"

METHODS: Sequence[Method] = (
    Method("executions.create", "POST", f"{{parent={_FLOW}}}/executions", "CreateExecutionRequest",
           methods.create_execution, _execution_json, (EXECUTIONS, "CreateExecution"), _execution_message,
           body="execution", extras=Extras),
    Method("executions.get", "GET", f"{{name={_EXECUTION}}}", "GetExecutionRequest", methods.get_execution,
           _execution_json, (EXECUTIONS, "GetExecution"), _execution_message),
    Method("executions.list", "GET", f"{{parent={_FLOW}}}/executions", "ListExecutionsRequest",
           methods.list_executions, _executions_json, (EXECUTIONS, "ListExecutions"), _executions_message),
    Method("executions.cancel", "POST", f"{{name={_EXECUTION}}}:cancel", "CancelExecutionRequest",
           methods.cancel_execution, _execution_json, (EXECUTIONS, "CancelExecution"), _execution_message,
           body="*"),
    Method("executions.exportData", "GET", f"{{name={_EXECUTION}}}:exportData", NameRequest, methods.export_data,
           _plain),
    Method("executions.deleteExecutionHistory", "POST", f"{{name={_EXECUTION}}}:deleteExecutionHistory", NameRequest,
           methods.delete_history, _plain, body="*"),
    Method("executions.trigger", "POST", f"{{workflow={_FLOW}}}:triggerPubsubExecution", TriggerRequest,
           methods.trigger, _execution_json, body="*"),
    Method("callbacks.list", "GET", f"{{parent={_EXECUTION}}}/callbacks", ListCallbacksRequest,
           methods.list_callbacks, _plain),
    Method("stepEntries.get", "GET", f"{{name={_EXECUTION}/stepEntries/*}}", StepEntryRequest,
           methods.get_step_entry, _plain),
    Method("stepEntries.list", "GET", f"{{parent={_EXECUTION}}}/stepEntries", ListStepEntriesRequest,
           methods.list_step_entries, _plain),
    Method("workflows.create", "POST", f"{{parent={_LOCATION}}}/workflows", "CreateWorkflowRequest",
           methods.create_workflow, _of(_operation_message), (WORKFLOWS, "CreateWorkflow"),
           _operation_message, body="workflow"),
    Method("workflows.get", "GET", f"{{name={_FLOW}}}", "GetWorkflowRequest", methods.get_workflow,
           _of(_workflow_message), (WORKFLOWS, "GetWorkflow"), _workflow_message),
    Method("workflows.list", "GET", f"{{parent={_LOCATION}}}/workflows", "ListWorkflowsRequest",
           methods.list_workflows, _of(_workflows_message), (WORKFLOWS, "ListWorkflows"),
           _workflows_message),
    Method("workflows.patch", "PATCH", f"{{workflow.name={_FLOW}}}", "UpdateWorkflowRequest",
           methods.update_workflow, _of(_operation_message), (WORKFLOWS, "UpdateWorkflow"),
           _operation_message, body="workflow"),
    Method("workflows.delete", "DELETE", f"{{name={_FLOW}}}", "DeleteWorkflowRequest", methods.delete_workflow,
           _of(_operation_message), (WORKFLOWS, "DeleteWorkflow"), _operation_message),
    Method("workflows.listRevisions", "GET", f"{{name={_FLOW}}}:listRevisions", "ListWorkflowRevisionsRequest",
           methods.list_revisions, _of(_revisions_message), (WORKFLOWS, "ListWorkflowRevisions"),
           _revisions_message),
    Method("operations.get", "GET", f"{{name={_LOCATION}/operations/*}}", "GetOperationRequest",
           methods.get_operation, _of(_operation_message), (OPERATIONS, "GetOperation"),
           _operation_message),
    Method("operations.list", "GET", f"{{name={_LOCATION}}}/operations", "ListOperationsRequest",
           methods.list_operations, _of(_operations_message), (OPERATIONS, "ListOperations"),
           _operations_message),
    Method("operations.delete", "DELETE", f"{{name={_LOCATION}/operations/*}}", "DeleteOperationRequest",
           methods.delete_operation, _of(_nothing), (OPERATIONS, "DeleteOperation"), _nothing),
    Method("operations.wait", "POST", "", "WaitOperationRequest", methods.get_operation, _of(_operation_message),
           (OPERATIONS, "WaitOperation"), _operation_message),
)  # fmt: skip
