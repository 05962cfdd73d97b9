"""What is an expression made of, and how is it written down? Its tree, and the text of a tree.

A tree says what the author wrote: names are not looked up yet. `unparse` writes it with the fewest parentheses, so that
parsing the text gives the tree again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from localcloud.workflows.errors import Position

OR, AND, COMPARE, ADD, MULTIPLY, NEGATE, NOT, ACCESS = range(1, 9)
PRECEDENCE = {
    "or": OR, "and": AND,
    "<=": COMPARE, ">=": COMPARE, "<": COMPARE, ">": COMPARE, "==": COMPARE, "!=": COMPARE, "in": COMPARE,
    "+": ADD, "-": ADD,
    "*": MULTIPLY, "/": MULTIPLY, "//": MULTIPLY, "%": MULTIPLY,
}  # fmt: skip
_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: null, a boolean, a number or a string."""

    value: bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, subworkflow or module. `at` is the character it starts at."""

    name: str
    at: int = field(compare=False, default=0)


@dataclass(frozen=True, slots=True)
class Member:
    """`target.name`."""

    target: Expression
    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """`target[key]`."""

    target: Expression
    key: Expression


@dataclass(frozen=True, slots=True)
class Call:
    """A function, subworkflow or module function such as `text.split`, with positional arguments."""

    function: str
    args: tuple[Expression, ...]
    at: int = field(compare=False, default=0)


@dataclass(frozen=True, slots=True)
class Unary:
    """`not` or `-`."""

    operator: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands; all operators associate to the left."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map of keys to values."""

    entries: tuple[tuple[Expression, Expression], ...]


@dataclass(frozen=True, slots=True)
class Embedded:
    """A value of the source at its place: the expression of a `${...}`, or what stands there as it is."""

    body: Expression
    position: Position = field(compare=False)
    offset: int = field(compare=False, default=0)  # columns from the position to the expression's first character


Expression: TypeAlias = Literal | Name | Member | Index | Call | Unary | Binary | ListOf | MapOf | Embedded


def children(node: Expression) -> tuple[Expression, ...]:
    """The parts that are expressions themselves, in the order they are evaluated."""
    match node:
        case Member():
            return (node.target,)
        case Index():
            return (node.target, node.key)
        case Call():
            return node.args
        case Unary():
            return (node.operand,)
        case Binary():
            return (node.left, node.right)
        case ListOf():
            return node.items
        case MapOf():
            return tuple(part for entry in node.entries for part in entry)
        case Embedded():
            return (node.body,)
        case _:
            return ()


def dotted(node: Expression) -> tuple[str, ...] | None:
    """The names of `a.b.c`; None for anything else."""
    if isinstance(node, Name):
        return (node.name,)
    if isinstance(node, Member) and (names := dotted(node.target)) is not None:
        return (*names, node.name)
    return None


def unparse(node: Expression) -> str:
    """The text of an expression, without `${` and `}`."""
    return _text(node, OR)


def _text(node: Expression, loosest: int) -> str:
    text, level = _written(node)
    return text if level >= loosest else f"({text})"


def _written(node: Expression) -> tuple[str, int]:
    match node:
        case Literal():
            return _literal(node.value)
        case Name():
            return node.name, ACCESS
        case Member():
            return f"{_text(node.target, ACCESS)}.{node.name}", ACCESS
        case Index():
            return f"{_text(node.target, ACCESS)}[{unparse(node.key)}]", ACCESS
        case Call():
            return f"{node.function}({', '.join(map(unparse, node.args))})", ACCESS
        case Unary("not"):
            return f"not {_text(node.operand, NEGATE)}", NEGATE
        case Unary():
            number = isinstance(node.operand, Literal) and type(node.operand.value) in (int, float)
            return f"-({unparse(node.operand)})" if number else f"-{_text(node.operand, NEGATE)}", NEGATE
        case Binary():
            level = PRECEDENCE[node.operator]
            return f"{_text(node.left, level)} {node.operator} {_text(node.right, level + 1)}", level
        case ListOf():
            return f"[{', '.join(map(unparse, node.items))}]", ACCESS
        case MapOf():
            return f"{{{', '.join(f'{unparse(key)}: {unparse(value)}' for key, value in node.entries)}}}", ACCESS
        case Embedded():
            return _written(node.body)


def _literal(value: bool | int | float | str | None) -> tuple[str, int]:
    match value:
        case None:
            return "null", ACCESS
        case bool():
            return ("true" if value else "false"), ACCESS
        case str():
            return '"' + "".join(_ESCAPED.get(character, character) for character in value) + '"', ACCESS
        case _:
            text = repr(value)
            # A number with a sign, or a point to come, cannot be followed by an access.
            return text, NEGATE
