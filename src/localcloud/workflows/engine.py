"""How does a program run? Blocks, calls, loops, attempts and branches; what single steps do is in `steps`.

Between effects an execution is deterministic, so that it can be replayed. A step that cannot wait is a plain function
call; coroutines are only made for blocks and for steps that may wait, so an execution that sleeps is a few of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType

import msgspec

from localcloud.workflows import choices, retries, values
from localcloud.workflows.errors import WorkflowError, runtime_error, type_error
from localcloud.workflows.evaluator import Code
from localcloud.workflows.observe import StepObserver, StepRun, StepType
from localcloud.workflows.program import Block, Exit, Jump, Outcome, Returned, Step
from localcloud.workflows.thread import Call, Frame, Run, Thread
from localcloud.workflows.values import FunctionRef, Value

MAX_CALLS = 20  # depth of the call stack
MAX_NESTING = 2  # of parallel steps
MAX_CONCURRENCY = 20
MAX_BRANCH_ERRORS = 100
_FAIRNESS = 500  # steps after which a busy execution lets others run


async def execute(run: Run, argument: Value) -> Value:
    """The result of the program with its runtime argument.

    Raises:
        WorkflowError: a value was raised and not caught.
    """
    main = run.program.main
    given = main.params if argument is not None or None in main.params.values() else ()
    try:
        return await invoke(Thread(run), main.name, dict.fromkeys(given, argument))
    except RecursionError as error:
        raise runtime_error("SystemError", "the program is nested too deeply") from error


async def invoke(thread: Thread, name: str, args: Mapping[str, Value]) -> Value:
    """Call a routine."""
    routine = thread.run.program.routines[name]
    if thread.calls + choices.call_depth_of_main() > MAX_CALLS:
        raise runtime_error("RecursionError", f"the call stack is deeper than {MAX_CALLS}")
    frame = Frame(thread, Call(name))
    thread.calls += 1
    try:
        for param, default in routine.params.items():
            if param in args:
                frame.write(param, args[param])
            elif default is not None:
                frame.write(param, await default.value(frame))
        outcome = await run_block(routine.body, frame)
        return outcome.value if isinstance(outcome, Returned) else None
    finally:
        thread.calls -= 1
        frame.release()


async def run_block(block: Block, frame: Frame) -> Outcome:
    """Run steps in order, as far as they don't jump out of the block."""
    thread, steps = frame.thread, block.steps
    run, index = thread.run, 0
    while index < len(steps):
        step = steps[index]
        try:
            run.count(step)
            if step.now is not None:
                outcome = step.now(frame) if run.observer is None else _observed(step.now, step, frame)
            else:
                with watch(step.type, step, frame):
                    outcome = await step.later(frame)  # type: ignore[misc]  # one of the two is given
        except WorkflowError as error:
            error.locate(step.name, step.routine, step.position, frame.call)
            raise
        # Only outside parallel steps: the order of branches must not depend on the event loop.
        if not run.steps % _FAIRNESS and not thread.nesting:
            await asyncio.sleep(0)
        if outcome is None:
            outcome = step.next
            if outcome is None:
                index += 1
                continue
        if type(outcome) is Jump and outcome.block is block:
            index = outcome.index
        else:
            return outcome
    return None


def run_inline(step: Step, frame: Frame) -> Outcome:
    """The body of a switch entry that cannot wait."""
    frame.thread.run.count(step)
    with watch(step.type, step, frame):
        outcome = step.now(frame)  # type: ignore[misc]  # the caller knows
    return step.next if outcome is None else outcome


async def run_inline_later(step: Step, frame: Frame) -> Outcome:
    """The body of a switch entry."""
    if step.now is not None:
        return run_inline(step, frame)
    frame.thread.run.count(step)
    with watch(step.type, step, frame):
        outcome = await step.later(frame)  # type: ignore[misc]  # one of the two is given
    return step.next if outcome is None else outcome


# Observation


def _observed(now: Callable[[Frame], Outcome], step: Step, frame: Frame) -> Outcome:
    """What `watch` does, for the many steps that cannot wait."""
    thread = frame.thread
    observer, around = thread.run.observer, thread.step
    assert observer is not None  # noqa: S101  # the caller has asked
    run = StepRun(step.type, step.name, step.routine, step.position, thread.path, around)
    thread.step = run
    observer.started(run)
    try:
        outcome = now(frame)
    except WorkflowError as error:
        thread.step = around
        observer.ended(run, error)
        raise
    thread.step = around
    observer.ended(run, None)
    return outcome


_UNWATCHED: AbstractContextManager[None] = nullcontext()


def watch(
    kind: StepType, step: Step, frame: Frame, number: int | None = None, expected: int | None = None
) -> AbstractContextManager[object]:
    """Tell the observer when a step or a part of one starts and ends, if there is one."""
    observer = frame.thread.run.observer
    if observer is None:
        return _UNWATCHED
    thread = frame.thread
    run = StepRun(kind, step.name, step.routine, step.position, thread.path, thread.step, number, expected)
    return _Watch(observer, thread, run)


