"""What does a running step know? Its execution, its thread in it, and the variables around it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from localcloud.clock import Clock
from localcloud.workflows.auth import Tokens
from localcloud.workflows.errors import WorkflowError, runtime_error
from localcloud.workflows.http import HttpClient
from localcloud.workflows.journal import Journal
from localcloud.workflows.memory import FIXED, Memory
from localcloud.workflows.observe import StepObserver, StepRun
from localcloud.workflows.values import Value

if TYPE_CHECKING:
    from localcloud.workflows.program import Program, Step

MAX_STEPS = 100_000


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
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())
    steps: int = 0
    memory: Memory = field(default_factory=Memory)
    step: Step | None = None  # the one that runs, or ran last

    @property
    def current(self) -> tuple[str, str] | None:
        """Routine and name of the step that runs, or ran last."""
        return None if self.step is None else (self.step.routine, self.step.name)

    def count(self, step: Step) -> None:
        """A step begins. Raises ResourceLimitError when there were too many."""
        self.step = step
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise runtime_error("ResourceLimitError", f"the execution took more than {MAX_STEPS} steps")


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
        try:
            return await self.run.journal.effect(self.path, self.next_position(), kind, make)
        except WorkflowError as error:
            # The journal keeps only the value; an effect is never what a program raises itself.
            error.is_fatal = type(error.value) is dict and "ResourceLimitError" in error.value.get("tags", ())
            raise

    async def sleep(self, seconds: float) -> None:
        """Wait; after a restart only for what is left."""
        clock = self.run.clock
        deadline = self.once("sleep", lambda: clock.time() + seconds)
        await self.effect("wake", lambda: clock.sleep(deadline - clock.time()))


class Call:
    """One call of a routine. `lock` keeps assignments of its parallel branches apart when one of them waits."""

    __slots__ = ("_lock", "routine")

    def __init__(self, routine: str) -> None:
        self.routine = routine
        self._lock: asyncio.Lock | None = None

    @property
    def lock(self) -> asyncio.Lock:
        """Made when it is needed, which is rare."""
        self._lock = self._lock or asyncio.Lock()
        return self._lock


class Frame:
    """Variables of a call, a loop iteration, a branch or an `except`, within those around it.

    The compiler has resolved every name to the frame that owns it, as a number of steps outwards.
    """

    __slots__ = ("call", "parent", "thread", "values")

    def __init__(self, thread: Thread, call: Call, parent: Frame | None = None) -> None:
        self.thread = thread
        self.call = call
        self.parent = parent
        self.values: dict[str, Value] = {}

    def inner(self, thread: Thread | None = None) -> Frame:
        """A frame inside this one."""
        return Frame(thread or self.thread, self.call, self)

    def write(self, name: str, value: Value, size_bytes: int | None = None) -> None:
        """Set a variable of this frame; its size may be known."""
        values = self.values
        if name not in values:
            self.thread.run.memory.hold(value, size_bytes)
        elif not (type(value) in FIXED and type(values[name]) in FIXED):
            self.thread.run.memory.exchange(values[name], value, size_bytes)
        values[name] = value

    def release(self) -> None:
        """Give the memory of this frame's variables back."""
        memory = self.thread.run.memory
        for value in self.values.values():
            memory.drop(value)
        self.values.clear()
