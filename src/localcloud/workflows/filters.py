"""Does a resource pass a list request's filter? AIP-160 over the fields that a resource declares.

Covered: comparisons (`=`, `!=`, `<`, `<=`, `>`, `>=`, `:`), `AND`, `OR` (which binds tighter), `NOT` and `-`,
parentheses, conjunction by juxtaposition, `*` at the ends of a text. Left out: functions, fuzzy terms without a field.
https://google.aip.dev/160
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from localcloud.workflows.errors import ApiError, invalid

MAX_DEPTH = 50
_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<sign><=|>=|!=|=|<|>|:)|(?P<mark>[()])"""
    r"""|(?P<minus>-)(?=[\w("'])|(?P<word>[^\s()"'<>=!:]+))"""
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

Predicate = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Field:
    """How a field is read from a resource, and how a literal is read that it is compared with."""

    read: Callable[[Any], Any]
    parse: Callable[[str], Any] = str


def moment(text: str) -> float:
    """An RFC 3339 time, or a date, in seconds since the epoch. Raises ValueError."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def seconds(text: str) -> float:
    """A duration such as `1.5s`. Raises ValueError."""
    return float(text.removesuffix("s"))


class Fields:
    """The fields of a kind of resource. `labels` reads its labels, if it has any: `labels.team`, `label.team`."""

    def __init__(self, fields: Mapping[str, Field], labels: Callable[[Any], Mapping[str, str]] | None = None) -> None:
        self._fields = fields
        self._labels = labels

    def find(self, name: str) -> Field:
        """A field by its name. Raises ApiError INVALID_ARGUMENT."""
        head, _, rest = name.partition(".")
        if self._labels is not None and head in ("label", "labels") and rest:
            labels = self._labels
            return Field(lambda resource: labels(resource).get(rest))
        if name not in self._fields:
            known = [*self._fields, *(["labels.<key>"] if self._labels else [])]
            raise invalid(f"field {name[:80]!r} is not one of {', '.join(known)}")
        return self._fields[name]

    def predicate(self, text: str) -> Predicate:
        """The filter as a function. Raises ApiError INVALID_ARGUMENT."""
        return _Parser(text, self).parsed()


class _Parser:
    def __init__(self, text: str, fields: Fields) -> None:
        self._fields = fields
        self._tokens = self._split(text)
        self._at = 0
        self._depth = 0

    def parsed(self) -> Predicate:
        if not self._tokens:
            return lambda _: True
        found = self._conjunction()
        if self._at < len(self._tokens):
            raise self._refusal("nothing more")
        return found

    def _split(self, text: str) -> list[tuple[str, str]]:
        tokens, at = [], 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise invalid(f"filter cannot be read from {text[at : at + 40]!r} on")
            kind = match.lastgroup or ""
            tokens.append((kind, match[kind]))
            at = match.end()
        return tokens

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "")

    def _take(self, kind: str, *texts: str) -> str | None:
        found, text = self._next()
        if found != kind or (texts and text not in texts):
            return None
        self._at += 1
        return text

    def _refusal(self, wanted: str) -> ApiError:
        text = self._next()[1]
        return invalid(f"filter: expected {wanted}, found {text[:40]!r}" if text else f"filter: expected {wanted}")

    def _conjunction(self) -> Predicate:
        parts = [self._disjunction()]
        while self._at < len(self._tokens) and self._next() != ("mark", ")"):
            self._take("word", "AND")
            parts.append(self._disjunction())
        return parts[0] if len(parts) == 1 else lambda resource: all(part(resource) for part in parts)

    def _disjunction(self) -> Predicate:
        parts = [self._term()]
        while self._take("word", "OR"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else lambda resource: any(part(resource) for part in parts)

    def _term(self) -> Predicate:
        if self._take("minus") or self._take("word", "NOT"):
            inner = self._simple()
            return lambda resource: not inner(resource)
        return self._simple()

    def _simple(self) -> Predicate:
        if not self._take("mark", "("):
            return self._comparison()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise invalid(f"filter: parentheses are nested deeper than {MAX_DEPTH}")
        inner = self._conjunction()
        if not self._take("mark", ")"):
            raise self._refusal("a closing parenthesis")
        self._depth -= 1
        return inner

    def _comparison(self) -> Predicate:
        name = self._take("word")
        if name is None:
            raise self._refusal("a field")
        field = self._fields.find(name)
        sign = self._take("sign")
        if sign is None:
            raise self._refusal(f"a sign after {name}, one of {' '.join(_SIGNS)}")
        return _comparing(field, sign, name, self._literal(name))

    def _literal(self, name: str) -> str:
        quoted = self._take("quoted")
        if quoted is not None:
            return re.sub(r"\\(.)", r"\1", quoted[1:-1])
        minus = "-" if self._take("minus") else ""
        word = self._take("word")
        if word is None:
            raise self._refusal(f"a value for {name}")
        # An unquoted time has colons in it.
        while self._next() == ("sign", ":") and word[-1].isdigit():
            self._at += 1
            word += f":{self._take('word') or ''}"
        return minus + word


def _comparing(field: Field, sign: str, name: str, text: str) -> Predicate:
    compare = _SIGNS[sign]
    if field.parse is str and sign in ("=", ":", "!=") and "*" in text:
        pattern = re.sub(r"([?\[\]])", r"[\1]", text)
        return lambda resource: (
            (actual := field.read(resource)) is not None and fnmatchcase(actual, pattern) is (sign != "!=")
        )
    try:
        wanted = field.parse(text)
    except ValueError as error:
        raise invalid(f"filter: {text[:80]!r} is no value of {name}") from error

    def holds(resource: Any) -> bool:
        actual = field.read(resource)
        return actual is not None and compare(actual, wanted)

    return holds
