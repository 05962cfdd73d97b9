"""zeroidle workflows: check sources as a deployment does, and run one without deploying it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from zeroidle.errors import PermanentError, printable
from zeroidle_cli import sources
from zeroidle_cli.exits import INTERRUPTED
from zeroidle_cli.options import JsonOption, pairs
from zeroidle_cli.output import duration, err, escape, out, print_json
from zeroidle_cli.sources import Source

if TYPE_CHECKING:
    from localcloud.clock import Clock
    from localcloud.workflows.state import Execution
    from zeroidle_cli.steps import StepPrinter

FAILED, REFUSED = 1, 2
EXIT_CODES = "Exit codes: 0 succeeded, 1 failed, 2 refused or wrong usage, 130 interrupted."
CHECK_EXIT_CODES = "Exit codes: 0 all can be deployed, 1 a source is refused, 2 wrong usage or an unreadable file."
ENDPOINT_VARIABLE = "STORAGE_EMULATOR_HOST"
NAME = "workflow"  # of the one that is run
MAX_SHOWN = 2_000  # characters of an error's payload on a terminal

app = typer.Typer(help="Check and run Cloud Workflows sources.", no_args_is_help=True, rich_markup_mode=None)


@app.command(epilog=CHECK_EXIT_CODES)
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Sources, YAML or JSON; `-` is stdin.")],
    as_json: JsonOption = False,
) -> None:
    """Check what the deployment of a source checks, and nothing else: `FILE:LINE:COLUMN: message` for each problem."""
    from localcloud.workflows.compiler import compile_source
    from localcloud.workflows.errors import DeploymentError

    results: list[dict[str, Any]] = []
    code = 0
    for path in files:
        try:
            source = sources.read(path)
            compile_source(source.text)
            results.append({"file": str(path), "problems": []})
        except DeploymentError as error:
            told = sources.refusal(error)
            results.append({"file": str(path), "problems": [told]})
            code = max(code, FAILED)
            if not as_json:
                place = "".join(f":{told[key]}" for key in ("line", "column") if told[key])
                out.print(escape(f"{printable(source.name, 500)}{place}: {told['message']}"), soft_wrap=True)
        except PermanentError as error:
            results.append({"file": str(path), "problems": [_unplaced(error.message)]})
            code = REFUSED
            if not as_json:
                err.print(escape(error.message), soft_wrap=True)
    if as_json:
        print_json({"files": results})
    raise typer.Exit(code)


@app.command(epilog=EXIT_CODES)
def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The source, YAML or JSON; `-` is stdin.")],
    args: Annotated[
        str | None, typer.Option("--args", metavar="JSON", help="The runtime argument; `@FILE` reads it from a file.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="A user environment variable; repeatable.")
    ] = None,
    skip_sleeps: Annotated[
        bool, typer.Option("--skip-sleeps", help="Jump over sleeps and the delays of retries and polling.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, metavar="SECONDS", help="Cancel what runs longer, in real time.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="A host outside this machine that may be called, `*` for any; repeatable."),
    ] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(metavar="SERVICE=URL", help="Where a Google API is, for connectors; repeatable."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no steps.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a source without deploying it.

    The result goes to stdout, the steps as they happen to stderr. Time is real unless --skip-sleeps is given. Calls
    reach this machine only, and connectors the local cloud that STORAGE_EMULATOR_HOST names, or an empty one.
    """
    from localcloud.workflows.errors import ApiError, DeploymentError
    from localcloud.workflows.single import Surroundings, run_single
    from localcloud.workflows.state import WorkflowSpec

    try:
        source = sources.read(file)
        spec = WorkflowSpec(NAME, source.text, env=pairs(env, "--env"))
        argument = _argument(args)
        around = Surroundings(
            cloud_url=None if skip_sleeps else _cloud_url(),
            endpoints=pairs(endpoint, "--endpoint"),
            allowed_hosts=tuple(allow_host or ()),
            skip_sleeps=skip_sleeps,
        )
        watch = None if quiet or as_json else _Watch(source)
        with _shown_logs(), watch.status if watch else contextlib.nullcontext():
            execution, interrupted = _until_ended(run_single(spec, argument, around, watch, timeout))
    except DeploymentError as error:
        _refuse(sources.refusal(error), as_json, sources.Source(source.name, source.text))
    except ApiError as error:
        _refuse(_unplaced(error.message), as_json)
    except PermanentError as error:
        _refuse(_unplaced(error.message), as_json)
    _tell(execution, source, watch.printer if watch else None, as_json)
    if execution.state == "CANCELLED" and not interrupted and not as_json:
        err.print(f"It ran longer than --timeout {timeout:g} s.", soft_wrap=True)
    raise typer.Exit(INTERRUPTED if interrupted else 0 if execution.state == "SUCCEEDED" else FAILED)


