"""zeroidle run: upload files, follow their jobs, show where the results are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from zeroidle.contracts.records import ExitClass, Job, State
from zeroidle.errors import PermanentError
from zeroidle_cli import project, uploads
from zeroidle_cli.connection import Connection, connect
from zeroidle_cli.ledger import Ledger
from zeroidle_cli.options import JsonOption, StateOption
from zeroidle_cli.output import STATE_STYLES, duration, err, escape, out, print_json, usd
from zeroidle_cli.samples import sample

POLL_S = 0.15
SETTLE_S = 2.0  # for the last messages of a cloud that ends with this command
SAMPLE_ROWS = 4


def run(
    files: Annotated[list[Path], typer.Argument(help="Files to run: text, JSON, JSON lines, CSV, Parquet, pictures.")],
    text_field: Annotated[str | None, typer.Option(help="Column or field that holds the text.")] = None,
    id_field: Annotated[str | None, typer.Option(help="Column or field that holds the id.")] = None,
    label_field: Annotated[str | None, typer.Option(help="Column or field with the expected label.")] = None,
    text_mode: Annotated[
        str | None, typer.Option(help="A .txt is one `document`, or `lines`; guessed if not given.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model to run, NAME or NAME@VERSION.")] = None,
    state: StateOption = None,
    wait: Annotated[bool, typer.Option(help="Wait for the results.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Run files through the pipeline and show the results.

    Uses the running local cloud, or starts one for as long as the command takes.

    Exit codes: 0 all succeeded, 1 an input is wrong, 2 wrong usage, 3 a limit ended a job, 4 the platform failed,
    5 a job was stopped, 130 interrupted (the jobs go on where the cloud goes on).
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
    with connect(project.find(), state) as connection:
        _require_model(connection, model or connection.project.bundle.default_model)
        if not wait and connection.cloud is not None:
            raise PermanentError(
                "there is no running local cloud that could go on with the jobs",
                code="NO_CLOUD",
                hint="Start one in another terminal with `zeroidle up`, or leave --no-wait out.",
            )
        started = [uploads.upload(connection, path, given) for path in files]
        jobs = _follow(connection, started) if wait else []
        if as_json:
            print_json([_document(connection, item, job) for item, job in _pairs(started, jobs)])
        elif wait:
            _show(connection, list(_pairs(started, jobs)))
        else:
            for item in started:
                out.print(f"{item.job_id}  {escape(item.path.name)}")
    raise typer.Exit(max((_exit_code(job) for job in jobs), default=0))


def _require_model(connection: Connection, model: str) -> None:
    name = model.partition("@")[0]
    if not any(connection.objects.list(connection.bucket("models"), f"{name}/")):
        raise PermanentError(
            f"model {name!r} is not in the model bucket",
            code="NO_SUCH_MODEL",
            hint="`make setup` builds the default one; `zeroidle models list` shows what is there.",
        )


def _pairs(started: list[uploads.Upload], jobs: list[Job]) -> Iterator[tuple[uploads.Upload, Job | None]]:
    by_id = {job.job_id: job for job in jobs}
    return ((item, by_id.get(item.job_id)) for item in started)


@dataclass
class _Progress:
    """What is known of each job while it runs."""

    started: list[uploads.Upload]
    jobs: dict[str, Job]
    begun: float

    def table(self) -> Table:
        """One line a file."""
        table = Table.grid(padding=(0, 2))
        for item in self.started:
            job = self.jobs.get(item.job_id)
            state = "UPLOADED" if job is None else job.state.value
            style = STATE_STYLES.get(state, "dim")
            table.add_row(
                f"[{style}]{state.lower():<12}[/]", escape(item.path.name), f"[dim]{escape(stage_line(job))}[/]"
            )
        table.add_row("[dim]elapsed[/]", f"[dim]{duration(time.monotonic() - self.begun)}[/]", "")
        return table


def stage_line(job: Job | None) -> str:
    """The stages of a job in a line: `preprocess 0.4 s · inference 512/1000 records`."""
    if job is None:
        return "waiting for the upload event"
    parts = []
    for stage in job.stages:
        if stage.finished_at is not None:
            parts.append(f"{stage.name} {duration(stage.finished_at - stage.started_at)}")
        elif job.state is State.RUNNING and stage.name == "inference" and job.progress and job.progress.total:
            parts.append(f"{stage.name} {job.progress.done:,}/{job.progress.total:,} {job.progress.unit}")
        else:
            parts.append(stage.name)
    return " · ".join(parts) or "starting"


def _follow(connection: Connection, started: list[uploads.Upload]) -> list[Job]:
    """The records of all jobs once they are over; shows progress meanwhile."""
    ledger = Ledger(connection)
    progress = _Progress(started, {}, time.monotonic())
    try:
        if err.is_terminal:
            with Live(progress.table(), console=err, refresh_per_second=8, transient=True) as live:
                _poll(ledger, progress, lambda _: live.update(progress.table()))
        else:
            _poll(ledger, progress, _line_printer(progress))
        if connection.cloud is not None:
            _settle(ledger, started)
    except KeyboardInterrupt:
        _say_interrupted(connection, started)
        raise typer.Exit(130) from None
    return [progress.jobs[item.job_id] for item in started]


def _poll(ledger: Ledger, progress: _Progress, changed: Callable[[str], None]) -> None:
    open_jobs = {item.job_id for item in progress.started}
    while open_jobs:
        for job_id in sorted(open_jobs):
            job = ledger.find(job_id)
            if job is None or job == progress.jobs.get(job_id):
                continue
            progress.jobs[job_id] = job
            changed(job_id)
            if job.state.is_terminal:
                open_jobs.discard(job_id)
        changed("")
        time.sleep(POLL_S)


def _line_printer(progress: _Progress) -> Callable[[str], None]:
    """Without a terminal: one line for each change of state or stage."""
    names = {item.job_id: item.path.name for item in progress.started}
    told: dict[str, tuple[str, int]] = {}

    def changed(job_id: str) -> None:
        job = progress.jobs.get(job_id)
        if job is None or told.get(job_id) == (job.state.value, len(job.stages)):
            return
        told[job_id] = (job.state.value, len(job.stages))
        err.print(f"{names[job_id]}: {job.state.value.lower()} {stage_line(job)}", markup=False, soft_wrap=True)

    return changed


def _settle(ledger: Ledger, started: list[uploads.Upload]) -> None:
    """Let the cloud in this process finish what comes after a job's last beat, so that nothing is left for later."""
    end = time.monotonic() + SETTLE_S
    while time.monotonic() < end and any(ledger.is_active(item.job_id) for item in started):
        time.sleep(POLL_S)


