"""By which fields are executions, steps, workflows and the rest filtered and ordered, and how large are their pages?

The discovery documents of both APIs say it.
"""

from __future__ import annotations

from localcloud.workflows.callbacks import Endpoint
from localcloud.workflows.definitions import Workflow
from localcloud.workflows.executions import Execution
from localcloud.workflows.filters import Field, Fields, moment, seconds
from localcloud.workflows.history import StepEntry
from localcloud.workflows.listing import Listing
from localcloud.workflows.operations import Operation

MAX_FULL_PAGE = 100  # of executions with all their fields

EXECUTIONS: Listing[Execution] = Listing(
    Fields(
        {
            "executionId": Field(lambda each: each.id),
            "state": Field(lambda each: each.state),
            "createTime": Field(lambda each: each.create_time, moment),
            "startTime": Field(lambda each: each.create_time, moment),
            "endTime": Field(lambda each: each.end_time, moment),
            "duration": Field(lambda each: each.duration, seconds),
            "workflowRevisionId": Field(lambda each: each.revision),
            "stepName": Field(lambda each: each.current[1] if each.current else None),
        },
        labels=lambda each: each.labels,
    ),
    order=("executionId", "state", "createTime", "startTime", "endTime", "duration", "workflowRevisionId"),
    key=lambda each: each.id,
    default=100,
    most=1000,
)
STEP_ENTRIES: Listing[StepEntry] = Listing(
    Fields(
        {
            "entryId": Field(lambda each: each.number, int),
            "createTime": Field(lambda each: each.row.created, moment),
            "updateTime": Field(lambda each: each.row.updated, moment),
            "routine": Field(lambda each: each.row.routine),
            "step": Field(lambda each: each.row.step),
            "stepType": Field(lambda each: each.row.kind),
            "parent": Field(lambda each: each.parent, int),
            # The documentation's example has SUCCEEDED, the resource STATE_SUCCEEDED.
            "state": Field(lambda each: each.row.state, lambda text: text if text[:6] == "STATE_" else f"STATE_{text}"),
        }
    ),
    order=("entryId", "createTime", "updateTime", "routine", "step", "stepType", "state"),
    key=lambda each: str(each.number),
    default=1000,
    most=1000,
)
WORKFLOWS: Listing[Workflow] = Listing(
    Fields(
        {
            "name": Field(lambda each: each.name),
            "state": Field(lambda each: "ACTIVE"),
            "revisionId": Field(lambda each: each.revision),
            "createTime": Field(lambda each: each.create_time, moment),
            "updateTime": Field(lambda each: each.update_time, moment),
            "revisionCreateTime": Field(lambda each: each.revision_create_time, moment),
            "serviceAccount": Field(lambda each: each.spec.service_account),
            "description": Field(lambda each: each.spec.description),
        },
        labels=lambda each: each.spec.labels,
    ),
    order=("name", "state", "revisionId", "createTime", "updateTime", "revisionCreateTime"),
    key=lambda each: each.name,
    default=500,
    most=1000,
)
REVISIONS: Listing[Workflow] = Listing(Fields({}), order=(), key=lambda each: each.revision, default=20, most=100)
CALLBACKS: Listing[Endpoint] = Listing(Fields({}), order=(), key=lambda each: each.id, default=100, most=100)
OPERATIONS: Listing[Operation] = Listing(
    Fields(
        {
            "name": Field(lambda each: each.name),
            "done": Field(lambda _: "true"),
            "verb": Field(lambda each: each.verb),
            "target": Field(lambda each: each.target),
        }
    ),
    order=("name",),
    key=lambda each: each.name,
    default=100,
    most=1000,
)
