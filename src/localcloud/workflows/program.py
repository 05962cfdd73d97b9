"""What is a workflow made of once it is compiled? Routines of blocks of steps, with all names resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from localcloud.workflows.errors import Position
from localcloud.workflows.expressions import Node
from localcloud.workflows.functions import Function


class Exit(Enum):
    """A `next` that names no step."""

    END = "end"
    BREAK = "break"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True, eq=False)
class Jump:
    """`next: <step>`: go on at that index of `block`, this one or one around it."""

    block: Block
    index: int


Next: TypeAlias = Jump | Exit


@dataclass(slots=True, eq=False)
class Step:
    """What all steps have; `name` of an inline body is that of the step it stands in."""

    name: str
    position: Position
    next: Next | None = field(default=None, kw_only=True)


@dataclass(slots=True, eq=False)
class Block:
    """A list of steps."""

    steps: list[Step] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Assignment:
    """`variable[path...]: value`."""

    variable: str
    path: tuple[Node, ...]
    value: Node
    pauses: bool


@dataclass(slots=True, eq=False)
class Assign(Step):
    """An `assign` step."""

    assignments: list[Assignment]
    pauses: bool


@dataclass(slots=True, eq=False)
class CallFunction(Step):
    """A `call` of the standard library or a connector."""

    function: Function
    args: dict[str, Node]
    result: str | None


@dataclass(slots=True, eq=False)
class CallRoutine(Step):
    """A `call` of a subworkflow."""

    routine: str
    args: dict[str, Node]
    result: str | None


@dataclass(slots=True, eq=False)
class Switch(Step):
    """A `switch`: conditions in order, each with what to do."""

    entries: list[tuple[Node, Step]]


@dataclass(slots=True, eq=False)
class Loop:
    """A `for`, by itself or in a `parallel` step. Exactly one of `items` and `bounds` is given."""

    value: str
    index: str | None
    items: Node | None
    bounds: Node | None
    body: Block
    names: frozenset[str]  # local to an iteration


@dataclass(slots=True, eq=False)
class For(Step):
    """A sequential loop."""

    loop: Loop


@dataclass(slots=True, eq=False)
class Branch(Step):
    """One branch of a `parallel` step."""

    body: Block
    names: frozenset[str]


@dataclass(slots=True, eq=False)
class Parallel(Step):
    """Branches, or the iterations of a loop, at the same time."""

    branches: list[Branch]
    loop: Loop | None
    limit: Node | None


@dataclass(slots=True, eq=False)
class Handler:
    """An `except`: its variable and steps."""

    variable: str | None
    body: Block
    names: frozenset[str]


@dataclass(slots=True, eq=False)
class Try(Step):
    """A `try` with `retry` and `except`, each optional."""

    body: Block
    retry: Node | None
    handler: Handler | None


@dataclass(slots=True, eq=False)
class Return(Step):
    """`return`: ends the routine with a value."""

    value: Node


@dataclass(slots=True, eq=False)
class Raise(Step):
    """`raise`."""

    value: Node


@dataclass(slots=True, eq=False)
class Nested(Step):
    """`steps`."""

    body: Block


@dataclass(slots=True, eq=False)
class Goto(Step):
    """`next` by itself."""


@dataclass(slots=True, eq=False)
class Routine:
    """`main` or a subworkflow. `params` in order, with the default of each that has one."""

    name: str
    params: dict[str, Node | None]
    body: Block
    names: frozenset[str]

    def problem(self, given: list[str]) -> str:
        """What is wrong with these argument names; empty if nothing is."""
        if unknown := [name for name in given if name not in self.params]:
            return f"unexpected argument {unknown[0]!r} for subworkflow {self.name}"
        if missing := [name for name, default in self.params.items() if default is None and name not in given]:
            return f"missing argument {missing[0]!r} for subworkflow {self.name}"
        return ""


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled workflow."""

    routines: Mapping[str, Routine]

    @property
    def main(self) -> Routine:
        """Where it starts."""
        return self.routines["main"]
