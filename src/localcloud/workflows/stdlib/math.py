"""`math`. https://cloud.google.com/workflows/docs/reference/stdlib/math/abs"""

from __future__ import annotations

from typing import Any

from localcloud.workflows import choices, values
from localcloud.workflows.functions import expect, pure
from localcloud.workflows.values import Value


def _number(value: Value, what: str) -> Any:
    return expect(value, (int, float), what)


@pure("math.abs")
def _abs(x: Value) -> Value:
    return values.checked(abs(_number(x, "x")))


@pure("math.floor")
def _floor(x: Value) -> Value:
    return x if type(x) is int else values.checked(choices.floor(_number(x, "x")))


@pure("math.max")
def _max(x: Value, y: Value) -> Value:
    return choices.larger(_number(x, "x"), _number(y, "y"))


@pure("math.min")
def _min(x: Value, y: Value) -> Value:
    return choices.smaller(_number(x, "x"), _number(y, "y"))
