"""Who is told, step by step, what an execution does?

An observer hears of each step, and of the parts that some steps have (the conditions of a switch, iterations, branches,
attempts), when it starts and when it ends. Between the two calls parts and inner steps come and go; those of parallel
branches interleave. After a restart the execution is replayed from its beginning, and observed from there again.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

import msgspec

from localcloud.workflows.errors import Position, WorkflowError


class StepType(Enum):
    """The values of `StepEntry.StepType`, by the names they have there.

    https://cloud.google.com/workflows/docs/reference/executions/rest/v1/projects.locations.workflows.executions.stepEntries
    """

    STEPS = "STEP_TYPE_UNSPECIFIED"  # nested `steps`, for which there is none
    ASSIGN = "STEP_ASSIGN"
    STD_LIB_CALL = "STEP_STD_LIB_CALL"
    CONNECTOR_CALL = "STEP_CONNECTOR_CALL"
    SUBWORKFLOW_CALL = "STEP_SUBWORKFLOW_CALL"
    SWITCH = "STEP_SWITCH"
    CONDITION = "STEP_CONDITION"
    FOR = "STEP_FOR"
    FOR_ITERATION = "STEP_FOR_ITERATION"
    PARALLEL_FOR = "STEP_PARALLEL_FOR"
    PARALLEL_BRANCH = "STEP_PARALLEL_BRANCH"  # the whole step
    PARALLEL_BRANCH_ENTRY = "STEP_PARALLEL_BRANCH_ENTRY"  # one branch
    TRY_RETRY_EXCEPT = "STEP_TRY_RETRY_EXCEPT"
    TRY = "STEP_TRY"
    RETRY = "STEP_RETRY"
    EXCEPT = "STEP_EXCEPT"
    RETURN = "STEP_RETURN"
    RAISE = "STEP_RAISE"
    GOTO = "STEP_GOTO"


class StepRun(msgspec.Struct, eq=False, gc=False):
    """One run of a step or of a part of one; the observer gets the same object when it starts and when it ends.

    `thread` is empty for the main thread, and a path such as `4.0/` for a parallel branch or iteration. `number` counts
    a part among its siblings from 1 (condition, iteration, branch, retry) and `expected` says how many there are, where
    that is known. `parent` is the step around it; the steps of a subworkflow have the calling step as their parent.
    """

    type: StepType
    step: str
    routine: str
    position: Position
    thread: str
    parent: StepRun | None
    number: int | None = None
    expected: int | None = None
    note: Any = None  # the observer's own

    @property
    def depth(self) -> int:
        """How many steps and parts are around it."""
        return 0 if self.parent is None else self.parent.depth + 1


class StepObserver(Protocol):
    """Told synchronously, in the order things happen; must not raise. The clock of the execution has the time."""

    def started(self, run: StepRun) -> None:
        """A step or part begins."""

    def ended(self, run: StepRun, error: WorkflowError | None) -> None:
        """It has ended, with an error if it failed. What runs when an execution is cancelled never ends."""

    def retried(self, run: StepRun, error: WorkflowError, attempt: int, delay_s: float) -> None:
        """The body of the try step `run` has failed; retry number `attempt` (from 1) follows after the delay."""
