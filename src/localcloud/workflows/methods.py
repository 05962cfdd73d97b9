"""What does each method of the Workflows and Workflow Executions APIs do? One function a method.

It takes the request as the wire has it (a message of the client library, or a struct where the library lacks one) and
gives records, or JSON of what only JSON has.
https://cloud.google.com/workflows/docs/reference/rest https://cloud.google.com/workflows/docs/reference/executions/rest
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from localcloud.workflows import history
from localcloud.workflows.definitions import Workflow
from localcloud.workflows.errors import invalid, not_found
from localcloud.workflows.executions import Execution
from localcloud.workflows.history import StepEntry
from localcloud.workflows.listing import Page
from localcloud.workflows.lists import (
    CALLBACKS,
    EXECUTIONS,
    MAX_FULL_PAGE,
    OPERATIONS,
    REVISIONS,
    STEP_ENTRIES,
    WORKFLOWS,
)
from localcloud.workflows.messages import (
    BASIC,
    FULL,
    HISTORY_LEVELS,
    callback_json,
    execution_json,
    stamp,
)
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
class Shown:
    """An execution and how much of it is wanted."""

    execution: Execution
    view: int


# Executions


def create_execution(workflows: Workflows, request: Any, extras: Extras | None = None) -> Shown:
    """Start an execution."""
    level = "EXECUTION_HISTORY_LEVEL_UNSPECIFIED" if extras is None else extras.execution_history_level
    if level not in HISTORY_LEVELS:
        raise invalid(f"execution_history_level {level[:80]!r} is not one of {', '.join(HISTORY_LEVELS)}")
    wanted = request.execution
    execution = workflows.create_execution(
        request.parent, wanted.argument, wanted.labels, wanted.call_log_level, HISTORY_LEVELS[level]
    )
    return Shown(execution, FULL)


def get_execution(workflows: Workflows, request: Any) -> Shown:
    """An execution."""
    return Shown(workflows.get(request.name), request.view or FULL)


def list_executions(workflows: Workflows, request: Any) -> tuple[Page[Execution], int]:
    """The executions of a workflow."""
    view = request.view or BASIC
    most = None if view == BASIC else MAX_FULL_PAGE
    newest = partial(workflows.newest, request.parent)
    if not request.filter and not request.order_by:
        size, token = request.page_size, request.page_token
        return EXECUTIONS.next_page(request.parent, newest, size=size, token=token, most=most), view
    page = EXECUTIONS.page(
        [execution for _, execution in newest()],
        filter_text=request.filter,
        order_by=request.order_by,
        size=request.page_size,
        token=request.page_token,
        most=most,
    )
    return page, view


def cancel_execution(workflows: Workflows, request: Any) -> Shown:
    """Cancel an execution."""
    return Shown(workflows.cancel(request.name), FULL)


def export_data(workflows: Workflows, request: NameRequest) -> dict[str, Any]:
    """Everything that is stored about an execution."""
    execution = workflows.get(request.name)
    entries = workflows.step_entries(request.name)
    data = {"execution": execution_json(execution, FULL), "stepEntries": [_entry(execution, each) for each in entries]}
    return {"data": json.dumps(data, ensure_ascii=False)}


def delete_history(workflows: Workflows, request: NameRequest) -> dict[str, Any]:
    """Delete an execution's step entries."""
    workflows.delete_history(request.name)
    return {}


def trigger(workflows: Workflows, request: TriggerRequest) -> Shown:
    """Start an execution with the event that a Pub/Sub push carries."""
    argument = json.dumps(_event(request), ensure_ascii=False)
    return Shown(workflows.create_execution(request.workflow, argument), FULL)


def _event(request: TriggerRequest) -> dict[str, Any]:
    """The CloudEvent: the one that Eventarc has put into the attributes, else that of a published message."""
    message = request.message
    try:
        data = base64.b64decode(message.data, validate=True)
    except ValueError as error:
        raise invalid("message.data is not base64") from error
    given = {name[3:]: value for name, value in message.attributes.items() if name.startswith("ce-")}
    if {"id", "source", "type"} <= given.keys():
        try:
            return {"specversion": "1.0", **given, "data": json.loads(data or b"null")}
        except ValueError as error:
            raise invalid("message.data is not JSON, although its attributes are those of a CloudEvent") from error
    sent = {
        "data": message.data,
        "attributes": message.attributes,
        "messageId": message.message_id,
        "publishTime": message.publish_time,
    }
    return {
        "specversion": "1.0",
        "type": "google.cloud.pubsub.topic.v1.messagePublished",
        "source": f"//pubsub.googleapis.com/{request.subscription}",
        "id": message.message_id,
        "time": message.publish_time,
        "datacontenttype": "application/json",
        "data": {
            "message": {name: value for name, value in sent.items() if value},
            "subscription": request.subscription,
        },
    }


