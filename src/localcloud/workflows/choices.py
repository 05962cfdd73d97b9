"""What do we do where Google's documentation says nothing? Every such decision, with its reason.

Each function is one question that only the real service can settle. The engine calls it, so that settling the question
changes this module alone. What the documentation does say is cited where it is implemented.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from localcloud.workflows.errors import WorkflowError, runtime_error, type_error, value_error

# Expressions


def integer_overflow() -> WorkflowError:
    """An integer result beyond 64 bits: ValueError. Of the documented tags it fits best, and wrapping hides a fault."""
    return value_error("integer overflow")


def infinite_double() -> WorkflowError:
    """A double result that is infinite or no number: ValueError. JSON, the form of results, has no such numbers."""
    return value_error("the result is not a finite number")


def floor_division_of_doubles(a: float, b: float) -> int:
    """`//` with a double: the integer below the quotient. Emulators written from the page of 2022 give an integer."""
    return math.floor(a / b)


def remainder_of_integers(a: int, b: int) -> int:
    """`%` with negatives: the sign of the divisor, so that it matches the documented floor division `//`."""
    return a % b


def takes_remainder(a: Any, b: Any) -> bool:
    """`%` of doubles: TypeError. The emulator written from the page of 2022 knows it for integers only."""
    return type(a) is int and type(b) is int


def are_equal_across_types() -> bool:
    """`==` of two types that are not both numbers: false. Asking whether two values are equal ends no program."""
    return False


def are_ordered(a: Any, b: Any) -> bool:
    """`<` and the like beyond numbers: strings too, by code point, as in most languages."""
    return type(a) is str and type(b) is str


def is_in_string() -> bool:
    """`"a" in "abc"`: TypeError. By the service's own message `in` takes a dict or an array."""
    return False


def stops_early(operator: str) -> bool:
    """`or` stops at a true operand, as `and` stops at a false one, which an official sample relies on."""
    return operator in ("and", "or")


def list_position(index: int, length: int) -> int | None:
    """A negative index: out of range (None). The documentation counts from zero and mentions no other way."""
    return index if 0 <= index < length else None


def map_key(key: Any) -> str | None:
    """An integer as a map's key: its digits, so that `m[k]` finds what `keys(m)` gives; other types: no key (None)."""
    if type(key) is str:
        return key
    return str(key) if type(key) is int else None


def unknown_escape(escape: str) -> str:
    """`\\d` and the like in a string: both characters stay, so that a regular expression can be written plainly."""
    return "\\" + escape


# Variables


def unassigned_variable(name: str) -> WorkflowError:
    """A variable that is known but was not assigned yet: KeyError, the documented tag for what is not found by name."""
    return runtime_error("KeyError", f"key not found: {name}")


def missing_map_on_path(key: str) -> WorkflowError:
    """`m.a.b: 1` without `m.a`: KeyError. Only the last key is documented to be made."""
    return runtime_error("KeyError", f"key not found: {key}")


# Steps


def after_case(outcome: Any, switch_next: Any) -> Any:
    """After an entry of a switch that has a `next`, if the entry doesn't jump: it is taken, as after any step."""
    return switch_next if outcome is None else outcome


def condition(value: Any) -> bool:
    """A condition that is null: TypeError, as other values that are no boolean; only `if` is documented to take it."""
    if type(value) is not bool:
        raise type_error(f"switch condition must be a boolean, not '{type(value).__name__}'")
    return value


def iterated(value: Any) -> list[Any]:
    """`for` over a map: TypeError. The documentation always iterates over `keys(map)`."""
    if type(value) is not list:
        raise type_error(f"for needs a list, not '{type(value).__name__}'")
    return value


def may_end_in_branch() -> bool:
    """`next: end` in a parallel branch: refused at deployment like `return`, which would leave the other branches."""
    return False


def parallel_loop_exits() -> frozenset[str]:
    """`next` in the iterations of a parallel loop: `continue` ends one; `break` would end what runs beside it."""
    return frozenset({"continue"})


def raisable(value: Any) -> bool:
    """`raise` of anything but a string or a map: TypeError. The documentation names those two."""
    return type(value) in (str, dict)


