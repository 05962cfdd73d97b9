"""What does each kind of step do? Functions of the frame, made from a step's compiled parts."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, cast

from localcloud.workflows import choices, values
from localcloud.workflows.engine import (
    Branch,
    check_nesting,
    invoke,
    run_attempts,
    run_block,
    run_branches,
    run_handler,
    run_inline,
    run_inline_later,
    run_loop,
    watch,
)
from localcloud.workflows.errors import WorkflowError, runtime_error, type_error, value_error
from localcloud.workflows.evaluator import Code
from localcloud.workflows.functions import Function
from localcloud.workflows.observe import StepType
from localcloud.workflows.program import Block, Next, Outcome, Returned, Step
from localcloud.workflows.thread import MAX_STEPS, Frame, Thread
from localcloud.workflows.values import Value

Now: TypeAlias = Callable[[Frame], Outcome]
Later: TypeAlias = Callable[[Frame], Awaitable[Outcome]]


def owner(frame: Frame, depth: int) -> Frame:
    """The frame that many steps outwards."""
    for _ in range(depth):
        frame = frame.parent  # type: ignore[assignment]  # there are as many as the compiler has counted
    return frame


# Assign


@dataclass(frozen=True, slots=True)
class Extension:
    """A value that is a list with one more element; its size follows from those of the two."""

    make: Callable[[Value, Value], Value]
    items: Callable[[Frame], Value]
    element: Callable[[Frame], Value]


class Assignment:
    """`variable[path...] = value`, compiled. `depth` says whose variable it is."""

    __slots__ = ("_depth", "_extension", "_name", "path", "value")

    def __init__(
        self, name: str, depth: int, path: Sequence[Code], value: Code, extension: Extension | None = None
    ) -> None:
        self._name = name
        self._depth = depth
        self.path = path
        self.value = value
        self._extension = extension

    @property
    def waits(self) -> bool:
        """Does it call a subworkflow?"""
        return self.value.now is None or any(key.now is None for key in self.path)

    def now(self) -> Callable[[Frame], None]:
        """A function that stores, for what doesn't wait."""
        name, depth, compute = self._name, self._depth, self.value.now
        assert compute is not None  # noqa: S101  # the caller has asked `waits`
        if self._extension is not None and not self.path:
            return partial(self.extend, self._extension)
        if self.path:
            return lambda frame: self.put(frame, [key.now(frame) for key in self.path], compute(frame))  # type: ignore[misc]
        if not depth:
            return lambda frame: frame.write(name, compute(frame))
        return lambda frame: owner(frame, depth).write(name, compute(frame))

    def extend(self, extension: Extension, frame: Frame) -> None:
        """Assignment a longer list without measuring all of it."""
        items, element = extension.items(frame), extension.element(frame)
        longer, memory = extension.make(items, element), frame.thread.run.memory
        owner(frame, self._depth).write(self._name, longer, memory.measure(items) + memory.measure(element))

    async def later(self, frame: Frame) -> None:
        """Assignment what may wait."""
        value = await self.value.value(frame)
        self.put(frame, [await key.value(frame) for key in self.path], value)

    def put(self, frame: Frame, path: Sequence[Value], value: Value) -> None:
        """Assignment a computed value."""
        place = owner(frame, self._depth)
        if not path:
            place.write(self._name, value)
            return
        if self._name not in place.values:
            raise choices.unassigned_variable(self._name)
        whole, memory = place.values[self._name], frame.thread.run.memory
        changed, growth = values.with_item(whole, path, value, memory.measure)
        place.write(self._name, changed, memory.measure(whole) + growth)


def assign_now(stores: Sequence[Assignment]) -> Now:
    """An `assign` that doesn't wait."""
    compiled = [store.now() for store in stores]

    def run(frame: Frame) -> Outcome:
        done = 0
        try:
            for store in compiled:
                store(frame)
                done += 1
        except WorkflowError as error:
            error.at(stores[done].value.position)
            raise
        return None

    return run


