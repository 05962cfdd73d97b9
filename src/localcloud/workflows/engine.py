"""How does a program run? The interpreter of steps; between effects it is deterministic, so that it can be replayed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from localcloud.workflows import retries, values
from localcloud.workflows.errors import StackFrame, WorkflowError, runtime_error, type_error, value_error
from localcloud.workflows.expressions import resolve
from localcloud.workflows.observe import StepRun, StepType
from localcloud.workflows.program import (
    Assign,
    Assignment,
    Block,
    CallFunction,
    CallRoutine,
    Exit,
    For,
    Goto,
    Handler,
    Jump,
    Loop,
    Nested,
    Parallel,
    Raise,
    Return,
    Step,
    Switch,
    Try,
)  # fmt: skip
from localcloud.workflows.thread import Call, Run, Thread, VariableScope
from localcloud.workflows.values import FunctionRef, Value

MAX_STEPS = 100_000
MAX_CALLS = 20  # depth of the call stack. Not documented: whether main counts. Here it does.
MAX_NESTING = 2  # of parallel steps
MAX_CONCURRENCY = 20
MAX_BRANCH_ERRORS = 100
_T = TypeVar("_T")
_FAIRNESS = 500  # steps after which a busy execution lets others run


@dataclass(frozen=True, slots=True)
class _Returned:
    value: Value


_Signal = Jump | Exit | _Returned | None  # None: go on with the next step


async def execute(run: Run, argument: Value) -> Value:
    """The result of the program with its runtime argument.

    Raises:
        WorkflowError: a value was raised and not caught.
    """
    main = run.program.main
    try:
        return await invoke(Thread(run), main.name, dict.fromkeys(main.params, argument))
    except RecursionError as error:
        raise runtime_error("SystemError", "the program is nested too deeply") from error


async def invoke(thread: Thread, name: str, args: Mapping[str, Value]) -> Value:
    """Call a routine."""
    routine = thread.run.program.routines[name]
    if thread.calls >= MAX_CALLS:
        raise runtime_error("RecursionError", f"the call stack is deeper than {MAX_CALLS}")
    if problem := routine.problem(list(args)):
        raise type_error(problem)
    scope = VariableScope(routine.names, thread, Call(name), invoke)
    thread.calls += 1
    try:
        for param, default in routine.params.items():
            if param in args:
                scope.write(param, args[param])
            elif default is not None:
                scope.write(param, await resolve(default, scope))
        signal = await _block(routine.body, scope)
        return signal.value if isinstance(signal, _Returned) else None
    finally:
        thread.calls -= 1
        scope.release()


async def _block(block: Block, scope: VariableScope) -> _Signal:
    index = 0
    while index < len(block.steps):
        step = block.steps[index]
        try:
            signal = await _step(step, scope)
        except WorkflowError as error:
            error.locate(StackFrame(step.name, scope.call.routine, step.position, scope.call))
            raise
        if signal is None:
            index += 1
        elif isinstance(signal, Jump) and signal.block is block:
            index = signal.index
        else:
            return signal
    return None


async def _step(step: Step, scope: VariableScope) -> _Signal:
    run = scope.thread.run
    run.steps += 1
    run.current = (scope.call.routine, step.name)
    if run.steps > MAX_STEPS:
        raise runtime_error("ResourceLimitError", f"the execution took more than {MAX_STEPS} steps")
    # Only outside parallel steps: the order of branches must not depend on the event loop.
    if run.steps % _FAIRNESS == 0 and scope.thread.nesting == 0:
        await asyncio.sleep(0)
    if run.observer is None:
        signal = await _RUN[type(step)](step, scope)
    else:
        signal = await _observed(_step_type(step), step, scope, _RUN[type(step)](step, scope))
    return step.next if signal is None else signal


async def _observed(
    kind: StepType,
    step: Step,
    scope: VariableScope,
    outcome: Awaitable[_T],
    number: int | None = None,
    expected: int | None = None,
) -> _T:
    """Wait for the outcome of a step or a part of one, and tell the observer when it starts and ends."""
    thread = scope.thread
    if (observer := thread.run.observer) is None:
        return await outcome
    parent = thread.step
    thread.step = here = StepRun(
        type=kind,
        step=step.name,
        routine=scope.call.routine,
        position=step.position,
        thread=thread.path,
        parent=parent,
        number=number,
        expected=expected,
    )
    observer.started(here)
    try:
        value = await outcome
    except WorkflowError as error:
        observer.ended(here, error)
        raise
    finally:
        thread.step = parent
    observer.ended(here, None)
    return value


def _step_type(step: Step) -> StepType:
    match step:
        case CallFunction():
            return StepType.CONNECTOR_CALL if step.function.is_connector else StepType.STD_LIB_CALL
        case Parallel():
            return StepType.PARALLEL_FOR if step.loop else StepType.PARALLEL_BRANCH
        case _:
            return _STEP_TYPES[type(step)]


async def _assign(step: Assign, scope: VariableScope) -> _Signal:
    lock = scope.call.lock
    if step.pauses or lock.locked():
        async with lock:
            for assignment in step.assignments:
                await _set_pausing(assignment, scope)
        return None
    for assignment in step.assignments:
        value = assignment.value.evaluate(scope)
        _set(assignment, scope, [key.evaluate(scope) for key in assignment.path], value)
    return None


async def _set_pausing(assignment: Assignment, scope: VariableScope) -> None:
    value = await resolve(assignment.value, scope)
    _set(assignment, scope, [await resolve(key, scope) for key in assignment.path], value)


def _set(assignment: Assignment, scope: VariableScope, path: list[Value], value: Value) -> None:
    if path:
        changed, growth = values.with_item(scope.read(assignment.variable), path, value)
        scope.rewrite(assignment.variable, changed, growth)
    else:
        scope.write(assignment.variable, value)


async def _call_function(step: CallFunction, scope: VariableScope) -> _Signal:
    args = step.function.bound({name: await resolve(node, scope) for name, node in step.args.items()})
    match step.function.kind:
        case "blocking":
            value = await step.function.call(scope.thread, **args)
        case "local":
            value = step.function.call(scope.thread, **args)
        case "pure":
            value = step.function.call(**args)
    if step.result is not None:
        scope.write(step.result, value)
    return None


async def _call_routine(step: CallRoutine, scope: VariableScope) -> _Signal:
    value = await invoke(
        scope.thread, step.routine, {name: await resolve(node, scope) for name, node in step.args.items()}
    )
    if step.result is not None:
        scope.write(step.result, value)
    return None


async def _switch(step: Switch, scope: VariableScope) -> _Signal:
    for number, (condition, body) in enumerate(step.entries, 1):
        if values.boolean(await resolve(condition, scope), "switch condition"):
            # Not documented: the switch's own `next` after embedded steps that don't jump. Here it is taken.
            chosen = _case(body, scope)
            return await _observed(StepType.CONDITION, body, scope, chosen, number, len(step.entries))
    return None


async def _case(body: Step, scope: VariableScope) -> _Signal:
    return body.next if isinstance(body, Goto) else await _step(body, scope)


async def _nested(step: Nested, scope: VariableScope) -> _Signal:
    return await _block(step.body, scope)


async def _return(step: Return, scope: VariableScope) -> _Signal:
    return _Returned(await resolve(step.value, scope))


async def _raise(step: Raise, scope: VariableScope) -> _Signal:
    value = await resolve(step.value, scope)
    if type(value) not in (str, dict):
        raise type_error(f"raise needs a string or a map, not a {values.type_name(value)}")
    raise WorkflowError(value, f"RuntimeError: {values.error_json(value)}")


async def _goto(step: Goto, scope: VariableScope) -> _Signal:
    return None


async def _for(step: For, scope: VariableScope) -> _Signal:
    items = await _items(step.loop, scope)
    for index, item in enumerate(items):
        inner = _iteration(step.loop, index, item, scope, scope.thread)
        body = _block(step.loop.body, inner)
        try:
            signal = await _observed(StepType.FOR_ITERATION, step, scope, body, index + 1, len(items))
        finally:
            inner.release()
        if signal is Exit.BREAK:
            return None
        if signal is not None and signal is not Exit.CONTINUE:
            return signal
    return None


def _iteration(loop: Loop, index: int, item: Value, scope: VariableScope, thread: Thread) -> VariableScope:
    inner = scope.inner(loop.names, thread)
    inner.write(loop.value, item)
    if loop.index is not None:
        inner.write(loop.index, index)
    return inner


async def _items(loop: Loop, scope: VariableScope) -> list[Value]:
    if loop.items is not None:
        items = await resolve(loop.items, scope)
        # Not documented: a map. Here a TypeError; the documentation always iterates over keys(map).
        if type(items) is not list:
            raise type_error(f"for needs a list, not a {values.type_name(items)}")
        return items
    assert loop.bounds is not None  # noqa: S101  # the compiler sees to it that one is given
    bounds = await resolve(loop.bounds, scope)
    if type(bounds) is not list or len(bounds) != 2 or not all(map(values.is_number, bounds)):
        raise type_error("range must be a list of two numbers")
    begin, end = bounds
    if end - begin >= MAX_STEPS:
        raise value_error(f"range has more than {MAX_STEPS} elements")
    return [begin + offset for offset in range(math.floor(end - begin) + 1)]


async def _try(step: Try, scope: VariableScope) -> _Signal:
    try:
        return await _attempts(step, scope)
    except WorkflowError as error:
        if step.handler is None:
            raise
        return await _observed(StepType.EXCEPT, step, scope, _handle(step.handler, error, scope))


async def _attempts(step: Try, scope: VariableScope) -> _Signal:
    delays: Iterator[float] | None = None
    predicate: FunctionRef | None = None
    attempt = 0
    while True:
        try:
            kind = StepType.RETRY if attempt else StepType.TRY
            return await _observed(kind, step, scope, _block(step.body, scope), attempt or None)
        except WorkflowError as error:
            if step.retry is None:
                raise
            if delays is None:
                policy = retries.policy(await resolve(step.retry, scope))
                predicate, delays = policy.predicate, policy.delays()
            # A predicate that fails raises its own error instead (not documented).
            if predicate is None or not await _holds(predicate, error.value, scope):
                raise
            delay = next(delays, None)
            if delay is None:
                raise
            attempt += 1
            if scope.thread.step is not None and (observer := scope.thread.run.observer):
                observer.retried(scope.thread.step, error, attempt, delay)
        await scope.thread.sleep(delay)


async def _holds(predicate: FunctionRef, error: Value, scope: VariableScope) -> bool:
    if predicate.name in retries.PREDICATES:
        return retries.PREDICATES[predicate.name](error)
    params = list(scope.thread.run.program.routines[predicate.name].params)
    if len(params) != 1:
        raise type_error(f"retry predicate {predicate.name} must have one parameter")
    return values.boolean(await invoke(scope.thread, predicate.name, {params[0]: error}), "result of a retry predicate")


async def _handle(handler: Handler, error: WorkflowError, scope: VariableScope) -> _Signal:
    inner = scope.inner(handler.names)
    try:
        if handler.variable is not None:
            inner.write(handler.variable, error.value)
        return await _block(handler.body, inner)
    finally:
        inner.release()


async def _parallel(step: Parallel, scope: VariableScope) -> _Signal:
    thread = scope.thread
    if thread.nesting >= MAX_NESTING:
        raise runtime_error("ParallelNestingError", f"parallel steps are nested deeper than {MAX_NESTING}")
    limit = await _limit(step, scope)
    position = thread.next_position()
    branches = await _branches(step, scope)
    failures: dict[str, WorkflowError] = {}
    pending = enumerate(branches)

    async def worker() -> None:
        for index, branch in pending:
            path = f"{thread.path}{position}.{index}/"
            kind = StepType.FOR_ITERATION if step.loop else StepType.PARALLEL_BRANCH_ENTRY
            try:
                inner = branch.open_scope(Thread(thread.run, path, thread.calls, thread.nesting + 1, thread.step))
                await _observed(kind, branch.step, inner, branch.run(inner), index + 1, len(branches))
            except WorkflowError as error:
                failures[branch.name] = error

    async with asyncio.TaskGroup() as workers:
        for _ in range(min(limit, len(branches))):
            workers.create_task(worker())
    if failures:
        raise _unhandled(failures, [branch.name for branch in branches])
    return None


@dataclass(frozen=True, slots=True)
class _Branch:
    """A branch, or an iteration, which is identified by its index."""

    name: str
    step: Step
    body: Block
    open_scope: Callable[[Thread], VariableScope]

    async def run(self, scope: VariableScope) -> None:
        try:
            await _block(self.body, scope)
        finally:
            scope.release()


async def _branches(step: Parallel, scope: VariableScope) -> list[_Branch]:
    if step.loop is None:
        return [_Branch(each.name, each, each.body, partial(scope.inner, each.names)) for each in step.branches]
    loop = step.loop
    return [
        _Branch(str(index), step, loop.body, partial(_iteration, loop, index, item, scope))
        for index, item in enumerate(await _items(loop, scope))
    ]


async def _limit(step: Parallel, scope: VariableScope) -> int:
    if step.limit is None:
        return MAX_CONCURRENCY
    limit = await resolve(step.limit, scope)
    if type(limit) is not int:
        raise type_error(f"concurrency_limit must be an integer, not a {values.type_name(limit)}")
    if limit < 1:
        raise value_error(f"concurrency_limit must be positive: {limit}")
    return min(limit, MAX_CONCURRENCY)


def _unhandled(failures: dict[str, WorkflowError], order: list[str]) -> WorkflowError:
    failed = [name for name in order if name in failures]
    branches = [
        {"id": name, "error": {"context": failures[name].context(), "payload": values.error_json(failures[name].value)}}
        for name in failed[:MAX_BRANCH_ERRORS]
    ]
    return runtime_error(
        "UnhandledBranchError",
        "One or more branches or iterations encountered an unhandled runtime error",
        branches=branches,
        truncated=len(failed) > MAX_BRANCH_ERRORS,
    )


_RUN: dict[type[Step], Callable[[Any, VariableScope], Awaitable[_Signal]]] = {
    Assign: _assign,
    CallFunction: _call_function,
    CallRoutine: _call_routine,
    Switch: _switch,
    For: _for,
    Parallel: _parallel,
    Try: _try,
    Return: _return,
    Raise: _raise,
    Nested: _nested,
    Goto: _goto,
}

_STEP_TYPES: dict[type[Step], StepType] = {
    Assign: StepType.ASSIGN,
    CallRoutine: StepType.SUBWORKFLOW_CALL,
    Switch: StepType.SWITCH,
    For: StepType.FOR,
    Try: StepType.TRY_RETRY_EXCEPT,
    Return: StepType.RETURN,
    Raise: StepType.RAISE,
    Nested: StepType.STEPS,
    Goto: StepType.GOTO,
}
