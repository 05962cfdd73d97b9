"""Should a failed block or call be tried again, and after how long?

https://cloud.google.com/workflows/docs/reference/syntax/retrying
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from localcloud.workflows import choices, values
from localcloud.workflows.errors import type_error, value_error
from localcloud.workflows.values import FunctionRef, Value

_IDEMPOTENT_CODES = (429, 502, 503, 504)
_IDEMPOTENT_TAGS = {"ConnectionError", "ConnectionFailedError", "TimeoutError"}
_NON_IDEMPOTENT_CODES = (429, 503)
_NON_IDEMPOTENT_TAGS = {"ConnectionFailedError"}


def is_idempotent_retry(exception: Value) -> bool:
    """http.default_retry_predicate."""
    return _matches(exception, _IDEMPOTENT_CODES, _IDEMPOTENT_TAGS)


def is_non_idempotent_retry(exception: Value) -> bool:
    """http.default_retry_predicate_non_idempotent."""
    return _matches(exception, _NON_IDEMPOTENT_CODES, _NON_IDEMPOTENT_TAGS)


def _matches(error: Value, codes: tuple[int, ...], tags: set[str]) -> bool:
    if type(error) is not dict:
        return False
    own_tags = error.get("tags")
    return error.get("code") in codes or (
        type(own_tags) is list and any(type(tag) is str and tag in tags for tag in own_tags)
    )


ALWAYS = FunctionRef("retry.always")
NEVER = FunctionRef("retry.never")
IDEMPOTENT = FunctionRef("http.default_retry_predicate")
NON_IDEMPOTENT = FunctionRef("http.default_retry_predicate_non_idempotent")
DEFAULT_BACKOFF = {"initial_delay": 1.0, "max_delay": 60.0, "multiplier": 1.25}

PREDICATES: Mapping[str, Callable[[Value], bool]] = {
    IDEMPOTENT.name: is_idempotent_retry,
    NON_IDEMPOTENT.name: is_non_idempotent_retry,
    ALWAYS.name: lambda exception: True,  # an argument that steps can name
    NEVER.name: lambda exception: False,
}


@dataclass(frozen=True, slots=True)
class Policy:
    """When and how often to try again. `max_retries` does not count the first attempt; delays are in seconds."""

    predicate: FunctionRef = ALWAYS
    max_retries: int = 5
    initial_delay: float = 1.0
    max_delay: float = 60.0
    multiplier: float = 1.25

    def delays(self) -> Iterator[float]:
        """How long to wait before each retry: the delay before times the multiplier, each within `max_delay`."""
        delay = self.initial_delay
        for _ in range(self.max_retries):
            yield min(delay, self.max_delay)
            delay *= self.multiplier


def policy(value: Value) -> Policy:
    """The policy of a `retry`. Raises TypeError and ValueError as a workflow sees them."""
    fields = _map(value, "retry")
    defaults = choices.retry_defaults()
    predicate = fields.get("predicate", ALWAYS)
    if type(predicate) is not FunctionRef:
        raise type_error("retry predicate must be a function or subworkflow")
    backoff = {**defaults, **_map(fields.get("backoff", {}), "retry backoff")}
    return Policy(
        predicate,
        int(_number(fields.get("max_retries", defaults["max_retries"]), "max_retries")),
        _number(backoff["initial_delay"], "initial_delay"),
        _number(backoff["max_delay"], "max_delay"),
        _number(backoff["multiplier"], "multiplier"),
    )


def _map(value: Value, what: str) -> dict[str, Value]:
    if type(value) is not dict:
        raise type_error(f"{what} must be a map, not a {values.type_name(value)}")
    return value


def _number(value: Value, what: str) -> float:
    if not values.is_number(value):
        raise type_error(f"retry {what} must be a number, not a {values.type_name(value)}")
    if value < 0:
        raise value_error(f"retry {what} must not be negative: {value}")
    return float(value)
