"""zeroidle show: everything the ledger says of one job."""

from __future__ import annotations

import time
from typing import Any

from rich.table import Table

from zeroidle.contracts.messages import MachineRun, WorkflowRun
from zeroidle.contracts.records import Job
from zeroidle_cli import project
from zeroidle_cli.connection import connect
from zeroidle_cli.ledger import Ledger
from zeroidle_cli.options import JobArgument, JsonOption, StateOption
from zeroidle_cli.output import STATE_STYLES, Column, age, duration, escape, moment, out, print_json, table, usd


def show(job_id: JobArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show one job: its state, stages, what its services reported, and the reason if it failed."""
    with connect(project.find(), state) as connection:
        ledger = Ledger(connection)
        job = ledger.get(job_id)
        reports = list(ledger.reports(job.job_id))
        folder = ledger.result_folder(job)
        active = ledger.is_active(job.job_id)
        next_words = ("results", job.job_id, "--open") if job.result else None
        commands = [connection.command(*words) for words in (("logs", job.job_id), next_words) if words]
    place = f"gs://{folder.bucket}/{folder.prefix}/" if folder else None
    if as_json:
        print_json({"job": job, "reports": reports, "result": place, "looked_after": active})
        return
    _print(job, reports, place)
    out.print("\n" + "\n".join(f"[dim]{escape(command)}[/]" for command in commands), soft_wrap=True)


def _print(job: Job, reports: list[dict[str, Any]], place: str | None) -> None:
    style = STATE_STYLES[job.state.value]
    reason = f"  {job.reason.value}" if job.reason else ""
    out.print(f"[bold]{escape(job.job_id)}[/]  [{style}]{job.state.value}[/]{reason}\n")
    facts = Table.grid(padding=(0, 2, 0, 0))
    reported = [(str(report["sender"]), _report(report)) for report in reports]
    for name, value in [*facts_of(job, place, time.time()), *reported]:
        facts.add_row(f"[dim]{escape(name)}[/]", escape(value))
    out.print(facts)
    if job.stages:
        out.print()
        out.print(stages_table(job))
    if job.failure is not None:
        out.print(f"\n[red]{escape(job.failure.code)}[/] {escape(job.failure.message)}", soft_wrap=True)
        for line in filter(None, (job.failure.hint, job.reason.advice if job.reason else "")):
            out.print(escape(line), soft_wrap=True)
    for attempt in job.history:
        ended = f"attempt {attempt.number} ended {moment(attempt.ended_at)}"
        out.print(escape(f"{ended}: {attempt.reason.value} {attempt.failure.message}"), soft_wrap=True)


def facts_of(job: Job, place: str | None, now: float) -> list[tuple[str, str]]:
    """What there is to say of a job, by name."""
    rows = [("started", f"{moment(job.created_at)}, {age(now - job.created_at)} ago")]
    rows += _run_facts(job)
    rows.append(("took" if job.finished_at else "so far", duration((job.finished_at or now) - job.created_at)))
    if job.attempt > 1:
        rows.append(("attempt", str(job.attempt)))
    if job.deadline_at is not None:
        rows.append(("deadline", moment(job.deadline_at)))
    if job.progress is not None and job.progress.total:
        rows.append(("progress", f"{job.progress.done:,} of {job.progress.total:,} {job.progress.unit}"))
    if job.cost_usd:
        rows.append(("cost", f"about {usd(job.cost_usd)} in the cloud"))
    if place is not None:
        rows.append(("result" if job.result else "error", place))
    return rows


def _run_facts(job: Job) -> list[tuple[str, str]]:
    match job.run:
        case WorkflowRun():
            source = job.run.input
            rows = [("input", f"gs://{source.bucket}/{source.name}#{source.generation}")]
            model = job.run.model
            return rows if model is None else [*rows, ("model", "@".join(filter(None, (model.name, model.version))))]
        case MachineRun():
            wanted, worker = job.run.wanted, job.machines.worker
            rows = [("runs", " ".join(filter(None, (job.run.image, *job.run.command, *job.run.args))))]
            rows.append(("wants", f"{' or '.join(wanted.accelerators)}, {wanted.provisioning.value}"))
            if worker is not None:
                rows.append(("on", f"{worker.vm.name}, {worker.vm.cluster} in {worker.zone}"))
            return rows
        case None:
            return []


def _report(report: dict[str, Any]) -> str:
    """`input: format csv, records 20`."""
    data = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in report["data"].items()}
    told = ", ".join(f"{name} {value}" for name, value in data.items() if value not in (None, "", False))
    return f"{report['operation']}: {told}"


def stages_table(job: Job) -> Table:
    """How long each stage took, and how long its services were at work for it."""
    rows, pending = [], "unfinished" if job.state.is_terminal else "running"
    for stage in job.stages:
        took = duration(stage.finished_at - stage.started_at) if stage.finished_at is not None else pending
        rows.append([stage.name, took, duration(stage.busy_s)])
    return table([Column("STAGE"), Column("TOOK", right=True), Column("AT WORK", right=True)], rows)
