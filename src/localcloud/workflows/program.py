"""What is executed? Routines of blocks of steps, compiled: each step a function of the frame, all names resolved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from localcloud.workflows.errors import Position
from localcloud.workflows.evaluator import Code
from localcloud.workflows.observe import StepType
from localcloud.workflows.thread import Frame
from localcloud.workflows.values import Value


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


@dataclass(frozen=True, slots=True)
class Returned:
    """`return`: the routine ends with a value."""

    value: Value


Next: TypeAlias = Jump | Exit
Outcome: TypeAlias = Jump | Exit | Returned | None  # of a step; None: go on with the next one


@dataclass(slots=True, eq=False)
class Step:
    """A compiled step. One that may wait has `later`, the others `now`."""

    name: str
    routine: str
    position: Position
    type: StepType
    now: Callable[[Frame], Outcome] | None = None
    later: Callable[[Frame], Awaitable[Outcome]] | None = None
    next: Next | None = None


@dataclass(slots=True, eq=False)
class Block:
    """A list of steps. Filled in once the steps that may jump to it are compiled."""

    steps: list[Step] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Routine:
    """`main` or a subworkflow. `params` in order, with the default of each that has one."""

    name: str
    params: Mapping[str, Code | None]
    body: Block


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled workflow, and the tree it was compiled from."""

    routines: Mapping[str, Routine]

    @property
    def main(self) -> Routine:
        """Where it starts."""
        return self.routines["main"]
