"""`experimental.executions`, superseded by the connector.

https://cloud.google.com/workflows/docs/reference/stdlib/experimental.executions/run
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from localcloud.workflows import choices, connectors
from localcloud.workflows.functions import blocking, expect
from localcloud.workflows.thread import Thread
from localcloud.workflows.values import Value


@blocking("experimental.executions.run")
async def _run(
    thread: Thread, workflow_id: Value, project_id: Value = None, location: Value = None, argument: Value = None
) -> Value:
    return await connectors.run_execution(thread, workflow_id, location, project_id, argument)


@blocking("experimental.executions.map")
async def _map(
    thread: Thread, workflow_id: Value, arguments: Value, project_id: Value = None, location: Value = None
) -> Value:
    def run(argument: Value) -> Callable[[], Awaitable[Value]]:
        return lambda: connectors.run_execution(thread, workflow_id, location, project_id, argument)

    return await choices.run_in_order([run(argument) for argument in expect(arguments, list, "arguments")])
