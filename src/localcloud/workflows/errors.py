"""How does a workflow fail: at deployment, at run time, or at the API?

DeploymentError     the source cannot be deployed (INVALID_ARGUMENT)
WorkflowError       a value raised while an execution runs; `try` can catch it
ApiError            a request of the Executions or Workflows API was refused
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Production error maps carry the Python parent class beside the documented tag.
_PARENTS = {
    "ConnectionError": ("OSError",),
    "ConnectionFailedError": ("OSError",),
    "IndexError": ("LookupError",),
    "KeyError": ("LookupError",),
    "ParallelNestingError": ("RuntimeError",),
    "RecursionError": ("RuntimeError",),
    "TimeoutError": ("OSError",),
    "UnhandledBranchError": ("RuntimeError",),
    "ZeroDivisionError": ("ArithmeticError",),
}


@dataclass(frozen=True, slots=True)
class Position:
    """Where something stands in the source: `line` and `column` count from 1."""

    line: int
    column: int = 0
    length: int = 0


class DeploymentError(Exception):
    """The source cannot be deployed; the message is in the words of the real service where they are known.

    `position` is the place in the source, `routine` and `step` what stands there, each as far as there is one.
    """

    def __init__(
        self, message: str, *, position: Position | None = None, routine: str | None = None, step: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.routine = routine
        self.step = step


@dataclass(frozen=True, slots=True)
class StackFrame:
    """One entry of a stack trace. `call` tells calls of one routine apart."""

    step: str
    routine: str
    position: Position
    call: object = field(compare=False, repr=False, default=None)


class WorkflowError(Exception):
    """A raised value. `value` is what `as: e` binds; `headline` opens the context text; `trace` is innermost first.

    One that `is_fatal` passes every `try` and ends the execution.
    """

    def __init__(self, value: Any, headline: str, *, is_fatal: bool = False) -> None:
        super().__init__(headline)
        self.value = value
        self.headline = headline
        self.is_fatal = is_fatal
        self.trace: list[StackFrame] = []
        self._position: Position | None = None  # of the expression that failed, until a step takes it up

    def at(self, position: Position) -> None:
        """Note the place in the source where the error arose, unless it is known already."""
        if self._position is None:
            self._position = position

    def locate(self, step: str, routine: str, position: Position, call: object) -> None:
        """Note the step the error passes through; within one call of a routine the innermost step stands."""
        if not self.trace or self.trace[-1].call is not call:
            self.trace.append(StackFrame(step, routine, self._position or position, call))
        self._position = None

    def context(self) -> str:
        """The text of `error.context`: the message and where it happened."""
        places = (
            f'in step "{frame.step}", routine "{frame.routine}", line: {frame.position.line}' for frame in self.trace
        )
        return "\n".join((self.headline, *places))


def runtime_error(tag: str, message: str, *extra_tags: str, prefixed: bool = True, **fields: Any) -> WorkflowError:
    """An error of the interpreter as a map of `message`, `tags` and, for HttpError, `code`, `headers` and `body`.

    A limit that is exhausted cannot be caught: https://cloud.google.com/workflows/docs/reference/syntax/error-types
    """
    text = f"{tag}: {message}" if prefixed else message
    tags = [tag, *extra_tags, *_PARENTS.get(tag, ())]
    return WorkflowError({"message": text, "tags": tags, **fields}, text, is_fatal=tag == "ResourceLimitError")


def type_error(message: str) -> WorkflowError:
    """A value of the wrong type."""
    return runtime_error("TypeError", message)


def value_error(message: str) -> WorkflowError:
    """A value of the right type that cannot be used."""
    return runtime_error("ValueError", message)


class ApiError(Exception):
    """A refused request. `code` is the name of a gRPC status, as both wires know it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The HTTP status of `code`. https://cloud.google.com/apis/design/errors#error_codes"""
        return _HTTP_STATUS.get(self.code, 500)


_HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def not_found(what: str) -> ApiError:
    """NOT_FOUND for a resource name."""
    return ApiError("NOT_FOUND", f"{what} not found")


def invalid(message: str) -> ApiError:
    """INVALID_ARGUMENT."""
    return ApiError("INVALID_ARGUMENT", message)
