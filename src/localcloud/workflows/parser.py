"""What does the text between `${` and `}` mean? Tokens, precedence climbing, and the nodes they become.

Precedence, loosest first: `or`, `and`, `<= >= < > == != in` (one level), `+ -`, `* / // %`, unary `-`, `not`, access.
https://cloud.google.com/workflows/docs/reference/syntax/expressions
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from localcloud.workflows import values
from localcloud.workflows.expressions import Apply, Literal, Logical, Node, list_node, map_node

MAX_EXPRESSION = 400  # characters
_MAX_DEPTH = 60  # of parentheses and the like; keeps the parser and the evaluator within Python's stack


class ExpressionError(Exception):
    """The text is no expression, or names something that does not exist."""


class Names(Protocol):
    """What names mean where the expression stands."""

    def reference(self, parts: Sequence[str]) -> Node:
        """A variable with accesses, or a constant or function of the standard library. Raises ExpressionError."""

    def call(self, name: str, args: Sequence[Node]) -> Node:
        """A call of a function or subworkflow. Raises ExpressionError."""


_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<symbol>//|<=|>=|==|!=|[-+*/%<>()\[\]{},.:])""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"and": "and", "AND": "and", "or": "or", "OR": "or", "not": "not", "NOT": "not", "in": "in"}
_CONSTANTS = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False, "null": None,
}  # fmt: skip

_OR, _AND, _COMPARE, _ADD, _MULTIPLY, _UNARY = range(1, 7)
_BINARY: dict[str, tuple[int, Callable[..., values.Value]]] = {
    "<": (_COMPARE, values.comparison("<", operator.lt)),
    ">": (_COMPARE, values.comparison(">", operator.gt)),
    "<=": (_COMPARE, values.comparison("<=", operator.le)),
    ">=": (_COMPARE, values.comparison(">=", operator.ge)),
    "==": (_COMPARE, values.equals),
    "!=": (_COMPARE, values.differs),
    "in": (_COMPARE, values.contains),
    "+": (_ADD, values.add),
    "-": (_ADD, values.subtract),
    "*": (_MULTIPLY, values.multiply),
    "/": (_MULTIPLY, values.divide),
    "//": (_MULTIPLY, values.floor_divide),
    "%": (_MULTIPLY, values.remainder),
}
_LOGICAL = {"or": _OR, "and": _AND}

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\", "/": "/"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is number, name, string, symbol, word (an operator in letters) or end."""

    kind: str
    text: str
    at: int


def parse(text: str, names: Names) -> Node:
    """The expression in `text`, without its `${` and `}`.

    Raises:
        ExpressionError: saying what is wrong, and at which character.
    """
    if len(text) > MAX_EXPRESSION:
        raise ExpressionError(f"expression is {len(text)} characters long; at most {MAX_EXPRESSION} are allowed")
    parser = _Parser(tokenize(text), names)
    node = parser.expression(_OR)
    parser.expect("end", "")
    return node


def tokenize(text: str) -> list[Token]:
    """The tokens of `text`, without white space, closed by an end token. Raises ExpressionError."""
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ExpressionError(f"parse error: token recognition error at: {text[at : at + 20]!r}, character {at}")
        kind, word = str(match.lastgroup), match.group()
        if kind == "name" and word in _WORDS:
            tokens.append(Token("word", _WORDS[word], at))
        elif kind != "space":
            tokens.append(Token(kind, word, at))
        at = match.end()
    tokens.append(Token("end", "", at))
    return tokens


