"""Which variables, subworkflows and functions does a place in the source see? Static scopes and name resolution."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from localcloud.workflows import connectors, stdlib, values
from localcloud.workflows.expressions import Apply, Literal, Node, RoutineCall, ThreadCall, Variable
from localcloud.workflows.functions import CONSTANTS, Function
from localcloud.workflows.parser import ExpressionError
from localcloud.workflows.values import FunctionRef

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def is_name(text: str) -> bool:
    """Can a variable be called that?"""
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True)
class StaticScope:
    """Variables known at a place. `names` are its own; `shared` is set on a branch or iteration of a parallel step.

    A name assigned anywhere in a scope is known in all of it, whatever the order of steps.
    """

    names: frozenset[str]
    parent: StaticScope | None = None
    shared: frozenset[str] | None = None
    loop_variables: frozenset[str] = frozenset()

    def chain(self) -> Iterator[StaticScope]:
        """This scope and those around it, innermost first."""
        scope: StaticScope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def sees(self, name: str) -> bool:
        """Is the variable known here?"""
        return any(name in scope.names for scope in self.chain())

    def child(
        self, assigned: Iterator[str], variables: Sequence[str] = (), shared: frozenset[str] | None = None
    ) -> StaticScope:
        """A scope inside this one, with its own `variables` and what is first assigned in it."""
        first = {name for name in assigned if not self.sees(name)}
        return StaticScope(frozenset({*variables, *first}), self, shared, frozenset(variables))

    def refusal(self, name: str) -> str:
        """Why the variable may not be written here; empty if it may."""
        for scope in self.chain():
            if name in scope.names:
                return ""
            if scope.shared is not None and name not in scope.shared:
                return f"variable '{name}' is assigned in a parallel branch, but is not in the step's shared variables"
        return ""


@dataclass(frozen=True)
class ExpressionNames:
    """Resolves the names of an expression. `params` are those of each subworkflow: name -> has a default."""

    scope: StaticScope
    params: Mapping[str, Mapping[str, bool]]

    def reference(self, parts: Sequence[str]) -> Node:
        """A variable first, then a function used as a value. Raises ExpressionError."""
        name = parts[0]
        if self.scope.sees(name):
            return _member(Variable(name), parts[1:])
        if (constant := ".".join(parts[:2])) in CONSTANTS:
            return _member(Literal(CONSTANTS[constant]), parts[2:])
        if len(parts) == 1 and name in self.params:
            return Literal(FunctionRef(name))
        raise ExpressionError(f"symbol '{name}' is neither a variable nor a sub-workflow name")

    def call(self, name: str, args: Sequence[Node]) -> Node:
        """A subworkflow with positional arguments, or a function that doesn't block. Raises ExpressionError."""
        if name in self.params:
            return self._routine(name, args)
        function = find_function(name)
        if function is None:
            raise ExpressionError(f"symbol '{name}' is neither a function nor a sub-workflow name")
        if function.kind == "blocking":
            raise ExpressionError(f"function '{name}' blocks and cannot be called in an expression; use a call step")
        if len(args) > len(function.params):
            raise ExpressionError(f"too many arguments for {name}: {len(args)}, at most {len(function.params)}")
        if problem := function.problem(function.params[: len(args)]):
            raise ExpressionError(problem)
        return (Apply if function.kind == "pure" else ThreadCall)(function.call, args)

    def _routine(self, name: str, args: Sequence[Node]) -> Node:
        params = self.params[name]
        if len(args) > len(params):
            raise ExpressionError(f"too many arguments for subworkflow {name}: {len(args)}, at most {len(params)}")
        for param, has_default in list(params.items())[len(args) :]:
            if not has_default:
                raise ExpressionError(f"missing argument {param!r} for subworkflow {name}")
        return RoutineCall(name, list(params), args)


def _member(node: Node, names: Sequence[str]) -> Node:
    for name in names:
        node = Apply(values.get_item, (node, Literal(name)))
    return node


def find_function(name: str) -> Function | None:
    """A function of the standard library or a connector."""
    return stdlib.FUNCTIONS.get(name) or connectors.find(name)