def assign_later(stores: Sequence[Assignment]) -> Later:
    """An `assign` that may wait, or that waits for such a one in another branch: each is atomic."""

    async def run(frame: Frame) -> Outcome:
        async with frame.call.lock:
            for store in stores:
                await store.later(frame)
        return None

    return run


# Call


def call_now(function: Function, args: dict[str, Code], result: tuple[str, int] | None) -> Now:
    """A `call` of a function that doesn't wait, with arguments that don't either."""
    bound = function.bound(args)

    def run(frame: Frame) -> Outcome:
        given = {name: _now(code, frame) for name, code in bound.items()}
        value = function.call(**given) if function.kind == "pure" else function.call(frame.thread, **given)
        if result is not None:
            owner(frame, result[1]).write(result[0], value)
        return None

    return run


def call_later(function: Function, args: dict[str, Code], result: tuple[str, int] | None) -> Later:
    """Any other `call` of a function."""
    bound = function.bound(args)

    async def run(frame: Frame) -> Outcome:
        given = {name: await code.value(frame) for name, code in bound.items()}
        if function.kind == "blocking":
            value = await function.call(frame.thread, **given)
        else:
            value = function.call(**given) if function.kind == "pure" else function.call(frame.thread, **given)
        if result is not None:
            owner(frame, result[1]).write(result[0], value)
        return None

    return run


def call_routine(routine: str, args: dict[str, Code], result: tuple[str, int] | None) -> Later:
    """A `call` of a subworkflow."""

    async def run(frame: Frame) -> Outcome:
        value = await invoke(frame.thread, routine, {name: await code.value(frame) for name, code in args.items()})
        if result is not None:
            owner(frame, result[1]).write(result[0], value)
        return None

    return run


def _now(code: Code, frame: Frame) -> Value:
    try:
        return code.now(frame)  # type: ignore[misc]  # the caller knows
    except WorkflowError as error:
        error.at(code.position)
        raise


# Switch, return, raise


def switch_now(step: Step, cases: Sequence[tuple[Code, Step]], otherwise: Next | None) -> Now:
    """A `switch` of which nothing waits. An entry without a body just has its `next`."""

    def run(frame: Frame) -> Outcome:
        for number, (code, body) in enumerate(cases, 1):
            if _holds(_now(code, frame), code):
                with watch(StepType.CONDITION, step, frame, number, len(cases)):
                    outcome = body.next if body.type is StepType.GOTO else run_inline(body, frame)
                return cast(Outcome, choices.after_case(outcome, otherwise))
        return otherwise

    return run


def switch_later(step: Step, cases: Sequence[tuple[Code, Step]], otherwise: Next | None) -> Later:
    """Any other `switch`."""

    async def run(frame: Frame) -> Outcome:
        for number, (code, body) in enumerate(cases, 1):
            if _holds(await code.value(frame), code):
                with watch(StepType.CONDITION, step, frame, number, len(cases)):
                    outcome = body.next if body.type is StepType.GOTO else await run_inline_later(body, frame)
                return cast(Outcome, choices.after_case(outcome, otherwise))
        return otherwise

    return run


def _holds(value: Value, code: Code) -> bool:
    if value is True or value is False:
        return bool(value)
    try:
        return choices.condition(value)
    except WorkflowError as error:
        error.at(code.position)
        raise


def return_now(code: Code) -> Now:
    """`return` of a value that doesn't wait."""
    return lambda frame: Returned(_now(code, frame))


def return_later(code: Code) -> Later:
    """Any other `return`."""

    async def run(frame: Frame) -> Outcome:
        return Returned(await code.value(frame))

    return run


def raise_now(code: Code) -> Now:
    """`raise` of a value that doesn't wait."""

    def run(frame: Frame) -> Outcome:
        raise _raised(_now(code, frame), code)

    return run


def raise_later(code: Code) -> Later:
    """Any other `raise`."""

    async def run(frame: Frame) -> Outcome:
        raise _raised(await code.value(frame), code)

    return run


def _raised(value: Value, code: Code) -> WorkflowError:
    if choices.raisable(value):
        error = WorkflowError(value, f"RuntimeError: {values.error_json(value)}")
    else:
        error = type_error(f"raise needs a string or a map, not '{values.python_name(value)}'")
    error.at(code.position)
    return error