class _Parser:
    def __init__(self, tokens: Sequence[Token], names: Names) -> None:
        self._tokens = tokens
        self._names = names
        self._next = 0
        self._depth = 0

    @property
    def token(self) -> Token:
        return self._tokens[self._next]

    def take(self) -> Token:
        token = self.token
        self._next += 1
        return token

    def accept(self, symbol: str) -> bool:
        found = self.token.kind == "symbol" and self.token.text == symbol
        self._next += found
        return found

    def expect(self, kind: str, text: str) -> Token:
        if self.token.kind != kind or (text and self.token.text != text):
            raise self.unexpected(f"expecting {text or kind!r}")
        return self.take()

    def unexpected(self, wanted: str) -> ExpressionError:
        found = repr(self.token.text) if self.token.text else "the end of the expression"
        return ExpressionError(f"parse error: unexpected {found} at character {self.token.at}, {wanted}")

    def expression(self, loosest: int) -> Node:
        """Operators that bind at least as tightly as `loosest`; all of them associate to the left."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ExpressionError("parse error: the expression is nested too deeply")
        left = self.unary()
        while self.token.kind in ("symbol", "word"):
            sign = self.token.text
            if _LOGICAL.get(sign, 0) >= loosest:
                self.take()
                left = Logical(sign, left, self.expression(_LOGICAL[sign] + 1))
            elif sign in _BINARY and _BINARY[sign][0] >= loosest:
                level, function = _BINARY[self.take().text]
                left = Apply(function, (left, self.expression(level + 1)))
            else:
                break
        self._depth -= 1
        return left

    def unary(self) -> Node:
        if self.token.kind == "word" and self.token.text == "not":
            self.take()
            return Apply(values.negation, (self.operand(),))
        if self.accept("-"):
            if self.token.kind == "number":
                return Literal(_number("-" + self.take().text))
            return Apply(values.negate, (self.operand(),))
        return self.postfix()

    def operand(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ExpressionError("parse error: the expression is nested too deeply")
        node = self.unary()
        self._depth -= 1
        return node

    def postfix(self) -> Node:
        node = self.primary()
        while True:
            if self.accept("."):
                node = Apply(values.get_item, (node, Literal(self.member())))
            elif self.accept("["):
                node = Apply(values.get_item, (node, self.expression(_OR)))
                self.expect("symbol", "]")
            else:
                return node

    def member(self) -> str:
        if self.token.kind not in ("name", "word"):
            raise self.unexpected("expecting a name")
        return self.take().text

    def primary(self) -> Node:
        token = self.token
        match token.kind:
            case "number":
                return Literal(_number(self.take().text))
            case "string":
                return Literal(_unquoted(self.take().text))
            case "name":
                return self.name()
        if self.accept("("):
            node = self.expression(_OR)
            self.expect("symbol", ")")
            return node
        if self.accept("["):
            return list_node(self.sequence("]"))
        if self.accept("{"):
            return self.map_literal()
        raise self.unexpected("expecting a value")

    def name(self) -> Node:
        text = self.take().text
        if text in _CONSTANTS:
            return Literal(_CONSTANTS[text])
        parts = [text]
        while self.accept("."):
            parts.append(self.member())
        if self.accept("("):
            return self._names.call(".".join(parts), self.sequence(")"))
        return self._names.reference(parts)

    def sequence(self, closing: str) -> list[Node]:
        items: list[Node] = []
        while not self.accept(closing):
            if items:
                self.expect("symbol", ",")
            items.append(self.expression(_OR))
        return items

    def map_literal(self) -> Node:
        entries: list[tuple[Node, Node]] = []
        while not self.accept("}"):
            if entries:
                self.expect("symbol", ",")
            key = self.expression(_OR)
            self.expect("symbol", ":")
            entries.append((key, self.expression(_OR)))
        return map_node(entries)


def _number(text: str) -> int | float:
    if not text.lstrip("-").isdigit():
        return float(text)
    number = int(text)
    if not values.INT_MIN <= number <= values.INT_MAX:
        raise ExpressionError(f"parse error: integer {text} does not fit in 64 bits")
    return number


def _unquoted(text: str) -> str:
    return str(values.without_surrogates(_ESCAPE.sub(_unescape, text[1:-1])))


def _unescape(match: re.Match[str]) -> str:
    escape = match.group(1)
    if escape[0] == "u" and len(escape) == 5:
        return chr(int(escape[1:], 16))
    # Not documented: unknown escapes. Here both characters stay, so that a regular expression may say "\d".
    return _ESCAPES.get(escape, match.group())
