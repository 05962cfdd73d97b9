"""`list`. https://cloud.google.com/workflows/docs/reference/stdlib/list/concat"""

from __future__ import annotations

from localcloud.workflows.functions import expect, pure
from localcloud.workflows.values import Value


@pure("list.concat")
def _concat(objs: Value, val: Value) -> Value:
    return [*expect(objs, list, "objs"), val]


@pure("list.prepend")
def _prepend(objs: Value, val: Value) -> Value:
    return [val, *expect(objs, list, "objs")]