def list_callbacks(workflows: Workflows, request: ListCallbacksRequest) -> dict[str, Any]:
    """The callback endpoints of an execution."""
    workflows.get(request.parent)
    live = workflows.callbacks(request.parent)
    page = CALLBACKS.page([] if live is None else live.endpoints(), size=request.page_size, token=request.page_token)
    return page_json("callbacks", [callback_json(each, request.parent) for each in page.items], page)


def get_step_entry(workflows: Workflows, request: StepEntryRequest) -> dict[str, Any]:
    """A step entry."""
    name, _, number = request.name.rpartition("/stepEntries/")
    execution = workflows.get(name)
    entries = workflows.step_entries(name)
    if not re.fullmatch(r"[1-9]\d{0,8}", number) or int(number) > len(entries):
        raise not_found(f"step entry {request.name}")
    return _entry(execution, entries[int(number) - 1])


def list_step_entries(workflows: Workflows, request: ListStepEntriesRequest) -> dict[str, Any]:
    """The step entries of an execution."""
    execution = workflows.get(request.parent)
    page = STEP_ENTRIES.page(
        workflows.step_entries(request.parent),
        filter_text=request.filter,
        order_by=request.order_by,
        size=request.page_size,
        token=request.page_token,
        skip=request.skip,
    )
    found = page_json("stepEntries", [_entry(execution, each) for each in page.items], page)
    return {**found, "totalSize": page.total} if page.total else found


def _entry(execution: Execution, entry: StepEntry) -> dict[str, Any]:
    detailed = execution.history_level == HISTORY_LEVELS["EXECUTION_HISTORY_DETAILED"]
    return history.as_json(entry, execution.name, detailed=detailed, stamp=stamp)


# Workflows

# Fields of a Workflow that may be set, and those of the spec.
_SETTABLE = {
    "description": "description",
    "labels": "labels",
    "service_account": "service_account",
    "source_contents": "source",
    "crypto_key_name": "crypto_key_name",
    "call_log_level": "call_log_level",
    "user_env_vars": "env",
    "execution_history_level": "history_level",
}


def create_workflow(workflows: Workflows, request: Any) -> Operation:
    """Deploy a workflow."""
    _check_location(workflows, request.parent)
    spec = workflows.definitions.created(request.workflow_id, _settings(request.workflow))
    return workflows.change("create", spec)


def get_workflow(workflows: Workflows, request: Any) -> Workflow:
    """A workflow, in its latest or a given revision."""
    return workflows.definitions.get(request.name, request.revision_id)


def list_workflows(workflows: Workflows, request: Any) -> Page[Workflow]:
    """The workflows of a location."""
    here = request.parent == workflows.definitions.parent
    return WORKFLOWS.page(
        workflows.definitions.all() if here else [],
        filter_text=request.filter,
        order_by=request.order_by,
        size=request.page_size,
        token=request.page_token,
    )


def update_workflow(workflows: Workflows, request: Any) -> Operation:
    """Change a workflow; what its revisions hold makes a new one."""
    paths = list(request.update_mask.paths)
    if not paths or paths == ["*"]:
        paths = list(_SETTABLE)
    if unknown := [path for path in paths if path not in _SETTABLE]:
        raise invalid(f"update_mask: {unknown[0][:80]!r} is not one of {', '.join(_SETTABLE)}")
    settings = _settings(request.workflow)
    changes = [_SETTABLE[path] for path in paths]
    return workflows.change("update", workflows.definitions.updated(request.workflow.name, settings, changes))


def delete_workflow(workflows: Workflows, request: Any) -> Operation:
    """Delete a workflow and its executions."""
    return workflows.delete(request.name)


def list_revisions(workflows: Workflows, request: Any) -> Page[Workflow]:
    """The revisions of a workflow, the latest first."""
    name = workflows.workflow(request.name).name
    return REVISIONS.page(workflows.definitions.revisions(name), size=request.page_size, token=request.page_token)


def _settings(message: Any) -> dict[str, Any]:
    found = {setting: getattr(message, path) for path, setting in _SETTABLE.items()}
    return {**found, "labels": dict(message.labels), "env": dict(message.user_env_vars)}


def _check_location(workflows: Workflows, parent: str) -> None:
    if parent != workflows.definitions.parent:
        raise not_found(f"location {parent}")


# Operations


def get_operation(workflows: Workflows, request: Any) -> Operation:
    """An operation."""
    return workflows.operations.get(request.name)


def list_operations(workflows: Workflows, request: Any) -> Page[Operation]:
    """The operations of a location, the latest first."""
    here = request.name == workflows.definitions.parent
    return OPERATIONS.page(
        workflows.operations.all() if here else [],
        filter_text=request.filter,
        size=request.page_size,
        token=request.page_token,
    )


def delete_operation(workflows: Workflows, request: Any) -> None:
    """Forget an operation."""
    workflows.operations.delete(request.name)


def page_json(name: str, items: Sequence[Any], page: Page[Any]) -> dict[str, Any]:
    """A page of a list as JSON."""
    return {key: value for key, value in {name: list(items), "nextPageToken": page.next_token}.items() if value}