def goto(_frame: Frame) -> Outcome:
    """`next` by itself."""
    return None


# Nested steps, loops, attempts, branches


def nested(body: Block) -> Later:
    """`steps`."""
    return lambda frame: run_block(body, frame)


class Loop:
    """A `for`, compiled. Exactly one of `items` and `bounds` is given."""

    __slots__ = ("_bounds", "_index", "_items", "_value", "body")

    def __init__(self, value: str, index: str | None, items: Code | None, bounds: Code | None, body: Block) -> None:
        self._value = value
        self._index = index
        self._items = items
        self._bounds = bounds
        self.body = body

    def set_variables(self, frame: Frame, index: int, item: Value) -> None:
        """An iteration begins: its variables, in the frame of its scope."""
        frame.write(self._value, item)
        if self._index is not None:
            frame.write(self._index, index)

    async def items(self, frame: Frame) -> Sequence[Value]:
        """What is iterated over."""
        code = self._items or self._bounds
        assert code is not None  # noqa: S101  # the reader sees to it that one is given
        value = await code.value(frame)
        try:
            return choices.iterated(value) if code is self._items else _between(value)
        except WorkflowError as error:
            error.at(code.position)
            raise


def _between(bounds: Value) -> Sequence[Value]:
    if type(bounds) is not list or len(bounds) != 2 or not all(map(values.is_number, bounds)):
        raise type_error("range must be a list of two numbers")
    begin, end = bounds
    if type(begin) is int:
        end = min(math.floor(end), values.INT_MAX)
    # The end is never reached of what is longer: each iteration takes a step.
    count = math.floor(min(end - begin, MAX_STEPS)) + 1
    return range(begin, begin + count) if type(begin) is int else [begin + offset for offset in range(count)]


def for_loop(step: Step, loop: Loop) -> Later:
    """A sequential loop."""

    async def run(frame: Frame) -> Outcome:
        return await run_loop(step, loop.body, await loop.items(frame), loop.set_variables, frame)

    return run


def attempt(step: Step, body: Block, retry: Code | None, handler: tuple[str | None, Block] | None) -> Later:
    """A `try` with what follows when it fails."""

    async def run(frame: Frame) -> Outcome:
        try:
            return await run_attempts(step, body, retry, frame)
        except WorkflowError as error:
            if handler is None or error.is_fatal:
                raise
            return await run_handler(step, *handler, error, frame)

    return run


def parallel_branches(branches: Sequence[tuple[Step, Block]], limit: Code | None) -> Later:
    """A `parallel` step with branches."""

    async def run(frame: Frame) -> Outcome:
        check_nesting(frame.thread)
        opened = [Branch(step.name, step, body, frame.inner) for step, body in branches]
        await run_branches(StepType.PARALLEL_BRANCH_ENTRY, opened, await _limit(limit, frame), frame)
        return None

    return run


def parallel_loop(step: Step, loop: Loop, limit: Code | None) -> Later:
    """A `parallel` step with a loop."""

    def open_frame(frame: Frame, index: int, item: Value, thread: Thread) -> Frame:
        inner = frame.inner(thread)
        loop.set_variables(inner, index, item)
        return inner

    async def run(frame: Frame) -> Outcome:
        check_nesting(frame.thread)
        most = await _limit(limit, frame)
        items = await loop.items(frame)
        if len(items) > MAX_STEPS:
            raise runtime_error("ResourceLimitError", f"{len(items)} iterations take more than {MAX_STEPS} steps")
        opened = [
            Branch(str(index), step, loop.body, partial(open_frame, frame, index, item))
            for index, item in enumerate(items)
        ]
        await run_branches(StepType.FOR_ITERATION, opened, most, frame)
        return None

    return run


async def _limit(code: Code | None, frame: Frame) -> int | None:
    if code is None:
        return None
    limit = await code.value(frame)
    if type(limit) is not int:
        raise type_error(f"concurrency_limit must be an integer, not '{values.python_name(limit)}'")
    if limit < 1:
        raise value_error(f"concurrency_limit must be positive: {limit}")
    return limit
