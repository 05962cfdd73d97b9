"""Which workflows are deployed, and what became of their executions? Every change is written before it is answered."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from localcloud.context import Context
from localcloud.workflows import values
from localcloud.workflows.callbacks import Callbacks
from localcloud.workflows.compiler import compile_source
from localcloud.workflows.engine import execute
from localcloud.workflows.errors import (
    ApiError,
    DeploymentError,
    StackFrame,
    WorkflowError,
    invalid,
    not_found,
    runtime_error,
)
from localcloud.workflows.http import HttpClient
from localcloud.workflows.journal import Journal
from localcloud.workflows.memory import MAX_MEMORY_BYTES
from localcloud.workflows.observe import StepObserver
from localcloud.workflows.program import Program
from localcloud.workflows.thread import Run
from localcloud.workflows.values import Value

if TYPE_CHECKING:
    from localcloud.identity import Identity

MAX_ARGUMENT_BYTES = 32 * 1024
MAX_ENV, MAX_ENV_BYTES = 20, 4 * 1024
_RESERVED_ENV = ("GOOGLE", "WORKFLOWS")
_WORKFLOW_NAME = re.compile(r"[A-Za-z]([-\w]{0,62}[A-Za-z0-9])?", re.ASCII)
_PARENT = re.compile(r"projects/([^/]+)/locations/([^/]+)/workflows/([^/]+)")
_EXECUTION = re.compile(r"(projects/[^/]+/locations/[^/]+/workflows/[^/]+)/executions/([^/]+)")

_WORKFLOWS, _REVISIONS = "workflows.workflows", "workflows.revisions"
_EXECUTIONS, _ACTIVE = "workflows.executions", "workflows.active"  # _ACTIVE: a marker for each that runs

log = logging.getLogger(__name__)
_user_log = logging.getLogger("localcloud.workflows.log")
_LEVELS = {
    "DEFAULT": logging.INFO, "DEBUG": logging.DEBUG, "INFO": logging.INFO, "NOTICE": logging.INFO,
    "WARNING": logging.WARNING, "ERROR": logging.ERROR, "CRITICAL": logging.CRITICAL,
    "ALERT": logging.CRITICAL, "EMERGENCY": logging.CRITICAL,
}  # fmt: skip


@dataclass(frozen=True)
class WorkflowSpec:
    """What is deployed: `source` is YAML or JSON, `env` the user environment variables."""

    name: str
    source: str
    env: Mapping[str, str] = field(default_factory=dict)
    service_account: str = "workflows"


class Workflow(msgspec.Struct, frozen=True):
    """A deployed workflow and its current revision. Times are in seconds since the epoch."""

    name: str
    revision: str
    spec: WorkflowSpec
    create_time: float
    update_time: float


class ExecutionError(msgspec.Struct, frozen=True):
    """Why an execution did not succeed. `payload` is JSON; the trace is innermost first."""

    payload: str
    context: str
    trace: list[dict[str, Any]] = []


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One execution. `argument` and `result` are JSON texts, times are in seconds since the epoch."""

    name: str
    workflow: str
    revision: str
    create_time: float
    argument: str | None = None
    state: str = "ACTIVE"  # ACTIVE, SUCCEEDED, FAILED, CANCELLED
    end_time: float | None = None
    result: str | None = None
    error: ExecutionError | None = None
    labels: dict[str, str] = {}
    call_log_level: int = 0
    current: tuple[str, str] | None = None  # routine and step that runs, or ran last

    @property
    def key(self) -> str:
        """The key of the stored document."""
        return f"{self.workflow}/{self.id}"

    @property
    def id(self) -> str:
        """The last part of the resource name."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True)
class _Tokens:
    """The tokens of one service account."""

    issuer: Identity
    email: str

    def identity(self, audience: str) -> str:
        return self.issuer.mint(audience, self.email)

    def access(self, scopes: Sequence[str]) -> str:
        return self.issuer.mint_access_token(self.email, scopes)


@dataclass
class _Live:
    run: Run
    callbacks: Callbacks
    journal: Journal
    task: asyncio.Task[None]


class Workflows:
    """The workflows of one project and location. Belongs to one event loop."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.http = HttpClient(context)
        self.watch: Callable[[Execution], StepObserver | None] = lambda _execution: (
            None
        )  # who is told an execution's steps
        self._live: dict[str, _Live] = {}
        self._stopped = False
        self._programs: dict[str, Program] = {}  # by workflow/revision

    async def start(self) -> None:
        """Go on with the executions that were active when the process died."""
        for key, _ in list(self.context.store.items(_ACTIVE)):
            execution = self._stored(key)
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

    def deploy(self, spec: WorkflowSpec) -> None:
        """Make `spec` the current revision of its workflow; the same spec again changes nothing.

        Raises:
            DeploymentError: the source or the name cannot be deployed.
        """
        _check_spec(spec)
        program = compile_source(spec.source)
        current = self._workflow(spec.name)
        if current is not None and _same(current.spec, spec):
            return
        number = 1 if current is None else int(current.revision.partition("-")[0]) + 1
        revision = f"{number:06d}-{hashlib.sha256(spec.source.encode()).hexdigest()[:3]}"
        now = self.context.clock.time()
        created = now if current is None else current.create_time
        store = self.context.store
        with store.transaction():
            row = msgspec.msgpack.encode(Workflow(spec.name, revision, spec, created, now))
            store.put(_WORKFLOWS, spec.name, row)
            store.put(_REVISIONS, f"{spec.name}/{revision}", row)
        self._programs[f"{spec.name}/{revision}"] = program

    def workflow(self, name: str) -> Workflow:
        """A deployed workflow by its resource name. Raises ApiError NOT_FOUND."""
        found = self._workflow(self._workflow_id(name))
        if found is None:
            raise not_found(f"workflow {name}")
        return found

    def workflows(self) -> list[Workflow]:
        """All deployed workflows, by name."""
        return [msgspec.msgpack.decode(row, type=Workflow) for _, row in self.context.store.items(_WORKFLOWS)]

    def resource_name(self, workflow: str) -> str:
        """The resource name of a workflow."""
        return f"projects/{self.context.project}/locations/{self.context.location}/workflows/{workflow}"

    def _workflow(self, name: str) -> Workflow | None:
        row = self.context.store.get(_WORKFLOWS, name)
        return None if row is None else msgspec.msgpack.decode(row, type=Workflow)

    def _workflow_id(self, name: str) -> str:
        match = _PARENT.fullmatch(name)
        if match is None:
            raise invalid(f"{name!r} is not a workflow; expected projects/*/locations/*/workflows/*")
        project, location, workflow = match.groups()
        if (project, location) != (self.context.project, self.context.location):
            raise not_found(f"workflow {name}")
        return workflow

    # Executions

    def create_execution(
        self,
        parent: str,
        argument: str | None = None,
        labels: Mapping[str, str] | None = None,
        call_log_level: int = 0,
    ) -> Execution:
        """Start an execution with a JSON argument; it is stored before this returns.

        Raises:
            ApiError: NOT_FOUND, or INVALID_ARGUMENT for an argument that is too large or not JSON.
        """
        workflow = self.workflow(parent)
        _check_argument(argument)
        execution = Execution(
            name=f"{parent}/executions/{uuid.uuid4()}",
            workflow=workflow.name,
            revision=workflow.revision,
            create_time=self.context.clock.time(),
            argument=argument or None,
            labels=dict(labels or {}),
            call_log_level=call_log_level,
        )
        store = self.context.store
        with store.transaction():
            self._put(execution)
            store.put(_ACTIVE, execution.key, b"")
        self._launch(execution)
        self.context.activity.emit("workflows", execution.workflow, "started", ref=execution.id)
        return execution

    def get(self, name: str) -> Execution:
        """An execution by its resource name. Raises ApiError NOT_FOUND."""
        execution = self._stored(self._execution_key(name))
        if execution is None:
            raise not_found(f"execution {name}")
        live = self._live.get(name)
        if live is not None and execution.state == "ACTIVE":
            return msgspec.structs.replace(execution, current=live.run.current)
        return execution

    def list(self, parent: str) -> list[Execution]:
        """The executions of a workflow, the latest first. Raises ApiError NOT_FOUND."""
        workflow = self.workflow(parent)
        rows = self.context.store.items(_EXECUTIONS, prefix=f"{workflow.name}/")
        executions = [msgspec.msgpack.decode(row, type=Execution) for _, row in rows]
        return sorted(executions, key=lambda each: each.create_time, reverse=True)

    def cancel(self, name: str) -> Execution:
        """End an active execution; it stops at its next wait. Raises ApiError NOT_FOUND, FAILED_PRECONDITION."""
        execution = self.get(name)
        if execution.state != "ACTIVE":
            raise ApiError("FAILED_PRECONDITION", f"execution {name} is {execution.state}, not ACTIVE")
        message = "Execution was cancelled."
        error = ExecutionError(payload=values.to_json(message), context=message)
        ended = self._end(execution, state="CANCELLED", error=error)
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

    def _execution_key(self, name: str) -> str:
        match = _EXECUTION.fullmatch(name)
        if match is None:
            raise invalid(f"{name!r} is not an execution; expected projects/*/locations/*/workflows/*/executions/*")
        return f"{self._workflow_id(match.group(1))}/{match.group(2)}"

    def _stored(self, key: str) -> Execution | None:
        row = self.context.store.get(_EXECUTIONS, key)
        return None if row is None else msgspec.msgpack.decode(row, type=Execution)

    def _put(self, execution: Execution) -> None:
        self.context.store.put(_EXECUTIONS, execution.key, msgspec.msgpack.encode(execution))

    # Running

    def _launch(self, execution: Execution) -> None:
        if self._stopped:
            return
        workflow = self._revision(execution)
        context = self.context
        callbacks = Callbacks(context, execution.name)
        journal = Journal(context.store, execution.key)
        run = Run(
            program=self._program(workflow),
            journal=journal,
            clock=context.clock,
            http=self.http,
            callbacks=callbacks,
            environment={**self._variables(workflow), **_environment(context, execution)},
            execution=execution.name,
            http_url=context.http_url,
            log=_logger(execution),
            tokens=_Tokens(context.identity, context.service_account(workflow.spec.service_account)),
            observer=self.watch(execution),
        )
        task = asyncio.get_running_loop().create_task(self._drive(execution, run))
        self._live[execution.name] = _Live(run, callbacks, journal, task)

    def _variables(self, workflow: Workflow) -> Mapping[str, str]:
        """The user environment variables of a revision.

        Those of the newest revision where only they differ: a local cloud that was restarted on other ports is deployed
        with other addresses, and the executions it goes on with must find them.
        """
        newest = self._workflow(workflow.name) or workflow
        return newest.spec.env if newest.spec.source == workflow.spec.source else workflow.spec.env

    async def _drive(self, execution: Execution, run: Run) -> None:
        try:
            argument = None if execution.argument is None else values.from_json(execution.argument)
            outcome: dict[str, Any] = {"state": "SUCCEEDED", "result": _result_text(await execute(run, argument))}
        except WorkflowError as error:
            outcome = {"state": "FAILED", "error": _failure(error)}
        except Exception as error:
            log.exception("execution %s failed inside the interpreter", execution.name)
            outcome = {"state": "FAILED", "error": _failure(runtime_error("SystemError", str(error)))}
        self._end(msgspec.structs.replace(execution, current=run.current), **outcome)
        del self._live[execution.name]

    def _end(self, execution: Execution, **outcome: Any) -> Execution:
        ended = msgspec.structs.replace(execution, end_time=self.context.clock.time(), **outcome)
        store, live = self.context.store, self._live[execution.name]
        with store.transaction():
            self._put(ended)
            store.delete(_ACTIVE, ended.key)
            live.journal.drop()
            live.callbacks.drop()
        reason = f": {ended.error.context}" if ended.error else ""
        self.context.activity.emit(
            "workflows", ended.workflow, ended.state.lower(), "%s", ended.error.context[:500] if ended.error else "",
            level="error" if ended.state == "FAILED" else "info", ref=ended.id,
        )  # fmt: skip
        log.info("execution %s ended as %s%s", ended.name, ended.state, reason, extra={"execution": ended.name})
        return ended

    def _revision(self, execution: Execution) -> Workflow:
        row = self.context.store.get(_REVISIONS, f"{execution.workflow}/{execution.revision}")
        assert row is not None, execution.name  # noqa: S101  # revisions are never deleted
        return msgspec.msgpack.decode(row, type=Workflow)

    def _program(self, workflow: Workflow) -> Program:
        key = f"{workflow.name}/{workflow.revision}"
        if key not in self._programs:
            self._programs[key] = compile_source(workflow.spec.source)
        return self._programs[key]


