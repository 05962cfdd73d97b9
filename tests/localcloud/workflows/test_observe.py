"""What is an observer told, in which order, while an execution runs?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from localcloud.store import Store
from localcloud.workflows.compiler import compile_source
from localcloud.workflows.engine import execute
from localcloud.workflows.errors import WorkflowError
from localcloud.workflows.http import HttpClient
from localcloud.workflows.journal import Journal
from localcloud.workflows.observe import StepRun
from localcloud.workflows.thread import Run
from tests.localcloud.workflows.workflows_cloud import Cloud, on_cloud


class Notes:
    """An observer that writes everything down."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.runs: list[StepRun] = []

    def started(self, run: StepRun) -> None:
        self.runs.append(run)
        count = "" if run.number is None else f" {run.number}" + (f"/{run.expected}" if run.expected else "")
        thread = f" in {run.thread}" if run.thread else ""
        self.lines.append(f"{'  ' * run.depth}{run.type.name} {run.routine}.{run.step}{count}{thread}")

    def ended(self, run: StepRun, error: WorkflowError | None) -> None:
        if error is not None:
            self.lines.append(f"{'  ' * run.depth}{run.type.name} {run.step} failed: {error.headline}")

    def retried(self, run: StepRun, error: WorkflowError, attempt: int, delay_s: float) -> None:
        self.lines.append(f"{'  ' * run.depth}retry {attempt} in {delay_s:g} s: {error.headline}")


def observed(source: str) -> Notes:
    """What an observer noted of an execution on virtual time."""

    async def scenario(cloud: Cloud) -> Notes:
        notes = Notes()
        run = Run(
            program=compile_source(source),
            journal=Journal(Store(None), "e"),
            clock=cloud.clock,
            http=HttpClient(cloud.context),
            callbacks=None,  # type: ignore[arg-type]  # the programs here make none
            environment={},
            execution="e",
            http_url="",
            log=lambda _value, _severity: None,
            tokens=None,  # type: ignore[arg-type]
            observer=notes,
        )
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(execute(run, None))
        await cloud.until(task.done)
        if not isinstance(task.exception(), WorkflowError):
            task.result()
        return notes

    found: Notes = on_cloud(scenario)
    return found


TOLD = {
    "a loop, a switch and a subworkflow": (
        """
main:
  steps:
    - loop:
        for:
          value: v
          in: [1, 2]
          steps:
            - pick:
                switch:
                  - condition: ${v == 2}
                    next: continue
                  - condition: true
                    call: sub
    - out:
        return: 1
sub:
  steps:
    - inside:
        next: end
""",
        """
FOR main.loop
  FOR_ITERATION main.loop 1/2
    SWITCH main.pick
      CONDITION main.pick 2/2
        SUBWORKFLOW_CALL main.pick
          GOTO sub.inside
  FOR_ITERATION main.loop 2/2
    SWITCH main.pick
      CONDITION main.pick 1/2
RETURN main.out
""",
    ),
    "attempts and what follows": (
        """
- t:
    try:
      steps:
        - fail:
            raise: bad
    retry:
      predicate: ${retry.always}
      max_retries: 1
      backoff: {initial_delay: 3, max_delay: 3, multiplier: 1}
    except:
      as: e
      steps:
        - log:
            call: sys.log
            args: {text: '${e}'}
""",
        """
TRY_RETRY_EXCEPT main.t
  TRY main.t
    RAISE main.fail
    RAISE fail failed: RuntimeError: "bad"
  TRY t failed: RuntimeError: "bad"
retry 1 in 3 s: RuntimeError: "bad"
  RETRY main.t 1
    RAISE main.fail
    RAISE fail failed: RuntimeError: "bad"
  RETRY t failed: RuntimeError: "bad"
  EXCEPT main.t
    STD_LIB_CALL main.log
""",
    ),
    "branches": (
        """
- p:
    parallel:
      branches:
        - one:
            steps:
              - a:
                  call: sys.sleep
                  args: {seconds: 2}
        - two:
            assign: [{x: 1}]
- q:
    parallel:
      for:
        value: v
        in: [7]
        steps:
          - b:
              assign: [{x: 1}]
""",
        """
PARALLEL_BRANCH main.p
  PARALLEL_BRANCH_ENTRY main.one 1/2 in 1.0/
    STD_LIB_CALL main.a in 1.0/
  PARALLEL_BRANCH_ENTRY main.two 2/2 in 1.1/
    ASSIGN main.two in 1.1/
PARALLEL_FOR main.q
  FOR_ITERATION main.q 1/1 in 2.0/
    ASSIGN main.b in 2.0/
""",
    ),
}


@pytest.mark.parametrize(("source", "told"), TOLD.values(), ids=TOLD)
def test_an_observer_hears_of_every_step_and_part(source: str, told: str) -> None:
    assert observed(source).lines == told.strip("\n").splitlines()


def test_a_step_has_its_place_in_the_source() -> None:
    (run,) = observed("- a:\n    next: end\n").runs

    assert (run.position.line, run.position.column, run.depth, run.parent) == (1, 3, 0, None)
