"""What does an expression compute? Its nodes, and how they are evaluated in a scope.

Evaluation is plain and synchronous, except where a subworkflow is called: such nodes `pause`, and `resolve` evaluates
them. Everything that combines values without looking at variables is an `Apply`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from localcloud.workflows.values import Value, boolean, map_key


class Scope(Protocol):
    """Where an expression finds variables and the running thread."""

    thread: Any

    def read(self, name: str) -> Value:
        """The value of a variable."""

    async def invoke(self, routine: str, args: Mapping[str, Value]) -> Value:
        """Call a subworkflow."""


class Node:
    """Part of an expression. `pauses`: evaluating it may wait for a subworkflow."""

    __slots__ = ("children", "pauses")

    def __init__(self, children: Sequence[Node] = ()) -> None:
        self.children: tuple[Node, ...] = tuple(children)
        self.pauses: bool = any(child.pauses for child in children)

    def evaluate(self, scope: Scope) -> Value:
        """The value, of a node that doesn't pause."""
        return self.apply(scope, [child.evaluate(scope) for child in self.children])

    def apply(self, scope: Scope, values: list[Value]) -> Value:
        """The value, given those of the children."""
        raise NotImplementedError


class Literal(Node):
    """A constant."""

    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        super().__init__()
        self.value = value

    def evaluate(self, scope: Scope) -> Value:
        return self.value


class Variable(Node):
    """A variable of this scope or one around it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def evaluate(self, scope: Scope) -> Value:
        return scope.read(self.name)


class Apply(Node):
    """An operator, an access, a list, a map or a function of its arguments."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Value], children: Sequence[Node]) -> None:
        super().__init__(children)
        self.function = function

    def apply(self, scope: Scope, values: list[Value]) -> Value:
        return self.function(*values)


class ThreadCall(Node):
    """A function that needs to know which execution it runs in, such as sys.now."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Value], children: Sequence[Node]) -> None:
        super().__init__(children)
        self.function = function

    def apply(self, scope: Scope, values: list[Value]) -> Value:
        return self.function(scope.thread, *values)


class Logical(Node):
    """`and` and `or`. Both stop at the first operand that decides (not documented for `or`)."""

    __slots__ = ("decisive", "operator")

    def __init__(self, operator: str, left: Node, right: Node) -> None:
        super().__init__((left, right))
        self.operator = operator
        self.decisive = operator == "or"

    def evaluate(self, scope: Scope) -> Value:
        left = self.operand(self.children[0].evaluate(scope))
        return left if left is self.decisive else self.operand(self.children[1].evaluate(scope))

    def operand(self, value: Value) -> bool:
        """The value, which must be a boolean."""
        return boolean(value, f"operand of {self.operator}")


class RoutineCall(Node):
    """A subworkflow called in an expression, its arguments in the order of `params`."""

    __slots__ = ("params", "routine")

    def __init__(self, routine: str, params: Sequence[str], children: Sequence[Node]) -> None:
        super().__init__(children)
        self.routine = routine
        self.params = tuple(params)
        self.pauses = True


def list_node(items: Sequence[Node]) -> Node:
    """A list; a constant one is made once."""
    return _folded(Apply(_make_list, items))


def map_node(entries: Sequence[tuple[Node, Node]]) -> Node:
    """A map; a constant one is made once."""
    return _folded(Apply(_make_map, [node for entry in entries for node in entry]))


def _folded(node: Apply) -> Node:
    if all(isinstance(child, Literal) for child in node.children):
        return Literal(node.function(*(child.value for child in node.children if isinstance(child, Literal))))
    return node


def _make_list(*items: Value) -> Value:
    return list(items)


def _make_map(*keys_and_values: Value) -> Value:
    return dict(zip(map(map_key, keys_and_values[::2]), keys_and_values[1::2], strict=True))


async def resolve(node: Node, scope: Scope) -> Value:
    """The value of any node."""
    if not node.pauses:
        return node.evaluate(scope)
    if isinstance(node, Logical):
        left = node.operand(await resolve(node.children[0], scope))
        return left if left is node.decisive else node.operand(await resolve(node.children[1], scope))
    values = [await resolve(child, scope) for child in node.children]
    if isinstance(node, RoutineCall):
        return await scope.invoke(node.routine, dict(zip(node.params, values, strict=False)))
    return node.apply(scope, values)
