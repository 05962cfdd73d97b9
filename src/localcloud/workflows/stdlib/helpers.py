"""Expression helpers: conversions, lengths, defaults. https://cloud.google.com/workflows/docs/reference/stdlib/expression-helpers"""

from __future__ import annotations

from localcloud.workflows import values
from localcloud.workflows.functions import expect, pure
from localcloud.workflows.values import Value


@pure("double")
def _double(value: Value) -> Value:
    return values.to_double(value)


@pure("int")
def _int(value: Value) -> Value:
    return values.to_int(value)


@pure("string")
def _string(value: Value) -> Value:
    return values.to_string(value)


@pure("keys")
def _keys(map_: Value) -> Value:
    return list(expect(map_, dict, "argument of keys()"))


@pure("len")
def _len(value: Value) -> Value:
    return len(expect(value, (list, dict, str), "argument of len()"))


@pure("default")
def _default(val: Value, default_val: Value) -> Value:
    return default_val if val is None else val


@pure("if")
def _if(condition: Value, if_true: Value, if_false: Value) -> Value:
    return if_false if condition is None or not values.boolean(condition, "condition of if()") else if_true


@pure("get_type")
def _get_type(value: Value) -> Value:
    return values.type_name(value)
