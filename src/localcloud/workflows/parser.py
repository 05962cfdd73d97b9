"""What does the text between `${` and `}` mean? Tokens, precedence climbing, and the tree they become.

Precedence, loosest first: `or`, `and`, `<= >= < > == != in` (one level), `+ -`, `* / // %`, unary `-`, `not`, access.
https://cloud.google.com/workflows/docs/reference/syntax/datatypes#order-operations
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from localcloud.workflows import choices, values
from localcloud.workflows.syntax import (
    OR,
    PRECEDENCE,
    Binary,
    Call,
    Expression,
    Index,
    ListOf,
    Literal,
    MapOf,
    Member,
    Name,
    Unary,
)

MAX_EXPRESSION = 400  # characters
_MAX_DEPTH = 100  # of parentheses and the like; keeps the parser and the evaluator within Python's stack


class ExpressionError(Exception):
    """The text is no expression, or names something that does not exist. `at` is the character it is about."""

    def __init__(self, message: str, at: int = 0) -> None:
        super().__init__(message)
        self.at = at


_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<symbol>//|<=|>=|==|!=|[-+*/%<>()\[\]{},.:])""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"and": "and", "AND": "and", "or": "or", "OR": "or", "not": "not", "NOT": "not", "in": "in"}
_CONSTANTS = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False, "null": None,
}  # fmt: skip
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\", "/": "/"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is number, name, string, symbol, word (an operator in letters) or end."""

    kind: str
    text: str
    at: int
    raw: str = ""


def parse(text: str) -> Expression:
    """The tree of an expression, given without its `${` and `}`.

    Raises:
        ExpressionError: saying what is wrong, and at which character.
    """
    if len(text) > MAX_EXPRESSION:
        raise ExpressionError(f"expression is {len(text)} characters long; at most {MAX_EXPRESSION} are allowed")
    parser = _Parser(tokenize(text))
    node = parser.expression(OR)
    parser.expect("end", "")
    return node


def tokenize(text: str) -> list[Token]:
    """The tokens of `text`, without white space, closed by an end token. Raises ExpressionError."""
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ExpressionError(
                f"parse error: token recognition error at: {text[at : at + 20]!r}, character {at}", at
            )
        kind, word = str(match.lastgroup), match.group()
        if kind == "name" and word in _WORDS:
            tokens.append(Token("word", _WORDS[word], at, word))
        elif kind != "space":
            tokens.append(Token(kind, word, at))
        at = match.end()
    tokens.append(Token("end", "", at))
    return tokens


class _Parser:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
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
        at = self.token.at
        return ExpressionError(f"parse error: unexpected {found} at character {at}, {wanted}", at)

    def enter(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ExpressionError("parse error: the expression is nested too deeply", self.token.at)

    def expression(self, loosest: int) -> Expression:
        """Operators that bind at least as tightly as `loosest`; all of them associate to the left."""
        self.enter()
        left = self.unary()
        while self.token.kind in ("symbol", "word") and PRECEDENCE.get(self.token.text, 0) >= loosest:
            operator = self.take().text
            left = Binary(operator, left, self.expression(PRECEDENCE[operator] + 1))
        self._depth -= 1
        return left

    def unary(self) -> Expression:
        if self.token.kind == "word" and self.token.text == "not":
            self.take()
            return Unary("not", self.operand())
        if self.accept("-"):
            following = self._tokens[self._next + 1] if self.token.kind == "number" else None
            if following is not None and not (following.kind == "symbol" and following.text in (".", "[")):
                return Literal(_number("-" + self.token.text, self.take().at))
            return Unary("-", self.operand())
        return self.postfix()

    def operand(self) -> Expression:
        self.enter()
        node = self.unary()
        self._depth -= 1
        return node

    def postfix(self) -> Expression:
        node = self.primary()
        while True:
            if self.accept("."):
                node = Member(node, self.member())
            elif self.accept("["):
                node = Index(node, self.expression(OR))
                self.expect("symbol", "]")
            else:
                return node

    def member(self) -> str:
        if self.token.kind not in ("name", "word"):
            raise self.unexpected("expecting a name")
        token = self.take()
        return token.raw or token.text

    def primary(self) -> Expression:
        token = self.token
        match token.kind:
            case "number":
                return Literal(_number(self.take().text, token.at))
            case "string":
                return Literal(_unquoted(self.take().text))
            case "name":
                return self.name()
        if self.accept("("):
            node = self.expression(OR)
            self.expect("symbol", ")")
            return node
        if self.accept("["):
            return ListOf(tuple(self.sequence("]")))
        if self.accept("{"):
            return self.map_literal()
        raise self.unexpected("expecting a value")

    def name(self) -> Expression:
        token = self.take()
        if token.text in _CONSTANTS:
            return Literal(_CONSTANTS[token.text])
        start, parts = self._next, [token.text]
        while self.accept("."):
            parts.append(self.member())
        if self.accept("("):
            return Call(".".join(parts), tuple(self.sequence(")")), token.at)
        self._next = start
        return Name(token.text, token.at)

    def sequence(self, closing: str) -> list[Expression]:
        items: list[Expression] = []
        while not self.accept(closing):
            if items:
                self.expect("symbol", ",")
            items.append(self.expression(OR))
        return items

    def map_literal(self) -> Expression:
        entries: list[tuple[Expression, Expression]] = []
        while not self.accept("}"):
            if entries:
                self.expect("symbol", ",")
            key = self.expression(OR)
            self.expect("symbol", ":")
            entries.append((key, self.expression(OR)))
        return MapOf(tuple(entries))


def _number(text: str, at: int) -> int | float:
    if text.lstrip("-").isdigit():
        number = int(text)
        if not values.INT_MIN <= number <= values.INT_MAX:
            raise ExpressionError(f"parse error: integer {text} does not fit in 64 bits", at)
        return number
    double = float(text)
    if double in (float("inf"), float("-inf")):
        raise ExpressionError(f"parse error: number {text} does not fit in a double", at)
    return double


def _unquoted(text: str) -> str:
    return str(values.without_surrogates(_ESCAPE.sub(_unescape, text[1:-1])))


def _unescape(match: re.Match[str]) -> str:
    escape = match.group(1)
    if escape[0] == "u" and len(escape) == 5:
        return chr(int(escape[1:], 16))
    return _ESCAPES.get(escape) or choices.unknown_escape(escape)