def _check_spec(spec: WorkflowSpec) -> None:
    if not _WORKFLOW_NAME.fullmatch(spec.name):
        raise DeploymentError(
            f"workflow name {spec.name!r} must start with a letter and have at most 64 letters, digits, '-' and '_'"
        )
    if len(spec.env) > MAX_ENV:
        raise DeploymentError(f"{len(spec.env)} user environment variables; at most {MAX_ENV} are allowed")
    for name, value in spec.env.items():
        if name.startswith(_RESERVED_ENV) or len(value.encode()) > MAX_ENV_BYTES:
            raise DeploymentError(
                f"user environment variable {name!r} must not start with {' or '.join(_RESERVED_ENV)}"
                f" and not be longer than {MAX_ENV_BYTES} bytes"
            )


def _same(one: WorkflowSpec, other: WorkflowSpec) -> bool:
    return asdict(one) == asdict(other)


def _check_argument(argument: str | None) -> None:
    if not argument:
        return
    if len(argument.encode()) > MAX_ARGUMENT_BYTES:
        raise invalid(f"argument is larger than {MAX_ARGUMENT_BYTES} bytes")
    try:
        values.from_json(argument)
    except ValueError as error:
        raise invalid(f"argument is not JSON: {error}") from error


def _environment(context: Context, execution: Execution) -> dict[str, str]:
    return {
        "GOOGLE_CLOUD_PROJECT_ID": context.project,
        "GOOGLE_CLOUD_PROJECT_NUMBER": "1",
        "GOOGLE_CLOUD_LOCATION": context.location,
        "GOOGLE_CLOUD_WORKFLOW_ID": execution.workflow,
        "GOOGLE_CLOUD_WORKFLOW_REVISION_ID": execution.revision,
        "GOOGLE_CLOUD_WORKFLOW_EXECUTION_ID": execution.name.rpartition("/")[2],
        "GOOGLE_CLOUD_WORKFLOW_EXECUTION_ATTEMPT": "1",
    }


def _logger(execution: Execution) -> Any:
    extra = {"execution": execution.name, "workflow": execution.workflow}

    def write(data: Value, severity: str) -> None:
        text = data if isinstance(data, str) else values.to_json(data)
        _user_log.log(_LEVELS[severity], "%s", text, extra=extra)

    return write


def _result_text(result: Value) -> str:
    if values.size(result) > MAX_MEMORY_BYTES:
        raise values.result_size_error(f"the result is larger than {MAX_MEMORY_BYTES} bytes")
    return values.to_json(result)


def _failure(error: WorkflowError) -> ExecutionError:
    return ExecutionError(values.error_json(error.value), error.context(), [_element(frame) for frame in error.trace])


def _element(frame: StackFrame) -> dict[str, Any]:
    position = {"line": frame.position.line, "column": frame.position.column, "length": frame.position.length}
    return {"step": frame.step, "routine": frame.routine, "position": position}
