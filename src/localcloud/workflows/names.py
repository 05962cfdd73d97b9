"""Which variables, subworkflows and functions does a place in the source see? Static scopes and functions by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from localcloud.workflows import connectors, stdlib, tree
from localcloud.workflows.functions import CONSTANTS, Function
from localcloud.workflows.syntax import Expression, Member, Name, dotted
from localcloud.workflows.values import FunctionRef, Value

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def is_name(text: str) -> bool:
    """Can a variable be called that? https://cloud.google.com/workflows/docs/reference/syntax/variables"""
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True)
class StaticScope:
    """Variables known at a place. `names` are its own; `shared` is set on a branch or iteration of a parallel step.

    A name assigned anywhere in a scope is known in all of it, whatever the order of steps. At run time each scope is a
    frame.
    """

    names: frozenset[str]
    parent: StaticScope | None = None
    shared: frozenset[str] | None = None
    loop_variables: frozenset[str] = frozenset()

    @classmethod
    def of_routine(cls, routine: tree.Routine) -> StaticScope:
        """Parameters and what the steps assign."""
        return cls(frozenset({*routine.params, *tree.assigned(routine.body)}))

    def of_loop(self, loop: tree.Loop, shared: frozenset[str] | None = None) -> StaticScope:
        """The scope of an iteration."""
        own = {label.name for label in (loop.value, loop.index) if label is not None}
        return self._child(loop.body, own, shared, frozenset(own))

    def of_branch(self, branch: tree.Branch, shared: frozenset[str]) -> StaticScope:
        """The scope of a branch."""
        return self._child(branch.body, set(), shared)

    def of_handler(self, handler: tree.Handler) -> StaticScope:
        """The scope of an `except`."""
        return self._child(handler.body, set() if handler.variable is None else {handler.variable.name})

    def _child(
        self,
        body: tuple[tree.Step, ...],
        own: set[str],
        shared: frozenset[str] | None = None,
        loop_variables: frozenset[str] = frozenset(),
    ) -> StaticScope:
        first = {name for name in tree.assigned(body) if self.depth(name) is None}
        return StaticScope(frozenset(own | first), self, shared, loop_variables)

    def chain(self) -> Iterator[StaticScope]:
        """This scope and those around it, innermost first."""
        scope: StaticScope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def depth(self, name: str) -> int | None:
        """How many scopes outwards the variable is; None if it isn't known here."""
        return next((depth for depth, scope in enumerate(self.chain()) if name in scope.names), None)

    def is_in_branch(self) -> bool:
        """Inside a parallel step?"""
        return any(scope.shared is not None for scope in self.chain())

    def refusal(self, name: str) -> str:
        """Why the variable may not be written here; empty if it may."""
        for scope in self.chain():
            if name in scope.names:
                return ""
            if scope.shared is not None and name not in scope.shared:
                return f"variable '{name}' is assigned in a parallel branch, but is not in the step's shared variables"
        return ""


@dataclass(frozen=True)
class Constant:
    """What a name means that is no variable; `rest` are the accesses that follow it."""

    value: Value
    rest: tuple[str, ...] = ()


def constant(node: Expression, scope: StaticScope, routines: Mapping[str, object]) -> Constant | None:
    """A function or subworkflow used as a value, or an object such as http.default_retry; None for anything else."""
    if not isinstance(node, (Name, Member)) or (names := dotted(node)) is None or scope.depth(names[0]) is not None:
        return None
    if (name := ".".join(names[:2])) in CONSTANTS:
        return Constant(CONSTANTS[name], names[2:])
    if len(names) == 1 and names[0] in routines:
        return Constant(FunctionRef(names[0]))
    return None


def find_function(name: str) -> Function | None:
    """A function of the standard library or a connector."""
    return stdlib.FUNCTIONS.get(name) or connectors.find(name)


def arguments_problem(routine: tree.Routine, given: Sequence[str]) -> str:
    """What is wrong with these argument names of a subworkflow; empty if nothing is."""
    if unknown := [name for name in given if name not in routine.params]:
        return f"unexpected argument {unknown[0]!r} for subworkflow {routine.name}"
    if missing := [name for name, default in routine.params.items() if default is None and name not in given]:
        return f"missing argument {missing[0]!r} for subworkflow {routine.name}"
    return ""