def retry_defaults() -> Mapping[str, Any]:
    """A retry policy without a field. Without a predicate any error is retried, since a policy is there to retry; the
    numbers are those of http.default_retry.
    """
    return {"max_retries": 5, "initial_delay": 1.0, "max_delay": 60.0, "multiplier": 1.25}


def failing_predicate(raised: WorkflowError, handled: WorkflowError) -> WorkflowError:
    """A retry predicate that fails: its own error goes on, since it says what must be mended."""
    raised.__cause__ = handled
    return raised


def call_depth_of_main() -> int:
    """Does `main` count in the call stack? It does: it has a frame in every stack trace."""
    return 1


# Standard library


def unknown_environment_variable(name: str) -> WorkflowError:
    """`sys.get_env` of an unknown name without a default: KeyError, the tag of failed lookups."""
    return runtime_error("KeyError", f"key not found: {name}")


def substring_bounds(start: int, end: int, length: int) -> WorkflowError | None:
    """`text.substring` beyond the text: IndexError, the documented tag of a position out of range."""
    if 0 <= start <= end <= length:
        return None
    return runtime_error("IndexError", f"substring [{start}, {end}) is out of bounds of {length} characters")


def empty_separator() -> WorkflowError:
    """`text.split` at an empty separator: ValueError, right in type and wrong in value."""
    return value_error("separator must not be empty")


def deleted(items: dict[str, Any], key: str) -> dict[str, Any]:
    """`map.delete` of a missing key: an equal copy, since what was asked for holds."""
    return {name: value for name, value in items.items() if name != key}


def larger(a: Any, b: Any) -> Any:
    """`math.max` of an integer and a double: the larger as it is, of its own type; the first of equals."""
    return b if b > a else a


def smaller(a: Any, b: Any) -> Any:
    """`math.min`, likewise."""
    return b if b < a else a


def floor(x: float) -> int:
    """`math.floor` of a double: an integer, like `//`."""
    return math.floor(x)


def double_text(value: float) -> str:
    """`string()` of a double: the shortest digits that read back as the same number; `2.0` keeps its point."""
    return repr(value)


def json_indent() -> str:
    """What `indent: true` indents JSON by: four spaces."""
    return "    "


def time_fraction(micros: int) -> str:
    """The fraction in `time.format`: none for whole seconds, else microseconds, as `time.parse` has them."""
    return f".{micros:06d}" if micros else ""


async def run_in_order(runs: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """How many executions `experimental.executions.map` runs at a time: one. Its results come in order either way."""
    return [await run() for run in runs]


# HTTP and connectors


def follows_redirects() -> bool:
    """A redirect: an answer like any other, so that a call goes where the workflow says and only there."""
    return False


def header_bytes() -> int:
    """How long a response header may be: 64 KiB, more than servers send; a longer one breaks the connection."""
    return 64 * 1024


def repeated_header(first: str, second: str) -> str:
    """A response header that comes twice: its values joined by commas, which RFC 9110 says mean the same."""
    return f"{first}, {second}"


def body_without_text(body: bytes) -> bytes:
    """A response that is no text in its character set: bytes. JSON that cannot be read is text, so nothing is lost."""
    return body


def upload_type() -> str:
    """`objects.insert` without `uploadType`: media, the only one that a connector can send content with."""
    return "media"


def content_type(body: Any) -> str:
    """The content type of an inserted object: what its value is, since the connector has no argument for it."""
    types: dict[type, str] = {bytes: "application/octet-stream", str: "text/plain; charset=utf-8"}
    return types.get(type(body), "application/json")


def operation_result(operation: Mapping[str, Any]) -> Any:
    """What a call gives that waits for an operation: its `response`, and without one the operation."""
    return operation.get("response", operation)


# What is kept


def step_entries() -> int:
    """How many step entries an execution keeps: its first 5,000, some 500 kB; later steps leave none."""
    return 5_000


def revisions() -> int:
    """How many revisions a workflow keeps: the latest 100, and those that executions use, which may be replayed."""
    return 100


def callback_bytes() -> int:
    """How large the request of a callback may be: 2 MiB, as large as a response, since both become a value."""
    return 2 * 2**20


def unencodable(value: Any) -> str:
    """Bytes in the JSON of an uncaught error, such as a binary response body: base64."""
    return base64.b64encode(value).decode()
