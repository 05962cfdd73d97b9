"""zeroidle run: upload files, follow their jobs, show where the results are."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from zeroidle.contracts.records import Job
from zeroidle.contracts.services import ModelRef
from zeroidle.errors import PermanentError
from zeroidle_cli import outcome, project, uploads
from zeroidle_cli.connection import Connection, connect
from zeroidle_cli.exits import INTERRUPTED, of_file_job
from zeroidle_cli.ledger import Ledger
from zeroidle_cli.options import JsonOption, StateOption
from zeroidle_cli.output import err, escape, is_live, out, print_json
from zeroidle_cli.progress import Progress, Teller
from zeroidle_cli.uploads import Upload
from zeroidle_cli.watch import POLL_S, Watch

SETTLE_S = 2.0  # for the last messages of a cloud that ends with this command
REFRESH_PER_S = 8
IN_DETAIL = 6  # files; of more, each gets a line
BAR_FROM_BYTES = 16 * 2**20  # less is up before anyone could read it


class TextMode(StrEnum):
    """What a .txt holds."""

    DOCUMENT = "document"
    LINES = "lines"


def run(
    files: Annotated[list[Path], typer.Argument(help="Files to run: text, JSON, JSON lines, CSV, Parquet, pictures.")],
    text_field: Annotated[str | None, typer.Option(help="Column or field that holds the text.")] = None,
    id_field: Annotated[str | None, typer.Option(help="Column or field that holds the id.")] = None,
    label_field: Annotated[str | None, typer.Option(help="Column or field with the expected label.")] = None,
    text_mode: Annotated[
        TextMode | None, typer.Option(help="A .txt is one document, or one a line; guessed if not given.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model to run, NAME or NAME@VERSION.")] = None,
    state: StateOption = None,
    wait: Annotated[bool, typer.Option(help="Wait for the results.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Run files through the pipeline and show the results.

    Uses the running local cloud, or starts one for as long as the command takes.
    """
    uploads.check(files)
    options = {
        "text-field": text_field,
        "id-field": id_field,
        "label-field": label_field,
        "text-mode": text_mode,
        "model": model,
    }
    given = {name: value for name, value in options.items() if value is not None}
    with contextlib.ExitStack() as ending:
        with err.status("[dim]connecting to the local cloud[/]") if is_live() else contextlib.nullcontext():
            connection = ending.enter_context(connect(project.find(), state))
        _require_model(connection, model or connection.project.bundle.default_model)
        if not wait:
            connection.require_cloud_that_stays("--no-wait out")
        started = _upload(connection, files, given)
        jobs = _follow(connection, started) if wait else {}
        if as_json:
            print_json({"jobs": [outcome.document(connection, item, jobs.get(item.job_id)) for item in started]})
        elif wait:
            _show(connection, [(item, jobs[item.job_id]) for item in started])
        else:
            for item in started:
                out.print(f"{item.job_id}  {escape(item.path.name)}", soft_wrap=True)
    raise typer.Exit(max(map(of_file_job, jobs.values()), default=0))


def _require_model(connection: Connection, model: str) -> None:
    ref = ModelRef.parse(model)
    prefix = f"{ref.name}/{ref.version}/" if ref.version else f"{ref.name}/"
    if not any(connection.objects.list(connection.bucket("models"), prefix)):
        raise PermanentError(
            f"model {model!r} is not in the model bucket",
            code="NO_SUCH_MODEL",
            hint="`make setup` builds the default one; `zeroidle models list` shows what is there.",
        )


def _upload(connection: Connection, files: Sequence[Path], options: dict[str, str]) -> list[Upload]:
    total = sum(path.stat().st_size for path in files)
    columns = (
        TextColumn("uploading"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    hidden = total < BAR_FROM_BYTES or not is_live()
    with Bars(*columns, console=err, transient=True, disable=hidden) as bars:
        task = bars.add_task("", total=total)
        return uploads.upload_all(connection, files, options, lambda count: bars.advance(task, count))


def _follow(connection: Connection, started: list[Upload]) -> dict[str, Job]:
    """The records of all jobs once they are over; shows progress meanwhile."""
    ledger, progress = Ledger(connection), Progress(started)
    watch = Watch(ledger, [item.job_id for item in started])
    try:
        if is_live():
            _follow_live(watch, progress)
        else:
            teller = Teller(started)
            for changed in watch.changes():
                progress.jobs.update(changed)
                for line in teller.lines(changed):
                    err.print(line, markup=False)
        if connection.cloud is not None:
            _settle(ledger, started)
    except KeyboardInterrupt:
        _say_interrupted(connection, started)
        raise typer.Exit(INTERRUPTED) from None
    return progress.jobs


def _follow_live(watch: Watch, progress: Progress) -> None:
    begun = time.monotonic()

    def view() -> Group:
        return progress.view(time.monotonic() - begun, err.height - 1)

    with Live(get_renderable=view, console=err, refresh_per_second=REFRESH_PER_S, transient=True):
        for changed in watch.changes():
            progress.jobs.update(changed)


def _show(connection: Connection, ended: list[tuple[Upload, Job]]) -> None:
    if len(ended) <= IN_DETAIL:
        for item, job in ended:
            outcome.show(connection, item, job)
        return
    out.print(outcome.overview(ended))
    err.print(f"[dim]{escape(connection.command('results', 'JOB', '--open'))}[/]", soft_wrap=True)


def _settle(ledger: Ledger, started: list[Upload]) -> None:
    """Let the cloud in this process finish what comes after a job's last beat, so that nothing is left for later."""
    end = time.monotonic() + SETTLE_S
    while time.monotonic() < end and not ledger.active().isdisjoint(item.job_id for item in started):
        time.sleep(POLL_S)


def _say_interrupted(connection: Connection, started: list[Upload]) -> None:
    if connection.cloud is not None:
        told = f"Interrupted. The jobs wait; they go on as soon as a local cloud runs: {connection.command('up')}"
    else:
        told = "No longer watching; the jobs go on."
    err.print(escape(told), soft_wrap=True)
    for item in started[:10]:
        err.print(escape(f"  {connection.command('show', item.job_id)}"), soft_wrap=True)
    if len(started) > 10:
        err.print(escape(f"  and {len(started) - 10:,} more: {connection.command('jobs')}"), soft_wrap=True)
