"""How fast does the Workflows engine take steps, and what does an execution that sleeps cost?

    python -m benchmarks.workflows [--json]

Beside PyPI's `workflows-emulator`, with the same sources: a loop of 1,000 steps (ours by the engine alone, as the
peer's, and through the service, which stores executions); 200 executions at once of ten assigns and one HTTP call to a
server in a process of its own (ours on one event loop, the peer's in 200 threads); the memory of executions that sleep
(10,000 of ours; 500 of the peer's, each of which needs a thread). Each figure is the median of five fresh processes,
the sides taking turns.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import gc
import http.server
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from benchmarks.tables import Figures, machine, median
from localcloud.clock import Clock
from localcloud.context import Context
from localcloud.faults import Faults
from localcloud.identity import Identity
from localcloud.store import Store
from localcloud.workflows.compiler import compile_source
from localcloud.workflows.engine import execute
from localcloud.workflows.http import HttpClient
from localcloud.workflows.journal import Journal
from localcloud.workflows.state import Workflows, WorkflowSpec
from localcloud.workflows.thread import Run

ROOT = Path(__file__).parents[1]
ROUNDS = 5
AT_ONCE, SLEEPERS, PEER_SLEEPERS = 200, 10_000, 500
LOOP = """
main:
  steps:
    - init:
        assign:
          - total: 0
    - loop:
        for:
          value: v
          range: [1, 1000]
          steps:
            - add:
                assign:
                  - total: ${total + v}
    - out:
        return: ${total}
"""
LOOP_STEPS, LOOP_RESULT = 1_003, 500_500
_ASSIGNS = "\n".join(
    f"    - a{number}:\n        assign:\n          - x{number}: " + (f"${{x{number - 1} + 1}}" if number else "1")
    for number in range(10)
)
CALLER = f"""
main:
  params: [args]
  steps:
{_ASSIGNS}
    - ask:
        call: http.get
        args:
          url: ${{args.url}}
        result: answer
    - out:
        return: ${{x9 + answer.body.n}}
"""
SLEEPER = """
main:
  steps:
    - nap:
        call: sys.sleep
        args:
          seconds: 3600
"""


class _Answer(http.server.BaseHTTPRequestHandler):
    """The server that the calls go to."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b'{"n":32}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 2 * AT_ONCE  # all calls come at once


