"""What does an execution do right now? Its steps as they happen, one line each, indented by nesting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.text import Text

from zeroidle.errors import printable
from zeroidle_cli.output import duration

if TYPE_CHECKING:
    from localcloud.clock import Clock
    from localcloud.workflows.errors import WorkflowError
    from localcloud.workflows.observe import StepRun

MAX_DEPTH = 20  # levels that are indented
MAX_ERROR = 300
# By the names of StepType, so that nothing has to be imported. What isn't here is a line of its own once it has ended.
_OPENS = {
    "STEPS": "steps",
    "FOR": "for",
    "PARALLEL_FOR": "parallel for",
    "PARALLEL_BRANCH": "parallel",
    "SWITCH": "switch",
    "SUBWORKFLOW_CALL": "subworkflow",
    "TRY_RETRY_EXCEPT": "try",
}
_PARTS = {"FOR_ITERATION", "PARALLEL_BRANCH_ENTRY", "CONDITION", "TRY", "RETRY", "EXCEPT"}
_ENDS = {
    "ASSIGN": "assign",
    "STD_LIB_CALL": "call",
    "CONNECTOR_CALL": "connector",
    "RETURN": "return",
    "RAISE": "raise",
    "GOTO": "next",
}


class StepPrinter:
    """A step observer that prints.

    `show` prints a line; `what` names the function or routine that a step calls; `begin` is told what has just begun.
    """

    def __init__(
        self,
        clock: Clock,
        show: Callable[[Text], None],
        what: Callable[[StepRun], str],
        begin: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.steps = 0
        self._clock = clock
        self._show = show
        self._what = what
        self._begin = begin
        self._begun: dict[int, float] = {}
        self._levels: dict[int, int] = {}
        self._told: list[object] = []  # the error on its way up, which stands where it began

    def started(self, run: StepRun) -> None:
        """Print what opens a block."""
        kind = run.type.name
        self._begun[id(run)] = self._clock.time()
        around = self._levels.get(id(run.parent), -1) if run.parent is not None else -1
        # An attempt is no level of its own: its steps stand under the `try`.
        self._levels[id(run)] = around if kind == "TRY" else around + 1
        if kind in _PARTS:
            if kind != "TRY":
                self._line(run, "", _part(run), "dim")
            return
        self.steps += 1
        self._begin(printable(f"{run.step}  {self._what(run)}".rstrip(), 80))
        if kind in _OPENS:
            self._line(run, run.step, f"{_OPENS[kind]} {self._what(run)}".rstrip())

    def ended(self, run: StepRun, error: WorkflowError | None) -> None:
        """Print what is over, with its duration, and an error where it began."""
        took = self._clock.time() - self._begun.pop(id(run))
        kind = run.type.name
        failed = error is not None and not any(error is told for told in self._told)
        if kind in _ENDS:
            label = f"{_ENDS[kind]} {self._what(run)}".rstrip()
            self._line(run, run.step, label, "red" if failed else "", duration(took) if took >= 0.0005 else "")
        elif took >= 1 and kind in _OPENS:
            self._line(run, "", f"{printable(run.step, 80)} took {duration(took)}", "dim")
        if failed:
            assert error is not None  # noqa: S101  # see above
            self._told = [error]
            self._line(run, "", f"! {printable(error.headline, MAX_ERROR)}", "red", deeper=1)
        self._levels.pop(id(run), None)

    def retried(self, run: StepRun, error: WorkflowError, attempt: int, delay_s: float) -> None:
        """Print that the block is run again."""
        self._line(run, "", f"retry {attempt} in {duration(delay_s)}", "yellow", deeper=1)

    def _line(self, run: StepRun, name: str, label: str, style: str = "", took: str = "", *, deeper: int = 0) -> None:
        level = self._levels.get(id(run), 0) + deeper
        line = Text("  " * min(level, MAX_DEPTH), no_wrap=True, overflow="ellipsis")
        branch = _branch(run)
        if branch:
            line.append(f"{printable(branch, 40)}| ", "cyan")
        if name:
            line.append(f"{printable(name, 80)}  ", "bold" if style != "red" else "bold red")
        line.append(label, style or ("dim" if name else ""))
        if took:
            line.append(f"  {took}", "dim")
        self._show(line)


def _part(run: StepRun) -> str:
    count = str(run.number or "") + (f"/{run.expected}" if run.expected else "")
    match run.type.name:
        case "FOR_ITERATION":
            return f"[{count}]"
        case "PARALLEL_BRANCH_ENTRY":
            return f"branch {printable(run.step, 80)}"
        case "CONDITION":
            return f"condition {count}"
        case "RETRY":
            return f"attempt {(run.number or 0) + 1}"
        case _:
            return "except"


def _branch(run: StepRun) -> str:
    """The branch or iteration of a parallel step that a line belongs to, since those interleave."""
    if not run.thread:
        return ""
    at: StepRun | None = run
    while at is not None and at.type.name not in ("PARALLEL_BRANCH_ENTRY", "FOR_ITERATION"):
        at = at.parent
    while at is not None and at.parent is not None and at.parent.thread == at.thread:
        at = at.parent
    if at is None:
        return ""
    return at.step if at.type.name == "PARALLEL_BRANCH_ENTRY" else f"[{at.number}]"
