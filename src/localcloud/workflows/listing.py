"""Which executions does a list request ask for, and in which order? A subset of AIP-160 and AIP-132.

Filters are comparisons joined by AND: `state="FAILED" AND createTime>"2024-01-01T00:00:00Z" AND labels.team="a"`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from localcloud.workflows.errors import invalid
from localcloud.workflows.state import Execution

_COMPARISON = re.compile(
    r"""\s*(?P<field>[\w.-]+)\s*(?P<sign><=|>=|!=|=|<|>|:)\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s"()]+))\s*"""
)
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    ":": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_FIELDS: dict[str, Callable[[Execution], Any]] = {
    "executionId": lambda each: each.name.rpartition("/")[2],
    "state": lambda each: each.state,
    "createTime": lambda each: each.create_time,
    "startTime": lambda each: each.create_time,
    "endTime": lambda each: each.end_time,
    "duration": lambda each: None if each.end_time is None else each.end_time - each.create_time,
    "workflowRevisionId": lambda each: each.revision,
    "stepName": lambda each: each.current[1] if each.current else None,
}
_TIMES = ("createTime", "startTime", "endTime")
_LABELS = re.compile(r"labels?\.(.+)")

Predicate = Callable[[Execution], bool]


def select(executions: Sequence[Execution], filter_text: str, order_by: str) -> list[Execution]:
    """The executions that pass the filter, in order. Raises ApiError INVALID_ARGUMENT."""
    predicates = [_predicate(part) for part in _conjuncts(filter_text)]
    chosen = [each for each in executions if all(predicate(each) for predicate in predicates)]
    return _ordered(chosen, order_by)


def page(executions: Sequence[Execution], size: int, token: str, *, most: int) -> tuple[list[Execution], str]:
    """One page and the token of the next. The token names the last execution of the page before."""
    if size < 0:
        raise invalid(f"page_size is negative: {size}")
    names = [each.name.rpartition("/")[2] for each in executions]
    if token and token not in names:
        raise invalid("page_token is not of this list")
    first = names.index(token) + 1 if token else 0
    last = first + min(size or 100, most)
    return list(executions[first:last]), names[last - 1] if last < len(names) else ""


def _conjuncts(text: str) -> list[re.Match[str]]:
    parts = []
    for part in re.split(r"\s+AND\s+", text.strip()) if text.strip() else []:
        match = _COMPARISON.fullmatch(part)
        if match is None:
            raise invalid(f"filter {part!r} is not a comparison; expected <field> <sign> <value>, joined by AND")
        parts.append(match)
    return parts


def _predicate(comparison: re.Match[str]) -> Predicate:
    name, compare = comparison["field"], _SIGNS[comparison["sign"]]
    text = comparison["bare"] if comparison["quoted"] is None else re.sub(r"\\(.)", r"\1", comparison["quoted"])
    read = _field(name)
    wanted = _value(name, text)

    def holds(execution: Execution) -> bool:
        actual = read(execution)
        return actual is not None and compare(actual, wanted)

    return holds


def _field(name: str) -> Callable[[Execution], Any]:
    if label := _LABELS.fullmatch(name):
        return lambda each: each.labels.get(label[1])
    if name not in _FIELDS:
        raise invalid(f"field {name!r} is not one of {', '.join(_FIELDS)}, labels.<key>")
    return _FIELDS[name]


def _value(name: str, text: str) -> Any:
    try:
        if name in _TIMES:
            return datetime.fromisoformat(text).timestamp()
        return float(text.removesuffix("s")) if name == "duration" else text
    except ValueError as error:
        raise invalid(f"{text!r} is no value of {name}") from error


def _ordered(executions: list[Execution], order_by: str) -> list[Execution]:
    # Stable sorts, the least significant field first.
    for part in reversed([part.split() for part in order_by.split(",") if part.strip()]):
        if len(part) > 2 or (len(part) == 2 and part[1] not in ("asc", "desc")):
            raise invalid(f"order_by {' '.join(part)!r} is not <field> [asc|desc]")
        read = _field(part[0])
        executions = sorted(executions, key=lambda each: (read(each) is None, read(each)), reverse=part[-1] == "desc")
    return executions