def serve() -> None:
    """Tell the port, and answer until stdin ends."""
    server = _Server(("127.0.0.1", 0), _Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


@contextlib.contextmanager
def served() -> Iterator[str]:
    """The address of a server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.workflows", "--child", "serve"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/"
        process.communicate()


# Ours


@contextlib.asynccontextmanager
async def _service(directory: str) -> Any:
    clock = Clock()
    context = Context(
        project="bench",
        location="us-central1",
        clock=clock,
        store=Store(Path(directory)),
        faults=Faults(),
        identity=Identity(clock),
        http_url="http://127.0.0.1:1",
        grpc_address="127.0.0.1:1",
    )
    workflows = Workflows(context)
    await workflows.start()
    try:
        yield workflows
    finally:
        await workflows.stop()
        context.store.close()


async def _run_all(workflows: Workflows, source: str, count: int, argument: Any) -> list[Any]:
    """The results of executions that run at once."""
    workflows.deploy(WorkflowSpec("flow", source))
    parent, text = workflows.resource_name("flow"), json.dumps(argument)
    names = [workflows.create_execution(parent, text).name for _ in range(count)]
    for name in names:
        await workflows.finished(name)
    ended = [workflows.get(name) for name in names]
    assert all(execution.state == "SUCCEEDED" for execution in ended), ended[0].error
    return [json.loads(execution.result or "null") for execution in ended]


async def _loop_by_engine() -> float:
    program, best = compile_source(LOOP), 0.0
    with tempfile.TemporaryDirectory() as directory:
        async with _service(directory) as workflows:
            context = workflows.context
            for _ in range(20):
                run = Run(
                    program=program,
                    journal=Journal(context.store, "bench"),
                    clock=context.clock,
                    http=HttpClient(context),
                    callbacks=None,  # type: ignore[arg-type]  # the loop makes none
                    environment={},
                    execution="bench",
                    http_url="",
                    log=lambda _value, _severity: None,
                    tokens=None,  # type: ignore[arg-type]  # and calls nothing
                )
                started = time.perf_counter()
                assert await execute(run, None) == LOOP_RESULT
                best = max(best, run.steps / (time.perf_counter() - started))
                assert run.steps == LOOP_STEPS
    return best


async def _loop_by_service() -> float:
    with tempfile.TemporaryDirectory() as directory:
        async with _service(directory) as workflows:
            await _run_all(workflows, LOOP, 1, None)
            best = 0.0
            for _ in range(20):
                started = time.perf_counter()
                assert await _run_all(workflows, LOOP, 1, None) == [LOOP_RESULT]
                best = max(best, LOOP_STEPS / (time.perf_counter() - started))
            return best


async def _calls(url: str) -> float:
    with tempfile.TemporaryDirectory() as directory:
        async with _service(directory) as workflows:
            await _run_all(workflows, CALLER, 5, {"url": url})
            started = time.perf_counter()
            assert await _run_all(workflows, CALLER, AT_ONCE, {"url": url}) == [42] * AT_ONCE
            return AT_ONCE / (time.perf_counter() - started)


async def _sleepers() -> float:
    with tempfile.TemporaryDirectory() as directory:
        async with _service(directory) as workflows:
            workflows.deploy(WorkflowSpec("flow", SLEEPER))
            parent = workflows.resource_name("flow")
            await _asleep(workflows, parent, 100)
            gc.collect()
            before = _resident_bytes()
            await _asleep(workflows, parent, SLEEPERS)
            gc.collect()
            return (_resident_bytes() - before) / SLEEPERS / 1000


async def _asleep(workflows: Workflows, parent: str, count: int) -> None:
    names = [workflows.create_execution(parent).name for _ in range(count)]
    await asyncio.sleep(1)
    assert all(workflows.get(name).current == ("main", "nap") for name in names)


# The peer


def _peer() -> Callable[[str, Any], Any]:
    from workflows_emulator.main import execute_workflow

    logging.disable(logging.CRITICAL)
    configurations: dict[str, Any] = {}

    def run(source: str, params: Any) -> Any:
        if source not in configurations:
            configurations[source] = yaml.safe_load(source)
        return execute_workflow(copy.deepcopy(configurations[source]), params)

    return run


def _peer_loop() -> float:
    run, best = _peer(), 0.0
    for _ in range(3):
        started = time.perf_counter()
        assert run(LOOP, {}) == LOOP_RESULT
        best = max(best, LOOP_STEPS / (time.perf_counter() - started))
    return best


def _peer_calls(url: str) -> float:
    run = _peer()
    params = {"args": {"url": url}}
    run(CALLER, params)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        started = time.perf_counter()
        results = list(threads.map(lambda _: run(CALLER, params), range(AT_ONCE)))
        assert results == [42] * AT_ONCE
        return AT_ONCE / (time.perf_counter() - started)


def _peer_sleepers() -> float:
    run = _peer()
    gc.collect()
    before = _resident_bytes()
    for _ in range(PEER_SLEEPERS):
        threading.Thread(target=run, args=(SLEEPER, {}), daemon=True).start()
    time.sleep(2)
    gc.collect()
    return (_resident_bytes() - before) / PEER_SLEEPERS / 1000


def _resident_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) * 1024


# The table

ENGINE, SERVICE, PEER = "ours: the engine", "ours: through the service", "workflows-emulator"
SIDES: Mapping[str, Mapping[str, Callable[[str], float]]] = {
    "steps/s in a loop of 1,000": {
        ENGINE: lambda _: asyncio.run(_loop_by_engine()),
        SERVICE: lambda _: asyncio.run(_loop_by_service()),
        PEER: lambda _: _peer_loop(),
    },
    f"executions/s, {AT_ONCE} at once with a call": {
        SERVICE: lambda url: asyncio.run(_calls(url)),
        PEER: _peer_calls,
    },
    "kB per sleeping execution": {
        SERVICE: lambda _: asyncio.run(_sleepers()),
        PEER: lambda _: _peer_sleepers(),
    },
}


def in_child(figure: str, side: str, url: str) -> float | str:
    """One figure from a fresh process; what went wrong if the side cannot run the program."""
    command = [sys.executable, "-m", "benchmarks.workflows", "--child", "run", figure, side, url]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        if side != PEER:
            raise RuntimeError(done.stderr)
        return f"fails: {done.stderr.strip().splitlines()[-1][:60]}"
    return float(done.stdout.splitlines()[-1])


def measure() -> Figures:
    """The table."""
    figures = Figures("Workflows: steps, executions, sleepers")
    with served() as url:
        rows: dict[str, dict[str, float | str]] = {side: dict.fromkeys(SIDES, "-") for side in (ENGINE, SERVICE, PEER)}
        for figure, sides in SIDES.items():
            found: dict[str, list[float | str]] = {side: [] for side in sides}
            for _ in range(ROUNDS):
                for side in sides:
                    found[side].append(in_child(figure, side, url))
            for side, values in found.items():
                numbers = [value for value in values if isinstance(value, float)]
                rows[side][figure] = median(numbers) if numbers else values[0]
    figures.rows += [{"": side, **row} for side, row in rows.items()]
    steps = {side: rows[side]["steps/s in a loop of 1,000"] for side in (ENGINE, PEER)}
    if isinstance(steps[ENGINE], float) and isinstance(steps[PEER], float):
        figures.notes.append(f"{steps[ENGINE] / steps[PEER]:,.0f} times the peer's steps; {machine()}")
    return figures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workflows", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    match options.child:
        case None:
            measure().print(as_json=options.json)
        case ["serve"]:
            serve()
        case ["run", figure, side, url]:
            sys.stdout.write(f"{SIDES[figure][side](url)}\n")


if __name__ == "__main__":
    main()
