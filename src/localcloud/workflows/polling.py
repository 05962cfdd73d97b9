"""Is a long-running operation over, and what came of it?

https://cloud.google.com/workflows/docs/connectors#long-running_operations
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from localcloud.workflows import choices, values
from localcloud.workflows.errors import runtime_error, value_error
from localcloud.workflows.functions import expect
from localcloud.workflows.values import Value

_FIELDS = {"initial_delay": 1.0, "multiplier": 1.25, "max_delay": 60.0}


@dataclass(frozen=True, slots=True)
class Policy:
    """How long to wait before each look, in seconds."""

    initial_delay: float = 1.0
    multiplier: float = 1.25
    max_delay: float = 60.0

    @classmethod
    def of(cls, value: Value) -> Policy:
        """The policy that a `polling_policy` describes. Raises TypeError and ValueError as a workflow sees them."""
        given = expect(value, dict, "polling_policy")
        if unknown := [name for name in given if name not in _FIELDS]:
            raise value_error(f"polling_policy has an unknown field {unknown[0]!r}; known are {', '.join(_FIELDS)}")
        for name, number in given.items():
            if not expect(number, (int, float), f"polling_policy.{name}") > 0:
                raise value_error(f"polling_policy.{name} must be positive: {number}")
        return cls(**{name: float(number) for name, number in given.items()})

    def delays(self) -> Iterator[float]:
        """Without end."""
        delay = self.initial_delay
        while True:
            yield min(delay, self.max_delay)
            delay = min(delay * self.multiplier, self.max_delay)


@dataclass(frozen=True, slots=True)
class LongRunning:
    """A kind of operation. `path` is where one is looked at; `is_done`, `error` and `result` read its latest form."""

    path: Callable[[Any], str]
    is_done: Callable[[Any], bool]
    error: Callable[[Any], Value]
    result: Callable[[Any], Value]

    def outcome(self, operation: dict[str, Value]) -> Value:
        """The result of an operation that is over. Raises OperationError with its `operation` and `error`."""
        error = self.error(operation)
        if error is None:
            return self.result(operation)
        reason = _reason(error) or values.to_json(error)
        message = f"operation {operation.get('name', '')} failed: {reason}"
        raise runtime_error("OperationError", message, operation=operation, error=error)


async def until_done(
    kind: LongRunning,
    started: Value,
    policy: Policy,
    look: Callable[[], Awaitable[Value]],
    sleep: Callable[[float], Awaitable[None]],
) -> Value:
    """The operation once it is over. Raises ResponseTypeError when an answer is none."""
    operation = started
    for delay in policy.delays():
        if type(operation) is not dict or type(operation.get("name")) is not str:
            raise runtime_error(
                "ResponseTypeError", f"the response is no operation: {values.error_json(operation)[:200]}"
            )
        if kind.is_done(operation):
            return operation
        await sleep(delay)
        operation = await look()
    raise AssertionError("polling has no end")


def google(version: str) -> LongRunning:
    """`google.longrunning.Operation` of an API version."""
    return LongRunning(
        path=lambda operation: f"/{version}/{operation['name']}",
        is_done=lambda operation: operation.get("done") is True,
        error=lambda operation: operation.get("error"),
        result=choices.operation_result,
    )


def _compute_path(operation: dict[str, Value]) -> str:
    link = operation.get("selfLink")
    found = re.search(r"/compute/v1/projects/.+", link) if type(link) is str else None
    if found is None:
        raise runtime_error("ResponseTypeError", "the operation has no selfLink to look at it again")
    return found[0]


COMPUTE = LongRunning(
    path=_compute_path,
    is_done=lambda operation: operation.get("status") == "DONE",
    error=lambda operation: operation.get("error"),
    result=lambda operation: operation,
)

EXECUTION = LongRunning(
    path=lambda execution: f"/v1/{execution['name']}",
    is_done=lambda execution: execution.get("state") not in ("ACTIVE", "QUEUED"),
    error=lambda execution: None if execution.get("state") == "SUCCEEDED" else execution.get("error", {}),
    result=lambda execution: values.from_json(execution.get("result") or "null"),
)


def _reason(error: Value) -> str:
    """What a person reads of an operation's error, in any of its forms."""
    if type(error) is not dict:
        return str(error)
    if type(error.get("errors")) is list:  # Compute Engine's
        return "; ".join(str(each.get("message", each)) for each in error["errors"] if type(each) is dict)
    return str(error.get("message") or error.get("context") or "")
