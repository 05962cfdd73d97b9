"""Which messages does a subscription's filter let through?

    attributes:key                       the key is there
    attributes.key = "value"             and `!=`, which is also true when the key is missing
    hasPrefix(attributes.key, "value")
    NOT x, -x, x AND y, x OR y, (x)      AND and OR do not mix without parentheses

A key that is more than letters, digits, hyphens and underscores stands in quotes: `attributes."iana.org/language"`.
A filter is parsed to a tree; `str` of a tree is a text that parses to the same tree.
https://cloud.google.com/pubsub/docs/subscription-message-filter
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from localcloud.pubsub.errors import InvalidArgument, shown

MAX_BYTES = 256

_TOKEN = re.compile(
    r'\s*(?:(?P<word>[A-Za-z0-9_][A-Za-z0-9_-]*)|(?P<string>"(?:[^"\\]|\\.)*")|(?P<sign>!=|[-=:.,()]))', re.S
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)", re.S)
_SIMPLE_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_MAX_CODE_POINT = 0x10FFFF
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


class Filter:
    """A condition on a message's attributes."""

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Does it let a message with these attributes through?"""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Everything(Filter):
    """No filter: all messages pass."""

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return True

    def __str__(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Has(Filter):
    """The key is there."""

    key: str

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return self.key in attributes

    def __str__(self) -> str:
        return f"attributes:{_key(self.key)}"


@dataclass(frozen=True, slots=True)
class Equals(Filter):
    """The key has this value."""

    key: str
    value: str

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return attributes.get(self.key) == self.value

    def __str__(self) -> str:
        return f"attributes.{_key(self.key)} = {_quoted(self.value)}"


@dataclass(frozen=True, slots=True)
class Differs(Filter):
    """The key has another value, or is not there."""

    key: str
    value: str

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return attributes.get(self.key) != self.value

    def __str__(self) -> str:
        return f"attributes.{_key(self.key)} != {_quoted(self.value)}"


@dataclass(frozen=True, slots=True)
class HasPrefix(Filter):
    """The key is there, and its value begins like this."""

    key: str
    prefix: str

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return self.key in attributes and attributes[self.key].startswith(self.prefix)

    def __str__(self) -> str:
        return f"hasPrefix(attributes.{_key(self.key)}, {_quoted(self.prefix)})"


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """The other way round."""

    term: Filter

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return not self.term.matches(attributes)

    def __str__(self) -> str:
        return f"NOT {_term(self.term)}"


@dataclass(frozen=True, slots=True)
class And(Filter):
    """All of at least two."""

    terms: tuple[Filter, ...]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return all(term.matches(attributes) for term in self.terms)

    def __str__(self) -> str:
        return " AND ".join(map(_term, self.terms))


@dataclass(frozen=True, slots=True)
class Or(Filter):
    """Any of at least two."""

    terms: tuple[Filter, ...]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        return any(term.matches(attributes) for term in self.terms)

    def __str__(self) -> str:
        return " OR ".join(map(_term, self.terms))


def parse(text: str) -> Filter:
    """The filter that a text means; an empty text lets everything through.

    Raises:
        InvalidArgument: with the position and what was expected there.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise InvalidArgument(f"filter is {size} bytes long; at most {MAX_BYTES} are allowed")
    if not text.strip():
        return Everything()
    return _Parser(text).whole()


class _Parser:
    """Recursive descent; the length limit of a filter bounds the depth."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._next = 0

    def whole(self) -> Filter:
        result = self._expression()
        if self._peek():
            raise self._expected("AND, OR or the end")
        return result

    def _expression(self) -> Filter:
        terms = [self._term()]
        operator = self._peek()
        if operator not in ("AND", "OR"):
            return terms[0]
        while self._peek() == operator:
            self._next += 1
            terms.append(self._term())
        if self._peek() in ("AND", "OR"):
            raise self._expected(f"parentheses: AND and OR do not mix; after {operator} another {operator}")
        return And(tuple(terms)) if operator == "AND" else Or(tuple(terms))

    def _term(self) -> Filter:
        if self._take("NOT") or self._take("-"):
            return Not(self._term())
        if self._take("("):
            inner = self._expression()
            self._need(")")
            return inner
        if self._take("hasPrefix"):
            return self._has_prefix()
        if self._take("attributes"):
            return self._comparison()
        raise self._expected('`attributes`, `hasPrefix`, NOT or "("')

    def _has_prefix(self) -> Filter:
        self._need("(")
        self._need("attributes")
        self._need(".")
        key = self._key()
        self._need(",")
        prefix = self._string()
        self._need(")")
        return HasPrefix(key, prefix)

    def _comparison(self) -> Filter:
        if self._take(":"):
            return Has(self._key())
        self._need(".")
        key = self._key()
        if self._take("="):
            return Equals(key, self._string())
        if self._take("!="):
            return Differs(key, self._string())
        raise self._expected("= or !=")

    def _key(self) -> str:
        token = self._peek()
        if token.startswith('"'):
            return self._string()
        if not token or not (token[0].isalnum() or token[0] == "_"):
            raise self._expected("an attribute key")
        self._next += 1
        return token

    def _string(self) -> str:
        token = self._peek()
        if not token.startswith('"'):
            raise self._expected("a string in double quotes")
        self._next += 1
        return _ESCAPE.sub(_unescaped, token[1:-1])

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _take(self, token: str) -> bool:
        if self._peek() != token:
            return False
        self._next += 1
        return True

    def _need(self, token: str) -> None:
        if not self._take(token):
            raise self._expected(f'"{token}"')

    def _expected(self, what: str) -> InvalidArgument:
        at = self._tokens[self._next][1] if self._next < len(self._tokens) else len(self._text)
        found = shown(self._peek()) if self._peek() else "the end"
        return InvalidArgument(f"filter {shown(self._text)}: expected {what} at position {at}, found {found}")


def _tokens(text: str) -> list[tuple[str, int]]:
    tokens = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise InvalidArgument(
                f"filter {shown(text)}: unexpected {shown(text[at:].lstrip()[:1])} after position {at}"
            )
        kind = match.lastgroup or ""
        tokens.append((match[kind], match.start(kind)))
        at = match.end()
    return tokens


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) > 1 and code[0] in "xuU":
        number = int(code[1:], 16)
    elif code[0] in "01234567":
        number = int(code, 8)
    else:
        return _SIMPLE_ESCAPES.get(code, code)
    if number > _MAX_CODE_POINT:
        raise InvalidArgument(f"filter: {shown(match[0])} is no Unicode character")
    return chr(number)


def _term(term: Filter) -> str:
    return f"({term})" if isinstance(term, And | Or) else str(term)


def _key(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else _quoted(key)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
