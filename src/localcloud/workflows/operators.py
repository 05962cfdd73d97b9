"""What do the operators do to values?

The types that go together are documented: https://cloud.google.com/workflows/docs/reference/syntax/datatypes
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from localcloud.workflows import choices
from localcloud.workflows.errors import WorkflowError, runtime_error, type_error
from localcloud.workflows.values import (
    INT_MAX,
    INT_MIN,
    Value,
    boolean,
    checked,
    is_number,
    python_name,
    shown,
    to_string,
)


def add(a: Value, b: Value) -> Value:
    """`+`: numbers, or a string with a string, number or boolean on either side."""
    if type(a) is int and type(b) is int:
        total = a + b
        return total if INT_MIN <= total <= INT_MAX else checked(total)
    if type(a) is str:
        if type(b) is str:
            return a + b
        if isinstance(b, (int, float)):
            return a + to_string(b)
    elif type(b) is str and isinstance(a, (int, float)):
        return to_string(a) + b
    return _arithmetic("+", operator.add, a, b)


def subtract(a: Value, b: Value) -> Value:
    """`-`."""
    return _arithmetic("-", operator.sub, a, b)


def multiply(a: Value, b: Value) -> Value:
    """`*`."""
    return _arithmetic("*", operator.mul, a, b)


def divide(a: Value, b: Value) -> Value:
    """`/`: always a double."""
    return _arithmetic("/", operator.truediv, a, b)


def floor_divide(a: Value, b: Value) -> Value:
    """`//`: rounds down."""
    if type(a) is float or type(b) is float:
        return _arithmetic("//", choices.floor_division_of_doubles, a, b)
    return _arithmetic("//", operator.floordiv, a, b)


def remainder(a: Value, b: Value) -> Value:
    """`%`."""
    if not choices.takes_remainder(a, b):
        raise _operands("%", a, b)
    return _arithmetic("%", choices.remainder_of_integers, a, b)


def _arithmetic(sign: str, compute: Callable[[Any, Any], Any], a: Value, b: Value) -> Value:
    if not (is_number(a) and is_number(b)):
        raise _operands(sign, a, b)
    try:
        return checked(compute(a, b))
    except ZeroDivisionError as error:
        raise runtime_error("ZeroDivisionError", f"division by zero: {python_name(a)} {sign} {python_name(b)}") from (
            error
        )
    except OverflowError as error:  # of an integer as a double
        raise choices.infinite_double() from error


def _operands(sign: str, a: Value, b: Value) -> WorkflowError:
    return type_error(f"unsupported operand types for {sign}: '{python_name(a)}' and '{python_name(b)}'")


def negate(a: Value) -> Value:
    """Unary `-`."""
    if not is_number(a):
        raise type_error(f"unsupported operand type for -: '{python_name(a)}'")
    return checked(-a)


def negation(value: Value) -> bool:
    """`not`."""
    return not boolean(value, "operand of not")


def equals(a: Value, b: Value) -> bool:
    """`==`: numbers by value, containers by content."""
    if is_number(a) and is_number(b):
        return bool(a == b)
    if type(a) is not type(b):
        return choices.are_equal_across_types()
    if type(a) is list:
        return len(a) == len(b) and all(map(equals, a, b))
    if type(a) is dict:
        return a.keys() == b.keys() and all(equals(a[key], b[key]) for key in a)
    return bool(a == b)


def differs(a: Value, b: Value) -> bool:
    """`!=`."""
    return not equals(a, b)


def _comparison(sign: str, compare: Callable[[Any, Any], bool]) -> Callable[[Value, Value], bool]:
    def apply(a: Value, b: Value) -> bool:
        if (is_number(a) and is_number(b)) or choices.are_ordered(a, b):
            return compare(a, b)
        raise _operands(sign, a, b)

    return apply


def contains(item: Value, container: Value) -> bool:
    """`in`: an element of a list or a key of a map.

    https://cloud.google.com/workflows/docs/access-execution-results has the words of the error.
    """
    if type(container) is list:
        return any(equals(item, element) for element in container)
    if type(container) is dict:
        return choices.map_key(item) in container
    if type(container) is str and choices.is_in_string():
        return type(item) is str and item in container
    message = f"The argument of 'in' must be a dict or an array; got: {shown(container)}"
    raise runtime_error("TypeError", message, prefixed=False)


BINARY: dict[str, Callable[[Value, Value], Value]] = {
    "<": _comparison("<", operator.lt),
    ">": _comparison(">", operator.gt),
    "<=": _comparison("<=", operator.le),
    ">=": _comparison(">=", operator.ge),
    "==": equals,
    "!=": differs,
    "in": contains,
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "//": floor_divide,
    "%": remainder,
}
UNARY: dict[str, Callable[[Value], Value]] = {"-": negate, "not": negation}
