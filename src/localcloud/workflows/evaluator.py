"""What does an expression compute? Python closures over frames, made once at deployment.

Evaluation is plain and synchronous, except where a subworkflow is called: such an expression waits, and has a coroutine
function instead. The checker has seen the expression before, so that names resolve.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from localcloud.workflows import choices, operators, values
from localcloud.workflows.errors import Position, WorkflowError
from localcloud.workflows.names import StaticScope, constant, find_function
from localcloud.workflows.syntax import (
    Binary,
    Call,
    Embedded,
    Expression,
    Index,
    ListOf,
    Literal,
    MapOf,
    Member,
    Name,
    Unary,
    children,
)
from localcloud.workflows.thread import Frame
from localcloud.workflows.values import Value, boolean

Now: TypeAlias = Callable[[Frame], Value]
Later: TypeAlias = Callable[[Frame], Awaitable[Value]]
Invoke: TypeAlias = Callable[[Frame, str, Mapping[str, Value]], Awaitable[Value]]


@dataclass(frozen=True, slots=True)
class Code:
    """A compiled expression and its place: exactly one of `now` and `later` is given."""

    position: Position
    now: Now | None = None
    later: Later | None = None

    async def value(self, frame: Frame) -> Value:
        """The value, however it is computed. Raises WorkflowError at the expression's place."""
        try:
            if self.now is not None:
                return self.now(frame)
            assert self.later is not None  # noqa: S101  # one of the two is given
            return await self.later(frame)
        except WorkflowError as error:
            error.at(self.position)
            raise


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Compiles the expressions of one routine. `params` are those of each subworkflow; `invoke` calls one."""

    params: Mapping[str, tuple[str, ...]]
    invoke: Invoke

    def code(self, value: Embedded, scope: StaticScope) -> Code:
        """A value of the source."""
        if self.waits(value):
            return Code(value.position, later=self.later(value.body, scope))
        return Code(value.position, now=self.now(value.body, scope))

    def waits(self, node: Expression) -> bool:
        """Does a part of it call a subworkflow?"""
        if isinstance(node, Call) and node.function in self.params:
            return True
        return any(map(self.waits, children(node)))

    # Expressions that don't wait

    def now(self, node: Expression, scope: StaticScope) -> Now:
        """A function of the frame."""
        if (found := constant(node, scope, self.params)) is not None:
            return _with_members(_literal(found.value), found.rest)
        match node:
            case Embedded():
                return self.now(node.body, scope)
            case Literal():
                return _literal(node.value)
            case Name():
                return _variable(node.name, scope.depth(node.name) or 0)
            case Member():
                return _with_members(self.now(node.target, scope), (node.name,))
            case Index():
                return _binary(values.get_item, self.now(node.target, scope), self.now(node.key, scope))
            case Unary():
                return _unary(operators.UNARY[node.operator], self.now(node.operand, scope))
            case Binary("and" | "or"):
                return _logical(node.operator, self.now(node.left, scope), self.now(node.right, scope))
            case Binary():
                left, right = self.now(node.left, scope), self.now(node.right, scope)
                if isinstance(node.right, Literal):
                    return _binary_with(operators.BINARY[node.operator], left, node.right.value)
                return _binary(operators.BINARY[node.operator], left, right)
            case ListOf() | MapOf() if _is_constant(node):
                return _literal(_constant(node))  # values are never changed in place, so that it is made once
            case ListOf():
                items = [self.now(item, scope) for item in node.items]
                return lambda frame: [item(frame) for item in items]
            case MapOf():
                pairs = [(self.now(key, scope), self.now(value, scope)) for key, value in node.entries]
                return lambda frame: {values.map_key(key(frame)): value(frame) for key, value in pairs}
            case Call():
                return self._function(node, scope)

    def _function(self, node: Call, scope: StaticScope) -> Now:
        function = find_function(node.function)
        assert function is not None, node.function  # noqa: S101  # the checker has found it
        call, args = function.call, [self.now(arg, scope) for arg in node.args]
        if function.kind == "pure":
            match args:
                case [one]:
                    return lambda frame: call(one(frame))
                case [one, two]:
                    return lambda frame: call(one(frame), two(frame))
                case _:
                    return lambda frame: call(*[arg(frame) for arg in args])
        return lambda frame: call(frame.thread, *[arg(frame) for arg in args])

    # Expressions that wait

    def later(self, node: Expression, scope: StaticScope) -> Later:
        """A coroutine function of the frame."""
        if not self.waits(node):
            now = self.now(node, scope)

            async def at_once(frame: Frame) -> Value:
                return now(frame)

            return at_once
        match node:
            case Embedded():
                return self.later(node.body, scope)
            case Binary("and" | "or"):
                return _logical_later(node.operator, self.later(node.left, scope), self.later(node.right, scope))
            case Call() if node.function in self.params:
                return self._routine(node, scope)
            case _:
                return self._combined(node, scope)

    def _routine(self, node: Call, scope: StaticScope) -> Later:
        invoke, name, params = self.invoke, node.function, self.params[node.function]
        args = [self.later(arg, scope) for arg in node.args]

        async def call(frame: Frame) -> Value:
            given = [await arg(frame) for arg in args]
            return await invoke(frame, name, dict(zip(params, given, strict=False)))

        return call

    def _combined(self, node: Expression, scope: StaticScope) -> Later:
        """Parts that may wait, in order, and then the node over their values as if these were variables."""
        parts = [self.later(child, scope) for child in children(node)]
        names = [f"{index}" for index in range(len(parts))]
        combine = self.now(_over(node, [Name(name) for name in names]), StaticScope(frozenset(names), scope))

        async def value(frame: Frame) -> Value:
            inner = frame.inner()
            for name, part in zip(names, parts, strict=True):
                inner.values[name] = await part(frame)
            return combine(inner)

        return value


def _over(node: Expression, parts: list[Expression]) -> Expression:
    """The node with other children."""
    match node:
        case Member():
            return Member(parts[0], node.name)
        case Index():
            return Index(parts[0], parts[1])
        case Unary():
            return Unary(node.operator, parts[0])
        case Binary():
            return Binary(node.operator, parts[0], parts[1])
        case ListOf():
            return ListOf(tuple(parts))
        case MapOf():
            return MapOf(tuple(zip(parts[::2], parts[1::2], strict=True)))
        case Call():
            return Call(node.function, tuple(parts))
        case _:
            return node


def _is_constant(node: Expression) -> bool:
    match node:
        case Literal():
            return True
        case Embedded():
            return _is_constant(node.body)
        case ListOf():
            return all(map(_is_constant, node.items))
        case MapOf():  # a key that is no literal may be none at all, which is an error of the execution
            return all(_is_literal(key) and _is_constant(value) for key, value in node.entries)
        case _:
            return False


def _is_literal(node: Expression) -> bool:
    return isinstance(node.body if isinstance(node, Embedded) else node, Literal)


def _constant(node: Expression) -> Value:
    match node:
        case Embedded():
            return _constant(node.body)
        case ListOf():
            return [_constant(item) for item in node.items]
        case MapOf():
            return {values.map_key(_constant(key)): _constant(value) for key, value in node.entries}
        case Literal():
            return node.value
        case _:
            raise AssertionError(node)


def _literal(value: Value) -> Now:
    return lambda _frame: value


def _variable(name: str, depth: int) -> Now:
    if depth == 0:

        def own(frame: Frame) -> Value:
            try:
                return frame.values[name]
            except KeyError:
                raise choices.unassigned_variable(name) from None

        return own

    def outer(frame: Frame) -> Value:
        owner = frame
        for _ in range(depth):
            owner = owner.parent  # type: ignore[assignment]  # there are as many as the compiler has counted
        try:
            return owner.values[name]
        except KeyError:
            raise choices.unassigned_variable(name) from None

    return outer


def _with_members(target: Now, names: tuple[str, ...]) -> Now:
    for name in names:
        target = _binary_with(values.get_item, target, name)
    return target


def _unary(function: Callable[[Value], Value], operand: Now) -> Now:
    return lambda frame: function(operand(frame))


def _binary(function: Callable[[Value, Value], Value], left: Now, right: Now) -> Now:
    return lambda frame: function(left(frame), right(frame))


def _binary_with(function: Callable[[Value, Value], Value], left: Now, right: Value) -> Now:
    return lambda frame: function(left(frame), right)


def _logical(operator: str, left: Now, right: Now) -> Now:
    decisive, what = operator == "or", f"operand of {operator}"
    stops_early = choices.stops_early(operator)

    def value(frame: Frame) -> Value:
        first = boolean(left(frame), what)
        if first is decisive and stops_early:
            return first
        second = boolean(right(frame), what)
        return first if first is decisive else second

    return value


def _logical_later(operator: str, left: Later, right: Later) -> Later:
    decisive, what = operator == "or", f"operand of {operator}"
    stops_early = choices.stops_early(operator)

    async def value(frame: Frame) -> Value:
        first = boolean(await left(frame), what)
        if first is decisive and stops_early:
            return first
        second = boolean(await right(frame), what)
        return first if first is decisive else second

    return value
