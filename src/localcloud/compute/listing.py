"""Which resources does a list call answer with? Filters, order and pages of Compute Engine's lists.

A filter is an AIP-160 expression over the fields that the resource shows, `labels.owner:*` among them, or comparisons
with `eq` and `ne`, whose values are regular expressions (RE2) for the whole field.
https://cloud.google.com/compute/docs/reference/rest/v1/instances/list
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from localcloud.compute.errors import invalid
from localcloud.workflows.errors import ApiError
from localcloud.workflows.filters import Field, Fields, Predicate

MOST = 500
MAX_FILTER_BYTES = 2048
_BY_EXPRESSION = re.compile(r"""\s*([\w.-]+)\s+(eq|ne)\s+("[^"]*"|'[^']*'|\S+?)\s*""")

Resource = dict[str, Any]


def page(query: Mapping[str, str], found: list[Resource]) -> tuple[list[Resource], str]:
    """The page that a call asks for, and the token of the next one, or "". Raises ComputeError 400."""
    matches = predicate(query.get("filter", ""))
    kept = _ordered([each for each in found if matches(each)], query.get("orderBy", ""))
    size = _number(query, "maxResults", MOST)
    if size > MOST:
        raise invalid("maxResults", size, f"Must be a whole number from 0 to {MOST}.")
    start = _number(query, "pageToken", 0)
    end = start + (size or MOST)
    return kept[start:end], str(end) if end < len(kept) else ""


def predicate(text: str) -> Callable[[Resource], bool]:
    """A filter as a function. Raises ComputeError 400."""
    if len(text) > MAX_FILTER_BYTES:
        raise invalid("filter", text, f"Must have at most {MAX_FILTER_BYTES} characters.")
    parts = _by_expression(text)
    if parts:
        return lambda resource: all(part(resource) for part in parts)
    try:
        return _Shown({}).predicate(text)
    except ApiError as error:
        raise invalid("filter", text, f"Invalid list filter expression. {error}") from error


class _Value(str):
    """A value as filters compare it: as a number where both are numbers."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return _less(self, other)

    def __gt__(self, other: str) -> bool:
        return _less(other, self)

    def __le__(self, other: str) -> bool:
        return not _less(other, self)

    def __ge__(self, other: str) -> bool:
        return not _less(self, other)


class _Shown(Fields):
    """Whatever the JSON of a resource shows."""

    def find(self, name: str) -> Field:
        """The field at a path with dots."""
        return Field(lambda resource: _read(resource, name))


def _read(resource: Resource, name: str) -> _Value | None:
    value: Any = resource
    while name and isinstance(value, dict):
        head, _, rest = name.partition(".")
        # A label's key may have dots, as far as is known here.
        value, name = (value[name], "") if name in value else (value.get(head), rest)
    if value is None or name:
        return None
    return _Value(str(value).lower() if isinstance(value, bool) else str(value))


def _less(a: str, b: str) -> bool:
    try:
        return float(a) < float(b)
    except ValueError:
        return str.__lt__(a, b)


def _by_expression(text: str) -> list[Predicate]:
    """The comparisons of a filter with `eq` and `ne`; none where it has no such."""
    groups = re.findall(r"\(([^()]*)\)", text)
    alone = groups if re.fullmatch(r"\s*(\([^()]*\)\s*(AND\s*)?)+", text) else [text]
    found = [_BY_EXPRESSION.fullmatch(part) for part in alone]
    return [_expression(*each.groups()) for each in found if each is not None] if all(found) and text else []


def _expression(name: str, sign: str, quoted: str) -> Predicate:
    import re2

    wanted = quoted[1:-1] if quoted[0] in "\"'" else quoted
    try:
        pattern = re2.compile(wanted)
    except re2.error as error:
        raise invalid("filter", wanted, "Invalid list filter expression: no regular expression.") from error
    return lambda resource: (pattern.fullmatch(str(_read(resource, name) or "")) is not None) is (sign == "eq")


def _ordered(found: list[Resource], order: str) -> list[Resource]:
    if order in ("", "name"):
        return found
    if " ".join(order.split()) == "creationTimestamp desc":
        return sorted(found, key=lambda each: str(each.get("creationTimestamp", "")), reverse=True)
    raise invalid("orderBy", order, "Must be 'name' or 'creationTimestamp desc'.")


def _number(query: Mapping[str, str], name: str, otherwise: int) -> int:
    text = query.get(name, "")
    if not text:
        return otherwise
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise invalid(name, text, "Must be a whole number." if name == "maxResults" else "The token is invalid.")
    return int(text)
