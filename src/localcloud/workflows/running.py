"""What does an execution run with, and how can it end?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from localcloud.context import Context
from localcloud.workflows import values
from localcloud.workflows.callbacks import Callbacks
from localcloud.workflows.definitions import Definitions, Workflow
from localcloud.workflows.engine import execute
from localcloud.workflows.errors import DeploymentError, WorkflowError, runtime_error
from localcloud.workflows.executions import Execution, failure, message_only, result_text
from localcloud.workflows.history import Recorder
from localcloud.workflows.http import HttpClient
from localcloud.workflows.journal import Journal, ReplayDiverged
from localcloud.workflows.observe import StepObserver
from localcloud.workflows.thread import Run
from localcloud.workflows.values import Value

if TYPE_CHECKING:
    from localcloud.identity import Identity

log = logging.getLogger(__name__)
_user_log = logging.getLogger("localcloud.workflows.log")
_LEVELS = {
    "DEFAULT": logging.INFO, "DEBUG": logging.DEBUG, "INFO": logging.INFO, "NOTICE": logging.INFO,
    "WARNING": logging.WARNING, "ERROR": logging.ERROR, "CRITICAL": logging.CRITICAL,
    "ALERT": logging.CRITICAL, "EMERGENCY": logging.CRITICAL,
}  # fmt: skip


@dataclass
class Live:
    """An execution that runs, by its task."""

    run: Run
    callbacks: Callbacks
    recorder: Recorder | None
    task: asyncio.Task[None] = field(init=False)  # begun by the caller


@dataclass(frozen=True)
class _Tokens:
    """The tokens of one service account."""

    issuer: Identity
    email: str

    def identity(self, audience: str) -> str:
        return self.issuer.mint(audience, self.email)

    def access(self, scopes: Sequence[str]) -> str:
        return self.issuer.mint_access_token(self.email, scopes)


def prepared(
    execution: Execution,
    context: Context,
    definitions: Definitions,
    http: HttpClient,
    watch: Callable[[Execution], StepObserver | None] | None,
) -> Live:
    """What the execution runs with. `watch` gives who is told its steps, in place of its step entries.

    Raises:
        DeploymentError: its program is gone, or cannot be built any more.
    """
    workflow = definitions.find(execution.workflow, execution.revision)
    if workflow is None:
        raise DeploymentError(f"revision {execution.revision} of its workflow is gone")
    account, callbacks = definitions.account(workflow), Callbacks(context, execution.name)
    run = Run(
        program=definitions.program(workflow),
        journal=Journal(context.store, execution.key),
        clock=context.clock,
        http=http,
        callbacks=callbacks,
        environment={
            **_variables(workflow, definitions),
            **execution.environment(context.project, context.location, account),
        },
        execution=execution.name,
        http_url=context.http_url,
        log=_logger(execution),
        tokens=_Tokens(context.identity, account),
    )
    recorder = None
    if watch is None:
        run.observer = recorder = Recorder(context.clock.time, partial(setattr, run, "observer", None))
    else:
        run.observer = watch(execution)
    return Live(run, callbacks, recorder)


async def outcome(execution: Execution, run: Run) -> dict[str, Any]:
    """How the execution ends: its state, and its result or error."""
    try:
        argument = None if execution.argument is None else values.from_json(execution.argument)
        return {"state": "SUCCEEDED", "result": result_text(await execute(run, argument))}
    except WorkflowError as error:
        return {"state": "FAILED", "error": failure(error)}
    except ReplayDiverged as error:
        return {"state": "FAILED", "error": message_only(lost(str(error)))}
    except Exception as error:
        log.exception("execution %s failed inside the interpreter", execution.name)
        return {"state": "FAILED", "error": failure(runtime_error("SystemError", str(error)))}


def lost(reason: str) -> str:
    """What an execution ends with that cannot go on where it was."""
    return f"The execution could not go on after a restart of the local cloud: {reason}"


def _variables(workflow: Workflow, definitions: Definitions) -> Mapping[str, str]:
    """The user environment variables of a revision.

    Those of the newest revision where only they differ: a local cloud that was restarted on other ports is deployed
    with other addresses, and the executions it goes on with must find them.
    """
    newest = definitions.find(workflow.name) or workflow
    return newest.spec.env if newest.spec.source == workflow.spec.source else workflow.spec.env


def _logger(execution: Execution) -> Callable[[Value, str], None]:
    extra = {"execution": execution.name, "workflow": execution.workflow}

    def write(data: Value, severity: str) -> None:
        text = data if isinstance(data, str) else values.to_json(data)
        _user_log.log(_LEVELS[severity], "%s", text, extra=extra)

    return write