def _argument(text: str | None) -> str | None:
    if text is None or not text.startswith("@"):
        return text
    return sources.read(Path(text[1:])).text


def _cloud_url() -> str | None:
    url = os.environ.get(ENDPOINT_VARIABLE)
    return None if not url else url if "://" in url else f"http://{url}"


class _Watch:
    """Makes the printer of steps, once the clock of the execution is there."""

    def __init__(self, source: Source) -> None:
        self._source = source
        # What runs right now, on a line that goes away; off a terminal there is none.
        self.status = err.status("starting")
        self.printer: StepPrinter | None = None

    def __call__(self, clock: Clock) -> StepPrinter:
        from zeroidle_cli.steps import StepPrinter

        def what(step: Any) -> str:
            return self._source.called_at(step.position.line) if step.type.name.endswith("_CALL") else ""

        def show(line: Text) -> None:
            err.print(line, soft_wrap=not err.is_terminal)

        def begin(name: str) -> None:
            self.status.update(escape(name))

        self.printer = StepPrinter(clock, show, what, begin)
        return self.printer


@contextlib.contextmanager
def _shown_logs() -> Iterator[None]:
    """What the workflow logs goes to stderr meanwhile."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = Text(f"{record.levelname.lower()}: ", "cyan").append(printable(record.getMessage(), 10_000), "")
            err.print(line, soft_wrap=True)

    log = logging.getLogger("localcloud.workflows.log")
    before = log.handlers, log.propagate, log.level
    log.handlers, log.propagate = [Handler()], False
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.handlers, log.propagate = before[:2]
        log.setLevel(before[2])


def _until_ended(work: Coroutine[Any, Any, Execution]) -> tuple[Execution, bool]:
    """The execution, and whether Ctrl-C or SIGTERM has cancelled it."""
    import asyncio  # a twentieth of the start of any command

    interrupted = False

    async def main() -> Execution:
        task = asyncio.ensure_future(work)

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, interrupt)
        return await task

    try:
        return asyncio.run(main()), interrupted
    except asyncio.CancelledError:  # before there was an execution
        raise typer.Exit(INTERRUPTED) from None


def _refuse(error: Mapping[str, Any], as_json: bool, source: Source | None = None) -> None:
    if as_json:
        _print_last({"state": "REFUSED", "error": error})
    else:
        err.print(f"[bold red]refused[/] {escape(error['message'])}", soft_wrap=True)
        if source is not None and error["line"]:
            err.print(source.excerpt(error["line"], error["column"] or 0), end="", soft_wrap=True)
    raise typer.Exit(REFUSED)


def _unplaced(message: str) -> dict[str, Any]:
    return {"message": message, "step": None, "routine": None, "line": None, "column": None}


def _tell(execution: Execution, source: Source, printer: StepPrinter | None, as_json: bool) -> None:
    succeeded = execution.state == "SUCCEEDED"
    error = execution.error
    payload = json.loads(error.payload) if error else None
    if as_json and succeeded:
        _print_last({"state": execution.state, "result": json.loads(execution.result or "null")})
    elif as_json:
        _print_last(
            {"state": execution.state, "error": {"payload": payload, "context": error.context if error else ""}}
        )
    else:
        took = duration((execution.end_time or execution.create_time) - execution.create_time)
        steps = f", {printer.steps:,} step{'s' if printer.steps != 1 else ''}" if printer else ""
        err.print(f"[bold {'green' if succeeded else 'red'}]{execution.state}[/] in {took}{steps}")
        if error is not None:
            _print_error(execution, payload, source)
        else:
            print_json(json.loads(execution.result or "null"))


def _print_error(execution: Execution, payload: Any, source: Source) -> None:
    error = execution.error
    assert error is not None  # noqa: S101  # the caller has looked
    err.print(escape(error.context.partition("\nin step ")[0]), soft_wrap=True)
    for index, frame in enumerate(error.trace):
        position = frame["position"]
        place = f"{source.name}:{position['line']}" + (f":{position['column']}" if position["column"] else "")
        err.print(escape(f"  in step {frame['step']!r}, routine {frame['routine']!r}, {place}"), soft_wrap=True)
        if index == 0:
            err.print(source.excerpt(position["line"], position["column"]), end="", soft_wrap=True)
    if isinstance(payload, dict) and set(payload) - {"message", "tags"}:
        err.print(escape(json.dumps(payload, ensure_ascii=False, indent=2)[:MAX_SHOWN]), style="dim", soft_wrap=True)


def _print_last(value: Any) -> None:
    """One line, the last on stdout."""
    sys.stdout.write(json.dumps(value) + "\n")