def _say_interrupted(connection: Connection, started: list[uploads.Upload]) -> None:
    if connection.cloud is not None:
        err.print("Interrupted. The jobs wait; they go on as soon as a local cloud runs: zeroidle up")
    else:
        err.print("No longer watching; the jobs go on.")
    for item in started:
        err.print(f"  zeroidle show {item.job_id}")


def _exit_code(job: Job) -> int:
    if job.state is State.SUCCEEDED:
        return 0
    return int(job.reason.exit_class if job.reason else ExitClass.PLATFORM)


def _document(connection: Connection, item: uploads.Upload, job: Job | None) -> dict[str, Any]:
    ledger = Ledger(connection)
    folder = ledger.result_folder(job) if job else None
    return {
        "file": str(item.path),
        "job_id": item.job_id,
        "input": item.ref,
        "state": job.state if job else None,
        "reason": job.reason if job else None,
        "failure": job.failure if job else None,
        "result": f"gs://{folder.bucket}/{folder.prefix}/" if folder else None,
        "summary": ledger.summary(job) if job else None,
    }


def _show(connection: Connection, pairs: list[tuple[uploads.Upload, Job | None]]) -> None:
    ledger = Ledger(connection)
    for item, job in pairs:
        if job is None:
            continue
        style = STATE_STYLES[job.state.value]
        out.print(f"\n[bold]{escape(item.path.name)}[/]  [{style}]{job.state.value}[/]  [dim]{job.job_id}[/]")
        summary = ledger.summary(job)
        if summary is not None:
            _show_summary(summary)
            _show_sample(connection, job)
        elif job.failure is not None:
            out.print(f"  {job.failure.code}: {job.failure.message}", markup=False, soft_wrap=True)
            if job.failure.hint:
                out.print(f"  {job.failure.hint}", markup=False, soft_wrap=True)
        folder = ledger.result_folder(job)
        if folder is not None:
            out.print(f"  [dim]gs://{folder.bucket}/{escape(folder.prefix)}/[/]", soft_wrap=True)
            out.print(f"  [dim]zeroidle results {job.job_id} --open[/]", soft_wrap=True)


def _show_summary(summary: dict[str, Any]) -> None:
    total = summary["records"]
    counts = ", ".join(
        f"{label} {n:,} ({n / max(1, sum(summary['labels'].values())):.0%})" for label, n in summary["labels"].items()
    )
    facts = [f"{total:,} records", *([f"{summary['rejected']:,} set aside"] if summary["rejected"] else [])]
    if summary["accuracy"]:
        facts.append(f"accuracy {summary['accuracy']['accuracy']:.1%} of {summary['accuracy']['labelled']:,} labelled")
    out.print(f"  {' · '.join(facts)}", markup=False)
    if counts:
        out.print(f"  {counts}", markup=False)
    times = " · ".join(f"{stage['name']} {duration(stage['elapsed_s'])}" for stage in summary["stages"])
    out.print(f"  {times} · about {usd(summary['usd'])} in the cloud", markup=False)
    field = summary["input"]["text_field"]
    if summary["input"]["text_field_guessed"]:
        out.print(f"  text taken from {field!r} (guessed; --text-field names another)", markup=False)


def _show_sample(connection: Connection, job: Job) -> None:
    rows = sample(connection, job, SAMPLE_ROWS)
    if not rows:
        return
    table = Table(box=None, padding=(0, 2), show_edge=False)
    for column in rows[0]:
        table.add_column(
            column, overflow="ellipsis", no_wrap=True, max_width=80, style="dim" if column == "line" else ""
        )
    for row in rows:
        table.add_row(*(escape(value) for value in row.values()))
    out.print(table)
