"""Which workflows are deployed, and how did their executions go?"""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec

from localcloud.workflows.history import IN_PROGRESS, StepEntry
from localcloud.workflows.state import Execution, Workflow, Workflows

SHOWN_CHARACTERS = 16_384  # of an argument or a result


class WorkflowView(msgspec.Struct):
    """A deployed workflow. Times are virtual, in seconds since the epoch."""

    name: str
    revision: str
    updated: float
    env: dict[str, str]
    source: str


class ExecutionView(msgspec.Struct):
    """An execution in a list. `current` is routine and step that runs, or ran last."""

    id: str
    workflow: str
    state: str
    started: float
    ended: float | None
    revision: str
    current: tuple[str, str] | None
    labels: dict[str, str]


class ExecutionDetail(ExecutionView):
    """An execution; `argument`, `result` and `error` are JSON texts, cut where they are long."""

    argument: str
    result: str
    error: str
    error_context: str
    trace: list[dict[str, Any]]


class StepView(msgspec.Struct):
    """A step of an execution, or a part of one. Times are virtual; `part` counts it among its siblings."""

    number: int
    depth: int  # how many steps and parts are around it
    routine: str
    step: str
    kind: str
    state: str
    started: float
    ended: float | None
    part: str
    error: str


class StepsView(msgspec.Struct):
    """How many steps are kept of an execution, and the latest of them."""

    total: int
    steps: list[StepView]


def workflows(state: Workflows) -> list[WorkflowView]:
    """All workflows by name."""
    return [_workflow(each) for each in state.workflows()]


def executions(state: Workflows, workflow: str, limit: int) -> list[ExecutionView]:
    """The latest executions of a workflow, newest first. Raises ApiError NOT_FOUND."""
    latest = islice(state.newest(state.resource_name(workflow)), limit)
    return [ExecutionView(**_common(each)) for _, each in latest]


def active(state: Workflows) -> list[ExecutionView]:
    """The executions that run now."""
    return [ExecutionView(**_common(each)) for each in state.active()]


def execution(state: Workflows, workflow: str, id_: str) -> ExecutionDetail:
    """One execution. Raises ApiError NOT_FOUND."""
    found = state.get(f"{state.resource_name(workflow)}/executions/{id_}")
    error = found.error
    return ExecutionDetail(
        **_common(found),
        argument=(found.argument or "")[:SHOWN_CHARACTERS],
        result=(found.result or "")[:SHOWN_CHARACTERS],
        error=error.payload[:SHOWN_CHARACTERS] if error else "",
        error_context=error.context[:SHOWN_CHARACTERS] if error else "",
        trace=error.trace if error else [],
    )


def steps(state: Workflows, workflow: str, id_: str, limit: int) -> StepsView:
    """The latest steps of an execution, in the order they began. Raises ApiError NOT_FOUND."""
    entries = state.step_entries(f"{state.resource_name(workflow)}/executions/{id_}")
    depths: list[int] = []
    for entry in entries:  # a parent comes before what is in it
        depths.append(0 if entry.parent is None else depths[entry.parent - 1] + 1)
    latest = list(zip(entries, depths, strict=True))[-limit:]
    return StepsView(len(entries), [_step(entry, depth) for entry, depth in latest])


def cancel(state: Workflows, workflow: str, id_: str) -> None:
    """End an active execution. Raises ApiError NOT_FOUND, FAILED_PRECONDITION."""
    state.cancel(f"{state.resource_name(workflow)}/executions/{id_}")


def _workflow(workflow: Workflow) -> WorkflowView:
    return WorkflowView(
        name=workflow.name,
        revision=workflow.revision,
        updated=workflow.update_time,
        env=dict(workflow.spec.env),
        source=workflow.spec.source,
    )


def _step(entry: StepEntry, depth: int) -> StepView:
    row = entry.row
    kind = row.kind.removeprefix("STEP_").lower().replace("_", " ")
    of = f" of {row.expected}" if row.expected else ""
    return StepView(
        number=entry.number,
        depth=depth,
        routine=row.routine,
        step=row.step,
        kind="steps" if kind == "type unspecified" else kind,
        state=row.state.removeprefix("STATE_"),
        started=row.created,
        ended=None if row.state == IN_PROGRESS else row.updated,
        part="" if row.count is None else f"{row.count}{of}",
        error=(row.exception or "")[:SHOWN_CHARACTERS],
    )


def _common(execution: Execution) -> dict[str, Any]:
    return {
        "id": execution.id,
        "workflow": execution.workflow,
        "state": execution.state,
        "started": execution.create_time,
        "ended": execution.end_time,
        "revision": execution.revision,
        "current": execution.current,
        "labels": execution.labels,
    }
