"""What does a running step know? Its execution, its thread in it, and the variables around it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from localcloud.clock import Clock
from localcloud.workflows.auth import Tokens
from localcloud.workflows.errors import runtime_error
from localcloud.workflows.http import HttpClient
from localcloud.workflows.journal import Journal
from localcloud.workflows.observe import StepObserver, StepRun
from localcloud.workflows.program import Program
from localcloud.workflows.values import Value, memory_error, size

MAX_MEMORY_BYTES = 512 * 1024


class Callbacks(Protocol):
    """The callback endpoints of one execution."""

    def create(self, method: str) -> str:
        """A new endpoint; its URL."""

    async def wait(self, url: str) -> Value:
        """The next request to the endpoint."""

    def taken(self, url: str) -> None:
        """The program has that request."""


@dataclass(slots=True)
class Run:
    """One execution while it runs."""

    program: Program
    journal: Journal
    clock: Clock
    http: HttpClient
    callbacks: Callbacks
    environment: Mapping[str, str]
    execution: str  # the resource name
    http_url: str
    log: Callable[[Value, str], None]
    tokens: Tokens
    observer: StepObserver | None = None
    steps: int = 0
    memory: int = 0
    current: tuple[str, str] | None = None  # routine and step

    def grow(self, size_bytes: int) -> None:
        """Account for `size_bytes` more (or less) of variables."""
        self.memory += size_bytes
        if self.memory > MAX_MEMORY_BYTES:
            raise memory_error(f"variables take {self.memory} bytes, more than {MAX_MEMORY_BYTES}")


class Thread:
    """The main thread of an execution, or one branch or iteration of a parallel step."""

    __slots__ = ("_position", "calls", "nesting", "path", "run", "step")

    def __init__(self, run: Run, path: str = "", calls: int = 0, nesting: int = 0, step: StepRun | None = None) -> None:
        self.run = run
        self.path = path
        self.step = step  # the innermost that is observed
        self.calls = calls  # depth of the call stack
        self.nesting = nesting  # depth of parallel steps
        self._position = 0

    def next_position(self) -> int:
        """The place of the next effect or parallel step in this thread."""
        self._position += 1
        return self._position

    def once(self, kind: str, make: Callable[[], Value]) -> Value:
        """An effect that doesn't wait, made once however often the process restarts."""
        return self.run.journal.once(self.path, self.next_position(), kind, make)

    async def effect(self, kind: str, make: Callable[[], Awaitable[Value]]) -> Value:
        """An effect that waits, not repeated once it has completed."""
        return await self.run.journal.effect(self.path, self.next_position(), kind, make)

    async def sleep(self, seconds: float) -> None:
        """Wait; after a restart only for what is left."""
        clock = self.run.clock
        deadline = self.once("sleep", lambda: clock.time() + seconds)
        await self.effect("wake", lambda: clock.sleep(deadline - clock.time()))


@dataclass(slots=True, eq=False)
class Call:
    """One call of a routine. `lock` keeps assignments of its parallel branches apart when one of them waits."""

    routine: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class VariableScope:
    """Variables of a call, a loop iteration, a branch or an `except`, and those around it."""

    __slots__ = ("_invoke", "_names", "_parent", "_sizes", "_values", "call", "thread")

    def __init__(
        self,
        names: frozenset[str],
        thread: Thread,
        call: Call,
        invoke: Callable[[Thread, str, Mapping[str, Value]], Awaitable[Value]],
        parent: VariableScope | None = None,
    ) -> None:
        self.thread = thread
        self.call = call
        self._names = names
        self._parent = parent
        self._invoke = invoke
        self._values: dict[str, Value] = {}
        self._sizes: dict[str, int] = {}

    def inner(self, names: frozenset[str], thread: Thread | None = None) -> VariableScope:
        """A scope inside this one."""
        return VariableScope(names, thread or self.thread, self.call, self._invoke, self)

    async def invoke(self, routine: str, args: Mapping[str, Value]) -> Value:
        """Call a subworkflow."""
        return await self._invoke(self.thread, routine, args)

    def read(self, name: str) -> Value:
        """A variable's value. Not documented: one that is not assigned yet. Here: KeyError."""
        owner = self._owner(name)
        try:
            return owner._values[name]
        except KeyError:
            raise runtime_error("KeyError", f"key not found: {name}") from None

    def write(self, name: str, value: Value) -> None:
        """Set a variable."""
        owner = self._owner(name)
        new = size(value)
        self.thread.run.grow(new - owner._sizes.get(name, 0))
        owner._sizes[name] = new
        owner._values[name] = value

    def rewrite(self, name: str, value: Value, growth: int) -> None:
        """Set a variable to a changed copy of its value that is larger by `growth` bytes."""
        owner = self._owner(name)
        self.thread.run.grow(growth)
        owner._sizes[name] += growth
        owner._values[name] = value

    def release(self) -> None:
        """Give the memory of this scope's variables back."""
        self.thread.run.memory -= sum(self._sizes.values())

    def _owner(self, name: str) -> VariableScope:
        scope = self
        while name not in scope._names:
            assert scope._parent is not None, name  # noqa: S101  # the compiler has resolved every name
            scope = scope._parent
        return scope
