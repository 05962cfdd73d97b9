"""What became of the executions of which workflow? Every change is written before it is answered."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from localcloud.context import Context
from localcloud.workflows import history
from localcloud.workflows.callbacks import Callbacks
from localcloud.workflows.definitions import Definitions, Workflow, WorkflowSpec, labels_problem
from localcloud.workflows.errors import ApiError, DeploymentError, invalid, not_found
from localcloud.workflows.executions import (
    Execution,
    ExecutionError,
    check_argument,
    message_only,
)
from localcloud.workflows.history import StepEntry
from localcloud.workflows.http import HttpClient
from localcloud.workflows.operations import Operation, Operations
from localcloud.workflows.records import Records

if TYPE_CHECKING:
    from localcloud.workflows.observe import StepObserver
    from localcloud.workflows.running import Live

__all__ = ["Execution", "ExecutionError", "Workflow", "WorkflowSpec", "Workflows"]

_EXECUTION = re.compile(r"(projects/[^/]+/locations/[^/]+/workflows/[^/]+)/executions/([^/]+)")

log = logging.getLogger(__name__)


class Workflows:
    """The workflows of one project and location. Belongs to one event loop."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.http = HttpClient(context)
        self.definitions = Definitions(context)
        self.operations = Operations(context, self.definitions.parent)
        self.records = Records(context.store)
        # Who is told the steps of an execution, in place of its step entries.
        self.watch: Callable[[Execution], StepObserver | None] | None = None
        self._live: dict[str, Live] = {}
        self._stopped = False

    async def start(self) -> None:
        """Go on with the executions that were active when the process died."""
        self.records.start(self.context.clock.time())
        for key in self.records.active():
            execution = self.records.get(key)
            if execution is not None and execution.name not in self._live:
                self._launch(execution)

    async def stop(self) -> None:
        """Stop here and now; active executions, also those created from now on, stay active for the next start."""
        self._stopped = True
        tasks = [live.task for live in self._live.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._live.clear()
        await self.http.close()

    def active(self) -> list[Execution]:
        """The executions that run, in the order they were started here."""
        return [self.get(name) for name in self._live]

    def is_idle(self) -> bool:
        """No execution is active."""
        return not self._live

    def steps(self) -> int:
        """How many steps the active executions have taken."""
        return sum(live.run.steps for live in self._live.values())

    def awaits_callers(self) -> bool:
        """An active execution waits for a callback."""
        return any(live.callbacks.waiters() for live in self._live.values())

    # Workflows

    def deploy(self, spec: WorkflowSpec) -> Workflow:
        """Make `spec` what its workflow is, in a new revision if need be; the same spec again changes nothing.

        Raises:
            DeploymentError: the source or a setting cannot be deployed.
        """
        return self.definitions.deploy(spec, self.records.uses)

    def change(self, verb: str, spec: WorkflowSpec) -> Operation:
        """Deploy as an operation of the API, which fails where the source cannot be built."""
        target = self.resource_name(spec.name)
        with self.context.store.transaction():
            try:
                return self.operations.add(verb, target, workflow=self.deploy(spec))
            except DeploymentError as error:
                return self.operations.add(verb, target, error=str(error))

    def delete(self, resource: str) -> Operation:
        """Forget a workflow; its executions are cancelled and deleted. Raises ApiError NOT_FOUND."""
        workflow = self.definitions.get(resource)
        with self.context.store.transaction():
            for key in self.records.active(workflow.name):
                self.cancel(f"{resource}/executions/{key.rpartition('/')[2]}")
            self.records.delete_all(workflow.name)
            self.definitions.delete(workflow.name)
            return self.operations.add("delete", resource)

    def workflow(self, name: str) -> Workflow:
        """A deployed workflow by its resource name. Raises ApiError NOT_FOUND."""
        return self.definitions.get(name)

    def workflows(self) -> list[Workflow]:
        """All deployed workflows, by name."""
        return self.definitions.all()

    def resource_name(self, workflow: str) -> str:
        """The resource name of a workflow."""
        return self.definitions.resource_name(workflow)

    # Executions

    def create_execution(
        self,
        parent: str,
        argument: str | None = None,
        labels: Mapping[str, str] | None = None,
        call_log_level: int = 0,
        history_level: int = 0,
    ) -> Execution:
        """Start an execution with a JSON argument; it is stored before this returns.

        Raises:
            ApiError: NOT_FOUND, or INVALID_ARGUMENT for an argument that is too large or not JSON.
        """
        workflow = self.workflow(parent)
        check_argument(argument)
        if problem := labels_problem(labels or {}):
            raise invalid(problem)
        self.records.prune(self.context.clock.time())
        spec = workflow.spec
        execution = Execution(
            name=f"{parent}/executions/{uuid.uuid4()}",
            workflow=workflow.name,
            revision=workflow.revision,
            create_time=self.context.clock.time(),
            argument=argument or None,
            labels={**spec.labels, **(labels or {})},
            call_log_level=call_log_level or spec.call_log_level,
            history_level=history_level or spec.history_level,
        )
        with self.context.store.transaction():
            self.records.begin(execution)
        self._launch(execution)
        self.context.activity.emit("workflows", execution.workflow, "started", ref=execution.id)
        return execution

    def get(self, name: str) -> Execution:
        """An execution by its resource name. Raises ApiError NOT_FOUND."""
        self.records.prune(self.context.clock.time())
        execution = self.records.get(self._execution_key(name))
        if execution is None:
            raise not_found(f"execution {name}")
        return self._now(execution)

    def newest(self, parent: str, mark: str = "") -> Iterator[tuple[str, Execution]]:
        """The executions of a workflow behind a mark, the latest first, each with its own mark.

        They are read as they are asked for. Raises ApiError NOT_FOUND.
        """
        self.records.prune(self.context.clock.time())
        workflow = self.workflow(parent)
        return ((found, self._now(execution)) for found, execution in self.records.newest(workflow.name, mark))

    def _now(self, execution: Execution) -> Execution:
        """The execution with the step it is at."""
        live = self._live.get(execution.name)
        if live is not None and execution.state == "ACTIVE":
            return msgspec.structs.replace(execution, current=live.run.current)
        return execution

    def cancel(self, name: str) -> Execution:
        """End an active execution; it stops at its next wait. Raises ApiError NOT_FOUND, FAILED_PRECONDITION."""
        execution = self.get(name)
        if execution.state != "ACTIVE":
            raise ApiError("FAILED_PRECONDITION", f"execution {name} is {execution.state}, not ACTIVE")
        ended = self._end(execution, state="CANCELLED", error=message_only("Execution was cancelled."))
        if name in self._live:
            self._live.pop(name).task.cancel()
        return ended

    async def finished(self, name: str) -> None:
        """Return once the execution is not active any more."""
        if name in self._live:
            await asyncio.wait([self._live[name].task])

    def callbacks(self, name: str) -> Callbacks | None:
        """The callback endpoints of an execution, as long as it is active."""
        live = self._live.get(name)
        return None if live is None else live.callbacks

    def step_entries(self, name: str) -> Sequence[StepEntry]:
        """The steps that an execution has taken. Raises ApiError NOT_FOUND."""
        execution = self.get(name)
        live = self._live.get(name)
        if live is not None:
            return live.recorder.entries() if live.recorder is not None else []
        row = self.records.steps(execution.key)
        return [] if row is None else history.load(row)

    def delete_history(self, name: str) -> None:
        """Forget the step entries of an execution. Raises ApiError NOT_FOUND, FAILED_PRECONDITION."""
        execution = self.get(name)
        if execution.state == "ACTIVE":
            raise ApiError(
                "FAILED_PRECONDITION", f"execution {name} is ACTIVE; its history can be deleted once it ended"
            )
        self.records.delete_steps(execution.key)

    def _execution_key(self, name: str) -> str:
        match = _EXECUTION.fullmatch(name)
        if match is None:
            raise invalid(
                f"{name[:200]!r} is not an execution; expected projects/*/locations/*/workflows/*/executions/*"
            )
        return f"{self.definitions.short_name(match.group(1))}/{match.group(2)}"

    # Running

    def _launch(self, execution: Execution) -> None:
        if self._stopped:
            return
        from localcloud.workflows import running  # the engine, once there is something to run

        try:
            live = running.prepared(execution, self.context, self.definitions, self.http, self.watch)
        except Exception as error:
            if not isinstance(error, DeploymentError):
                log.exception("execution %s could not go on", execution.name)
            self._end(execution, state="FAILED", error=message_only(running.lost(str(error))))
            return
        self._live[execution.name] = live
        live.task = asyncio.get_running_loop().create_task(self._drive(execution, live))

    async def _drive(self, execution: Execution, live: Live) -> None:
        from localcloud.workflows.running import outcome

        found = await outcome(execution, live.run)
        execution = msgspec.structs.replace(execution, current=live.run.current)
        try:
            self._end(execution, **found)
        except Exception as error:
            log.exception("the end of execution %s could not be stored", execution.name)
            reason = f"The execution ended as {found['state']}, which could not be stored: {_printable(error)}"
            live.recorder = None  # its entries may be what could not be stored
            self._end(execution, state="FAILED", error=message_only(reason))
        finally:
            self._live.pop(execution.name, None)

    def _end(self, execution: Execution, **outcome: Any) -> Execution:
        now = self.context.clock.time()
        ended = msgspec.structs.replace(execution, end_time=now, **outcome)
        live = self._live.get(execution.name)
        with self.context.store.transaction():
            steps = None
            if live is not None:
                live.run.journal.close()
                steps = None if live.recorder is None else live.recorder.stored(now)
            self.records.end(ended, steps)
        self._tell(ended)
        return ended

    def _tell(self, ended: Execution) -> None:
        context = ended.error.context if ended.error else ""
        self.context.activity.emit(
            "workflows", ended.workflow, ended.state.lower(), "%s", context[:500],
            level="error" if ended.state == "FAILED" else "info", ref=ended.id,
        )  # fmt: skip
        reason = f": {context}" if context else ""
        log.info("execution %s ended as %s%s", ended.name, ended.state, reason, extra={"execution": ended.name})


def _printable(error: Exception) -> str:
    """What went wrong, in text that can be stored whatever was in the value at fault."""
    return f"{type(error).__name__}: {error}"[:500].encode(errors="backslashreplace").decode()
