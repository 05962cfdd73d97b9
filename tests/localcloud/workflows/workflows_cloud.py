"""A Workflows service on a clock that jumps: it stands still while work is done, and moves on when all of it waits."""

from __future__ import annotations

import asyncio
import json
import math
import textwrap
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localcloud.clock import Clock, Timer
from localcloud.context import Context
from localcloud.faults import Faults
from localcloud.identity import Identity
from localcloud.store import Store
from localcloud.workflows.state import Execution, Workflows, WorkflowSpec

PROJECT, LOCATION = "demo", "us-central1"
START = 1_700_000_000.0
_IDLE_ROUNDS = 30  # turns of the event loop after which nothing is left to do at once


class Timeline(Clock):
    """A frozen clock that tells when the earliest waiter is due."""

    def __init__(self, start: float) -> None:
        super().__init__(start=start, frozen=True)
        self._seen: list[Timer] = []

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        timer = super().call_later(seconds, callback)
        self._seen.append(timer)
        return timer

    def next_due(self) -> float | None:
        self._seen = [timer for timer in self._seen if timer.is_pending]
        return min((timer.when for timer in self._seen), default=None)


@dataclass
class Cloud:
    """One Workflows service. `answering` counts calls that wait for the clock at the far end."""

    context: Context
    clock: Timeline
    workflows: Workflows
    sleeping_calls: Callable[[], int] = field(default=lambda: 0)

    def deploy(self, source: str, name: str = "flow", **spec: Any) -> str:
        """Deploy and give the parent of its executions."""
        self.workflows.deploy(WorkflowSpec(name, source, **spec))
        return self.workflows.resource_name(name)

    async def run(self, source: str, argument: Any = None, **spec: Any) -> Execution:
        """Deploy, execute and wait for the end, on virtual time."""
        parent = self.deploy(source, **spec)
        execution = self.workflows.create_execution(parent, None if argument is None else json.dumps(argument))
        return await self.finished(execution.name)

    async def result(self, source: str, argument: Any = None, **spec: Any) -> Any:
        """The result of an execution that succeeds."""
        execution = await self.run(source, argument, **spec)
        assert execution.state == "SUCCEEDED", execution.error
        return json.loads(execution.result or "null")

    async def error(self, source: str, argument: Any = None, **spec: Any) -> Any:
        """The payload of an execution that fails."""
        execution = await self.run(source, argument, **spec)
        assert execution.state == "FAILED", execution.result
        assert execution.error is not None
        return json.loads(execution.error.payload)

    async def finished(self, name: str) -> Execution:
        """The execution once it has ended."""
        await self.until(lambda: self.workflows.get(name).state != "ACTIVE")
        return self.workflows.get(name)

    def waits(self) -> bool:
        """Does something wait for the clock?"""
        return self.clock.next_due() is not None

    async def until(self, condition: Callable[[], bool], *, advance: bool = True) -> None:
        """Let the loop turn, and time jump to the next waiter, until the condition holds."""
        while not condition():
            for _ in range(_IDLE_ROUNDS):
                await asyncio.sleep(0)
                if condition():
                    return
            due = self.clock.next_due()
            if advance and due is not None and self.workflows.http.in_flight <= self.sleeping_calls():
                # Upwards to a whole microsecond, the least that the clock moves by.
                self.clock.advance(seconds=math.ceil(max(0.0, due - self.clock.time()) * 1e6) / 1e6)
            else:
                await asyncio.sleep(0.0005)  # for a socket


def open_cloud(
    directory: Path | None = None,
    *,
    http_url: str = "http://127.0.0.1:1",
    start: float = START,
    store: Store | None = None,
) -> Cloud:
    """A service on the state under `directory`, or on `store`."""
    clock = Timeline(start)
    context = Context(
        project=PROJECT,
        location=LOCATION,
        clock=clock,
        store=store or Store(directory),
        faults=Faults(),
        identity=Identity(clock),
        http_url=http_url,
        grpc_address="127.0.0.1:1",
    )
    return Cloud(context, clock, Workflows(context))


@asynccontextmanager
async def running_cloud(directory: Path | None = None, **options: Any) -> AsyncIterator[Cloud]:
    """A started service that is stopped and closed at the end."""
    cloud = open_cloud(directory, **options)
    await cloud.workflows.start()
    try:
        yield cloud
    finally:
        await cloud.workflows.stop()
        cloud.context.store.close()


def on_cloud(scenario: Callable[[Cloud], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """What the scenario gives, on a cloud of its own."""

    async def scene() -> Any:
        async with running_cloud(**options) as cloud:
            return await scenario(cloud)

    return asyncio.run(scene())


def steps(text: str, *subworkflows: str) -> str:
    """A workflow of these steps."""
    body = textwrap.indent(textwrap.dedent(text).strip("\n"), "    ")
    return "main:\n  params: [args]\n  steps:\n" + body + "\n" + "".join(map(textwrap.dedent, subworkflows))


def result_of(text: str, *subworkflows: str, argument: Any = None) -> Any:
    return on_cloud(lambda cloud: cloud.result(steps(text, *subworkflows), argument))


def error_of(text: str, *subworkflows: str, argument: Any = None) -> Any:
    return on_cloud(lambda cloud: cloud.error(steps(text, *subworkflows), argument))
