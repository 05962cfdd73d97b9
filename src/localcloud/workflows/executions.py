"""What is known of one execution?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from localcloud.workflows import values
from localcloud.workflows.errors import StackFrame, WorkflowError, invalid
from localcloud.workflows.memory import MAX_MEMORY_BYTES
from localcloud.workflows.values import Value

MAX_ARGUMENT_BYTES = 32 * 1024


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
    history_level: int = 0
    current: tuple[str, str] | None = None  # routine and step that runs, or ran last

    @property
    def key(self) -> str:
        """The key of the stored document."""
        return f"{self.workflow}/{self.id}"

    @property
    def id(self) -> str:
        """The last part of the resource name."""
        return self.name.rpartition("/")[2]

    @property
    def duration(self) -> float | None:
        """How long it took, in seconds, once it has ended."""
        return None if self.end_time is None else self.end_time - self.create_time

    def environment(self, project: str, location: str, service_account: str) -> Mapping[str, str]:
        """The built-in environment variables; `service_account` is the email that the execution runs as."""
        return {
            "GOOGLE_CLOUD_PROJECT_ID": project,
            "GOOGLE_CLOUD_PROJECT_NUMBER": "1",
            "GOOGLE_CLOUD_LOCATION": location,
            "GOOGLE_CLOUD_SERVICE_ACCOUNT_NAME": service_account,
            "GOOGLE_CLOUD_WORKFLOW_ID": self.workflow,
            "GOOGLE_CLOUD_WORKFLOW_REVISION_ID": self.revision,
            "GOOGLE_CLOUD_WORKFLOW_EXECUTION_ID": self.id,
            "GOOGLE_CLOUD_WORKFLOW_EXECUTION_ATTEMPT": "1",
        }


def check_argument(argument: str | None) -> None:
    """Raises ApiError INVALID_ARGUMENT for one that is too large or not JSON."""
    if not argument:
        return
    if len(argument.encode(errors="surrogatepass")) > MAX_ARGUMENT_BYTES:
        raise invalid(f"argument is larger than {MAX_ARGUMENT_BYTES} bytes")
    try:
        values.from_json(argument)
    except ValueError as error:
        raise invalid(f"argument is not JSON: {error}") from error


def result_text(result: Value) -> str:
    """The result as JSON. Raises WorkflowError for one that is too large."""
    if values.size(result) > MAX_MEMORY_BYTES:
        raise values.result_size_error(f"the result is larger than {MAX_MEMORY_BYTES} bytes")
    return values.to_json(result)


def failure(error: WorkflowError) -> ExecutionError:
    """The error as an execution ends with it."""
    return ExecutionError(values.error_json(error.value), error.context(), [_element(frame) for frame in error.trace])


def message_only(message: str) -> ExecutionError:
    """An error that no step has raised."""
    return ExecutionError(payload=values.to_json(message), context=message)


def _element(frame: StackFrame) -> dict[str, Any]:
    position = {"line": frame.position.line, "column": frame.position.column, "length": frame.position.length}
    return {"step": frame.step, "routine": frame.routine, "position": position}