class _Watch(msgspec.Struct, eq=False):
    observer: StepObserver
    thread: Thread
    run: StepRun

    def __enter__(self) -> None:
        self.thread.step = self.run
        self.observer.started(self.run)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thread.step = self.run.parent
        if error is None or isinstance(error, WorkflowError):
            self.observer.ended(self.run, error)


# Loops


async def run_loop(
    step: Step, body: Block, items: Sequence[Value], set_variables: Callable[[Frame, int, Value], None], frame: Frame
) -> Outcome:
    """The iterations of a sequential loop, which share the scope of the loop until it is left.

    https://cloud.google.com/workflows/docs/reference/syntax/variables#variable-scope
    """
    thread, inner, count = frame.thread, frame.inner(), len(items)
    try:
        for index, item in enumerate(items):
            set_variables(inner, index, item)
            if thread.run.observer is None:
                outcome = await run_block(body, inner)
            else:
                with watch(StepType.FOR_ITERATION, step, frame, index + 1, count):
                    outcome = await run_block(body, inner)
            if outcome is Exit.BREAK:
                return None
            if outcome is not None and outcome is not Exit.CONTINUE:
                return outcome
        return None
    finally:
        inner.release()


# Attempts


async def run_attempts(step: Step, body: Block, retry: Code | None, frame: Frame) -> Outcome:
    """The body of a `try`, again after each failure that its retry policy covers."""
    attempt = 0
    delays: Iterator[float] = iter(())
    predicate: FunctionRef | None = None
    while True:
        try:
            with watch(StepType.RETRY if attempt else StepType.TRY, step, frame, attempt or None):
                return await run_block(body, frame)
        except WorkflowError as error:
            if retry is None or error.is_fatal:
                raise
            if predicate is None:
                policy = retries.policy(await retry.value(frame))
                predicate, delays = policy.predicate, policy.delays()
            if not await _is_retried(predicate, error, frame) or (delay := next(delays, None)) is None:
                raise
            attempt += 1
            if (observer := frame.thread.run.observer) is not None and frame.thread.step is not None:
                observer.retried(frame.thread.step, error, attempt, delay)
        await frame.thread.sleep(delay)


async def _is_retried(predicate: FunctionRef, error: WorkflowError, frame: Frame) -> bool:
    if predicate.name in retries.PREDICATES:
        return retries.PREDICATES[predicate.name](error.value)
    params = frame.thread.run.program.routines[predicate.name].params
    required = [name for name, default in params.items() if default is None]
    if not params or len(required) > 1:
        raise type_error(f"retry predicate {predicate.name} must take one parameter, the error")
    try:
        answer = await invoke(frame.thread, predicate.name, {(required or list(params))[0]: error.value})
    except WorkflowError as raised:
        raise choices.failing_predicate(raised, error) from error
    return values.boolean(answer, "result of a retry predicate")


async def run_handler(step: Step, variable: str | None, body: Block, error: WorkflowError, frame: Frame) -> Outcome:
    """An `except`, with the raised value in its variable."""
    inner = frame.inner()
    try:
        with watch(StepType.EXCEPT, step, frame):
            if variable is not None:
                inner.write(variable, error.value)
            return await run_block(body, inner)
    finally:
        inner.release()


# Branches


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch of a parallel step, or an iteration, which is identified by its index."""

    name: str
    step: Step
    body: Block
    open_frame: Callable[[Thread], Frame]


async def run_branches(kind: StepType, branches: Sequence[Branch], limit: int | None, frame: Frame) -> None:
    """All branches, some at a time. Raises UnhandledBranchError if some fail, once all have ended."""
    thread = frame.thread
    position = thread.next_position()
    failures: dict[int, WorkflowError] = {}
    pending = enumerate(branches)

    async def work() -> None:
        for index, branch in pending:
            path = f"{thread.path}{position}.{index}/"
            try:
                inner = branch.open_frame(Thread(thread.run, path, thread.calls, thread.nesting + 1, thread.step))
                with watch(kind, branch.step, inner, index + 1, len(branches)):
                    await _run_branch(branch.body, inner)
            except WorkflowError as error:
                if error.is_fatal:
                    raise
                failures[index] = error

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(limit or MAX_CONCURRENCY, MAX_CONCURRENCY, len(branches))):
                workers.create_task(work())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None  # fatal: the other branches are stopped
    if failures:
        raise _unhandled([(branches[index].name, failures[index]) for index in sorted(failures)])


async def _run_branch(body: Block, frame: Frame) -> None:
    try:
        await run_block(body, frame)
    finally:
        frame.release()


def check_nesting(thread: Thread) -> None:
    """Raises ParallelNestingError where no further parallel step may start."""
    if thread.nesting >= MAX_NESTING:
        raise runtime_error("ParallelNestingError", f"parallel steps are nested deeper than {MAX_NESTING}")


def _unhandled(failures: Sequence[tuple[str, WorkflowError]]) -> WorkflowError:
    branches = [
        {"id": name, "error": {"context": error.context(), "payload": values.error_json(error.value)}}
        for name, error in failures[:MAX_BRANCH_ERRORS]
    ]
    return runtime_error(
        "UnhandledBranchError",
        "One or more branches or iterations encountered an unhandled runtime error",
        branches=branches,
        truncated=len(failures) > MAX_BRANCH_ERRORS,
    )
