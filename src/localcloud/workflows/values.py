"""What are a workflow's values, and what do the operators do to them?

null, boolean, 64-bit integer, double, string, bytes, list and map are Python's None, bool, int, float, str, bytes, list
and dict. A value is never changed in place: a write into a list or map rebuilds the containers on its path, so every
assignment passes by value without copying. Map keys are strings.

Evidence: https://cloud.google.com/workflows/docs/reference/syntax/datatypes
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from localcloud.workflows import choices
from localcloud.workflows.errors import WorkflowError, runtime_error, type_error, value_error

Value: TypeAlias = Any

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
MAX_STRING_BYTES = 256 * 1024
SCALAR_BYTES = 8  # an integer, double or boolean; also the overhead of a string, list or map


# Not all that Python reads as a number: no spaces, no underscores, and no more digits than fit.
_INTEGER = re.compile(r"[-+]?[0-9]{1,40}")
_DOUBLE = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """A function or subworkflow used as a value: the predicate of a retry policy."""

    name: str


_TYPE_NAMES = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    dict: "map",
    FunctionRef: "function",
}


def type_name(value: Value) -> str:
    """The type as `get_type` names it."""
    return _TYPE_NAMES[type(value)]


def python_name(value: Value) -> str:
    """The type as the service's error texts name it: 'dict', 'str', 'NoneType'."""
    return type(value).__name__


def shown(value: Value) -> str:
    """The value as error texts show it: JSON, cut off."""
    return error_json(value)[:100]


def is_number(value: Value) -> bool:
    """Integer or double; a boolean is no number."""
    return type(value) is int or type(value) is float


def checked(number: Any) -> Any:
    """A result of arithmetic, if it is representable; raises what choices say otherwise."""
    if type(number) is int:
        if not INT_MIN <= number <= INT_MAX:
            raise choices.integer_overflow()
    elif not math.isfinite(number):
        raise choices.infinite_double()
    return number


def boolean(value: Value, what: str) -> bool:
    """The value as an operand or condition, where only booleans are allowed."""
    if type(value) is not bool:
        raise type_error(f"{what} must be a boolean, not '{python_name(value)}'")
    return value


def get_item(container: Value, key: Value) -> Value:
    """`container[key]` and `container.key`."""
    if type(container) is dict:
        name = map_key(key)
        if name not in container:
            raise runtime_error("KeyError", f"key not found: {name}")
        return container[name]
    if type(container) is list:
        return container[_list_index(container, key)]
    raise type_error(f"value of type '{python_name(container)}' has no elements; tried to access {key!r}")


def map_key(key: Value) -> str:
    """A map's key. Raises TypeError."""
    name = choices.map_key(key)
    if name is None:
        raise type_error(f"map keys must be strings, not '{python_name(key)}'")
    return name


def _list_index(items: Sequence[Value], index: Value) -> int:
    if type(index) is not int:
        raise type_error(f"list indices must be integers, not '{python_name(index)}'")
    position = choices.list_position(index, len(items))
    if position is None:
        raise runtime_error("IndexError", f"index out of range: {index}")
    return position


def with_item(
    container: Value, path: Sequence[Value], value: Value, measure: Callable[[Value], int] | None = None
) -> tuple[Value, int]:
    """A copy of `container` with `value` at `path`, and by how many bytes it is larger.

    A missing last key of a map is added. `measure` gives a value's size, perhaps faster than `size` does.
    """
    key, rest = path[0], path[1:]
    measure = measure or size
    if type(container) is dict:
        name = map_key(key)
        if rest:
            if name not in container:
                raise choices.missing_map_on_path(name)
            element, growth = with_item(container[name], rest, value, measure)
        else:
            element, growth = value, measure(value) + (-measure(container[name]) if name in container else size(name))
        changed: Value = container.copy()
        changed[name] = element
    elif type(container) is list:
        index = _list_index(container, key)
        if rest:
            element, growth = with_item(container[index], rest, value, measure)
        else:
            element, growth = value, measure(value) - measure(container[index])
        changed = container.copy()
        changed[index] = element
    else:
        raise type_error(f"cannot set an element of a value of type '{python_name(container)}'")
    return changed, growth


