"""What are a workflow's values, and what do the operators do to them?

null, boolean, 64-bit integer, double, string, bytes, list and map are Python's None, bool, int, float, str, bytes, list
and dict. A value is never changed in place: a write into a list or map rebuilds the containers on its path, so every
assignment passes by value without copying. Map keys are strings.

Evidence: https://cloud.google.com/workflows/docs/reference/syntax/datatypes
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from localcloud.workflows.errors import WorkflowError, runtime_error, type_error, value_error

Value: TypeAlias = Any

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
MAX_STRING_BYTES = 256 * 1024
SCALAR_BYTES = 8  # an integer, double or boolean; also the overhead of a string, list or map


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


def _python_name(value: Value) -> str:
    return type(value).__name__  # production error texts use these: 'dict', 'str', 'NoneType'


def is_number(value: Value) -> bool:
    """Integer or double; a boolean is no number."""
    return type(value) is int or type(value) is float


def checked(number: Any) -> Any:
    """A result of arithmetic, if it is representable.

    Not documented: what an overflow does (the page's sentence is not readable in the copies). Here: ValueError.
    """
    if type(number) is int:
        if not INT_MIN <= number <= INT_MAX:
            raise value_error("integer overflow")
    elif not math.isfinite(number):
        raise value_error("the result is not a finite number")
    return number


def _operands(operator: str, a: Value, b: Value) -> WorkflowError:
    return type_error(f"unsupported operand types for {operator}: '{_python_name(a)}' and '{_python_name(b)}'")


def add(a: Value, b: Value) -> Value:
    """`+`: numbers, or a string with a string, number or boolean on either side."""
    if is_number(a) and is_number(b):
        return checked(_arithmetic(lambda: a + b))
    if type(a) is str and type(b) is str:
        return a + b
    if type(a) is str and isinstance(b, (int, float)):
        return a + to_string(b)
    if type(b) is str and isinstance(a, (int, float)):
        return to_string(a) + b
    raise _operands("+", a, b)


def _numbers(operator: str) -> Callable[[Callable[[Any, Any], Any]], Callable[[Value, Value], Value]]:
    def decorate(compute: Callable[[Any, Any], Any]) -> Callable[[Value, Value], Value]:
        def apply(a: Value, b: Value) -> Value:
            if not (is_number(a) and is_number(b)):
                raise _operands(operator, a, b)
            return checked(_arithmetic(lambda: compute(a, b)))

        apply.__doc__ = compute.__doc__
        return apply

    return decorate


def _arithmetic(compute: Callable[[], Any]) -> Any:
    try:
        return compute()
    except ZeroDivisionError as error:
        raise runtime_error("ZeroDivisionError", "division by zero") from error
    except OverflowError as error:
        raise value_error("the result is not a finite number") from error


@_numbers("-")
def subtract(a: Any, b: Any) -> Any:
    """`-`."""
    return a - b


@_numbers("*")
def multiply(a: Any, b: Any) -> Any:
    """`*`."""
    return a * b


@_numbers("/")
def divide(a: Any, b: Any) -> Any:
    """`/`: always a double."""
    return float(a / b)


@_numbers("//")
def floor_divide(a: Any, b: Any) -> Any:
    """`//`: rounds down. Not documented: the type with doubles. Here: an integer, as the page of 2022 says."""
    return math.floor(a / b) if isinstance(a, float) or isinstance(b, float) else a // b


def remainder(a: Value, b: Value) -> Value:
    """`%`. Not documented: the sign with negatives, and doubles. Here: it matches `//`, and doubles are a TypeError."""
    if type(a) is not int or type(b) is not int:
        raise _operands("%", a, b)
    return checked(_arithmetic(lambda: a % b))


def negate(a: Value) -> Value:
    """Unary `-`."""
    if not is_number(a):
        raise type_error(f"unsupported operand type for -: '{_python_name(a)}'")
    return checked(-a)


def equals(a: Value, b: Value) -> bool:
    """`==`: numbers by value, containers by content. Not documented: values of two types. Here: they differ."""
    if is_number(a) and is_number(b):
        return bool(a == b)
    if type(a) is not type(b):
        return False
    if type(a) is list:
        return len(a) == len(b) and all(map(equals, a, b))
    if type(a) is dict:
        return a.keys() == b.keys() and all(equals(a[key], b[key]) for key in a)
    return bool(a == b)


def differs(a: Value, b: Value) -> bool:
    """`!=`."""
    return not equals(a, b)


def comparison(operator: str, compare: Callable[[Any, Any], bool]) -> Callable[[Value, Value], bool]:
    """An ordering: of numbers, and of strings by code point (not documented: strings)."""

    def apply(a: Value, b: Value) -> bool:
        if (is_number(a) and is_number(b)) or (type(a) is str and type(b) is str):
            return compare(a, b)
        raise _operands(operator, a, b)

    return apply


def contains(item: Value, container: Value) -> bool:
    """`in`: an element of a list or a key of a map. Not documented: strings. Here: a TypeError."""
    if type(container) is list:
        return any(equals(item, element) for element in container)
    if type(container) is dict:
        return (str(item) if type(item) is int else item) in container if isinstance(item, (str, int)) else False
    raise type_error(f"argument of type '{_python_name(container)}' is not a list or map")


def boolean(value: Value, what: str) -> bool:
    """The value as an operand or condition, where only booleans are allowed."""
    if type(value) is not bool:
        raise type_error(f"{what} must be a boolean, not '{_python_name(value)}'")
    return value


def negation(value: Value) -> bool:
    """`not`."""
    return not boolean(value, "operand of not")


def get_item(container: Value, key: Value) -> Value:
    """`container[key]` and `container.key`."""
    if type(container) is dict:
        name = map_key(key)
        if name not in container:
            raise runtime_error("KeyError", f"key not found: {name}")
        return container[name]
    if type(container) is list:
        return container[_list_index(container, key)]
    raise type_error(f"value of type '{_python_name(container)}' has no elements; tried to access {key!r}")


def map_key(key: Value) -> str:
    """A map's key. An integer stands for its decimal digits, as it does as a key in the source.

    Not documented: whether the real service keeps integer keys apart from strings.
    """
    if type(key) is str:
        return key
    if type(key) is int:
        return str(key)
    raise type_error(f"map keys must be strings, not '{_python_name(key)}'")


def _list_index(items: Sequence[Value], index: Value) -> int:
    if type(index) is not int:
        raise type_error(f"list indices must be integers, not '{_python_name(index)}'")
    # Not documented: negative indices. Here: out of range.
    if not 0 <= index < len(items):
        raise runtime_error("IndexError", f"index out of range: {index}")
    return index


def with_item(container: Value, path: Sequence[Value], value: Value) -> tuple[Value, int]:
    """A copy of `container` with `value` at `path`, and by how many bytes it is larger.

    A missing last key of a map is added. Not documented: a missing key before it. Here: KeyError.
    """
    key, rest = path[0], path[1:]
    if rest:
        element, growth = with_item(get_item(container, key), rest, value)
    else:
        element, growth = value, size(value)
    if type(container) is dict:
        name = map_key(key)
        if not rest:
            growth -= size(container[name]) if name in container else -size(name)
        return {**container, name: element}, growth
    if type(container) is list:
        index = _list_index(container, key)
        if not rest:
            growth -= size(container[index])
        changed = container.copy()
        changed[index] = element
        return changed, growth
    raise type_error(f"cannot set an element of a value of type '{_python_name(container)}'")


def size(value: Value) -> int:
    """Bytes of memory a value counts for; raises ResourceLimitError for a string that is too long."""
    kind = type(value)
    if kind is str:
        length = len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
        if length > MAX_STRING_BYTES:
            raise memory_error(f"a string of {length} bytes is longer than {MAX_STRING_BYTES}")
        return SCALAR_BYTES + length
    if kind is dict:
        return SCALAR_BYTES + sum(size(key) + size(item) for key, item in value.items())
    if kind is list:
        return SCALAR_BYTES + sum(map(size, value))
    if kind is bytes:
        return SCALAR_BYTES + len(value)
    return SCALAR_BYTES


def memory_error(message: str) -> WorkflowError:
    """The variables need more memory than an execution has."""
    return runtime_error("ResourceLimitError", message, "MemoryLimitExceededError")


def result_size_error(message: str) -> WorkflowError:
    """A result or response is larger than allowed."""
    return runtime_error("ResourceLimitError", message, "ResultSizeLimitExceededError")


def to_string(value: Value) -> str:
    """`string()`. Not documented: the digits of a double. Here: the shortest that reads back as the same number."""
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int or type(value) is float or type(value) is str:
        return str(value)
    raise type_error(f"unsupported operand type for string(): '{_python_name(value)}'")


def to_int(value: Value) -> int:
    """`int()`: of a string of digits, or a number cut off at the point."""
    if is_number(value):
        return int(checked(int(value)))
    if type(value) is str:
        try:
            return int(checked(int(_ascii_number(value))))
        except ValueError as error:
            raise value_error(f"invalid literal for int(): {value!r}") from error
    raise type_error(f"unsupported operand type for int(): '{_python_name(value)}'")


def to_double(value: Value) -> float:
    """`double()`."""
    if is_number(value):
        return float(value)
    if type(value) is str:
        try:
            return float(checked(float(_ascii_number(value))))
        except ValueError as error:
            raise value_error(f"invalid literal for double(): {value!r}") from error
    raise type_error(f"unsupported operand type for double(): '{_python_name(value)}'")


def _ascii_number(text: str) -> str:
    if not text.isascii() or "_" in text:  # Python's own notation, no one else's
        raise ValueError(text)
    return text


def to_json(value: Value, *, indent: str | None = None) -> str:
    """JSON text with sorted keys, as Go's encoder writes it; bytes and functions are a TypeError.

    Not documented: key order and spacing; results shown by the real service are sorted and compact.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    try:
        return json.dumps(
            value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=separators, indent=indent
        )
    except TypeError as error:
        raise type_error(f"cannot encode as JSON: {error}") from error
    except ValueError as error:
        raise value_error(f"cannot encode as JSON: {error}") from error


def error_json(value: Value) -> str:
    """JSON text of a raised value. Not documented: bytes in it, such as a binary response body. Here: base64."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_without_json)


def _without_json(value: Value) -> str:
    return value.name if isinstance(value, FunctionRef) else base64.b64encode(value).decode()


def from_json(text: str | bytes) -> Value:
    """The value of JSON text; integers beyond 64 bits become doubles. Raises ValueError (Python's) when it is none."""
    if isinstance(text, bytes):
        text = text.decode()
    try:
        value = json.loads(text, parse_int=_json_int, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return without_surrogates(value) if "\\ud" in text.lower() else value


def _json_int(digits: str) -> int | float:
    if len(digits) < 19:
        return int(digits)
    number = float(digits) if len(digits) > 20 else int(digits)
    return number if type(number) is int and INT_MIN <= number <= INT_MAX else float(number)


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
