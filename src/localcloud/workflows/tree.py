"""What are the steps of a workflow, as its author wrote them? Frozen records with their places; names not looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from localcloud.workflows.errors import Position
from localcloud.workflows.syntax import Embedded, Expression, Index, Member, Name

NOWHERE = Position(0)
Value = Embedded  # a value of the source: a literal, or an expression in `${...}`


@dataclass(frozen=True, slots=True)
class Label:
    """A name in the source: of a step to go to, a variable, a function."""

    name: str
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What all steps have; `name` of an inline body is that of the step it stands in."""

    name: str = ""
    position: Position = NOWHERE
    next: Label | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """`target: value`."""

    target: Value
    value: Value

    @property
    def variable(self) -> str:
        """The variable that is set, or a part of which is; empty if the target is none."""
        node: Expression = self.target.body
        while isinstance(node, (Member, Index)):
            node = node.target
        return node.name if isinstance(node, Name) else ""

    @property
    def path(self) -> tuple[Expression | str, ...]:
        """The keys from the variable to what is set: an expression, or the name after a point."""
        keys: list[Expression | str] = []
        node: Expression = self.target.body
        while isinstance(node, (Member, Index)):
            keys.append(node.name if isinstance(node, Member) else node.key)
            node = node.target
        return tuple(reversed(keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign(Step):
    """An `assign` step."""

    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Step):
    """A `call` of the standard library, a connector or a subworkflow."""

    function: Label
    args: Mapping[str, Value]
    result: Label | None


@dataclass(frozen=True, slots=True)
class Case:
    """An entry of a `switch`; one without a body just ends the switch."""

    condition: Value
    body: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Step):
    """A `switch`: conditions in order, each with what to do."""

    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """A `for`, by itself or in a `parallel` step. Exactly one of `items` and `bounds` is given."""

    value: Label
    index: Label | None
    items: Value | None
    bounds: Value | None
    body: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class For(Step):
    """A sequential loop."""

    loop: Loop


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch(Step):
    """One branch of a `parallel` step."""

    body: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel(Step):
    """Branches, or the iterations of a loop, at the same time."""

    shared: tuple[Label, ...]
    limit: Value | None
    branches: tuple[Branch, ...]
    loop: Loop | None


@dataclass(frozen=True, slots=True)
class Handler:
    """An `except`: its variable and steps."""

    variable: Label | None
    body: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Try(Step):
    """A `try` with `retry` and `except`, each optional."""

    body: tuple[Step, ...]
    retry: Value | None
    handler: Handler | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Return(Step):
    """`return`: ends the routine with a value."""

    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Raise(Step):
    """`raise`."""

    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested(Step):
    """`steps`."""

    body: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goto(Step):
    """`next` by itself."""


@dataclass(frozen=True, slots=True)
class Routine:
    """`main` or a subworkflow. `params` in order, with the default of each that has one."""

    name: str
    position: Position
    params: Mapping[str, Value | None]
    body: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Workflow:
    """All routines of a source, by name."""

    routines: Mapping[str, Routine]


def assigned(steps: tuple[Step, ...]) -> Iterator[str]:
    """The variables that steps assign in their own scope: not inside loops, branches and `except`."""
    for step in steps:
        match step:
            case Assign():
                yield from (assignment.variable for assignment in step.assignments)
            case Call(result=Label(name)):
                yield name
            case Nested() | Try():
                yield from assigned(step.body)
            case Switch():
                yield from assigned(tuple(case.body for case in step.cases))
            case _:
                pass


def parts(step: Step) -> tuple[Step, ...]:
    """The steps inside a step."""
    match step:
        case Nested() | Branch():
            return step.body
        case Switch():
            return tuple(case.body for case in step.cases)
        case For():
            return step.loop.body
        case Parallel():
            return step.branches if step.loop is None else step.loop.body
        case Try():
            return step.body + (() if step.handler is None else step.handler.body)
        case _:
            return ()