def size(value: Value, most: int | None = None) -> int:
    """Bytes of memory a value counts for.

    Raises ResourceLimitError for a string that is too long, and where the value is larger than `most`, which bounds the
    work: what is shared inside a value counts as often as it appears.
    """
    total, pending = 0, [value]
    while pending:
        item = pending.pop()
        kind = type(item)
        total += SCALAR_BYTES
        if kind is str:
            length = len(item) if item.isascii() else len(item.encode("utf-8", "surrogatepass"))
            check_length(length)
            total += length
        elif kind is dict:
            pending += item
            pending += item.values()
        elif kind is list:
            pending += item
        elif kind is bytes:
            total += len(item)
        if most is not None and total > most:
            raise memory_error(f"a value takes more than {most} bytes")
    return total


def check_length(length: int, most: int = MAX_STRING_BYTES) -> None:
    """Raises ResourceLimitError for a string of more bytes than one may have; asked before a long one is made."""
    if length > most:
        raise memory_error(f"a string of {length} bytes is longer than {most}")


def memory_error(message: str) -> WorkflowError:
    """The variables need more memory than an execution has."""
    return runtime_error("ResourceLimitError", message, "MemoryLimitExceededError")


def result_size_error(message: str) -> WorkflowError:
    """A result or response is larger than allowed."""
    return runtime_error("ResourceLimitError", message, "ResultSizeLimitExceededError")


def to_string(value: Value) -> str:
    """`string()`."""
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is float:
        return choices.double_text(value)
    if type(value) is int or type(value) is str:
        return str(value)
    raise type_error(f"unsupported operand type for string(): '{python_name(value)}'")


def to_int(value: Value) -> int:
    """`int()`: of a string of digits, or a number cut off at the point."""
    if is_number(value):
        return int(checked(int(value)))
    if type(value) is str:
        if not _INTEGER.fullmatch(value):
            raise value_error(f"invalid literal for int(): {shown(value)}")
        return int(checked(int(value)))
    raise type_error(f"unsupported operand type for int(): '{python_name(value)}'")


def to_double(value: Value) -> float:
    """`double()`."""
    if is_number(value):
        return float(value)
    if type(value) is str:
        if not _DOUBLE.fullmatch(value):
            raise value_error(f"invalid literal for double(): {shown(value)}")
        return float(checked(float(value)))
    raise type_error(f"unsupported operand type for double(): '{python_name(value)}'")


def to_json(value: Value, *, indent: str | None = None) -> str:
    """JSON text, sorted and compact as results of the real service are; bytes and functions are a TypeError.

    https://cloud.google.com/workflows/docs/reference/syntax/datatypes#bytes
    """
    separators = (",", ":") if indent is None else (",", ": ")
    try:
        return json.dumps(
            value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=separators, indent=indent
        )
    except TypeError as error:
        raise type_error(f"cannot encode as JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        raise value_error(f"cannot encode as JSON: {error}") from error


def error_json(value: Value) -> str:
    """JSON text of a raised value, which may hold what JSON cannot."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_without_json)


def _without_json(value: Value) -> str:
    return value.name if isinstance(value, FunctionRef) else choices.unencodable(value)


def from_json(text: str | bytes) -> Value:
    """The value of JSON text; integers beyond 64 bits become doubles. Raises ValueError (Python's) when it is none, or
    holds a number beyond all doubles.
    """
    if isinstance(text, bytes):
        text = text.decode()
    try:
        value = json.loads(text, parse_int=_json_int, parse_float=_json_float, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return without_surrogates(value) if "\\ud" in text.lower() else value


def _json_int(digits: str) -> int | float:
    if len(digits) < 19:
        return int(digits)
    number = _json_float(digits) if len(digits) > 20 else int(digits)
    return number if type(number) is int and INT_MIN <= number <= INT_MAX else float(number)


def _json_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} does not fit in a double")
    return number


def _refuse(constant: str) -> Value:
    raise ValueError(f"{constant} is not JSON")


def without_surrogates(value: Value) -> Value:
    """The value with surrogate pairs joined and lone ones replaced, which neither the store nor the wire can encode."""
    if type(value) is str:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if type(value) is list:
        return [without_surrogates(item) for item in value]
    if type(value) is dict:
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    return value
