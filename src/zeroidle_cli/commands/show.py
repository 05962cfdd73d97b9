"""zeroidle show: everything the ledger says of one job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from rich.table import Table

from zeroidle.contracts.messages import MachineRun, WorkflowRun
from zeroidle.contracts.records import Job
from zeroidle.core.placement import Catalog, Offer
from zeroidle_cli import offers, project
from zeroidle_cli.connection import Connection, connect
from zeroidle_cli.exits import of_shown
from zeroidle_cli.ledger import OUTPUT, Ledger
from zeroidle_cli.machinejobs import (
    attempts_table,
    command_of,
    hourly,
    place_of,
    progress_of,
    story_summary,
    story_table,
    timeline,
    total_cost,
    waits_for_a_machine,
)
from zeroidle_cli.options import JobArgument, JsonOption, StateOption
from zeroidle_cli.output import STATE_STYLES, Column, age, duration, err, escape, moment, out, print_json, table, usd

SHOWN_OFFERS = 12


def show(job_id: JobArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show one job: its state, what it went through, what was reported, where its result is, and what to do.

    Of a job on a machine the exit code says how it stands.
    """
    with connect(project.find(), state) as connection:
        ledger = Ledger(connection)
        job, now = ledger.get(job_id), connection.clock.now()
        reports = list(ledger.reports(job.job_id))
        folder = ledger.result_folder(job)
        active = ledger.is_active(job.job_id)
        catalog = connection.deployment.catalog
        places = _places(connection, job, now)
        commands = [connection.command(*words) for words in _next_words(job)]
    below = f"{OUTPUT}/" if isinstance(job.run, MachineRun) else ""
    place = f"gs://{folder.bucket}/{folder.prefix}/{below}" if folder else None
    if as_json:
        told = {"job": job, "reports": reports, "result": place, "looked_after": active}
        if isinstance(job.run, MachineRun):
            told |= {
                "cost_usd": round(total_cost(job, now), 6),
                "offers": [offers.document(each, catalog) for each in places],
            }
        print_json(told)
    else:
        _print(job, reports, place, now)
        if isinstance(job.run, MachineRun):
            _print_machine(job, places, catalog, now)
        _print_end(job)
        out.print("\n" + "\n".join(f"[dim]{escape(command)}[/]" for command in commands), soft_wrap=True)
    raise typer.Exit(of_shown(job))


def _places(connection: Connection, job: Job, now: float) -> list[Offer]:
    """Where a machine for the job could be asked for."""
    if not isinstance(job.run, MachineRun):
        return []
    return offers.ranked(job.run.wanted, connection.deployment.catalog, offers.market(connection), now)


def _next_words(job: Job) -> list[tuple[str, ...]]:
    on_machine = isinstance(job.run, MachineRun)
    words: list[tuple[str, ...]] = [("logs", job.job_id)]
    if not job.state.is_terminal and on_machine:
        words = [("logs", job.job_id, "-f"), ("stop", job.job_id)]
    if job.result is not None:
        words.append(("results", job.job_id, *(("--save", "DIR") if on_machine else ("--open",))))
    return words


def _print(job: Job, reports: list[dict[str, Any]], place: str | None, now: float) -> None:
    style = STATE_STYLES[job.state.value]
    reason = f"  {job.reason.value}" if job.reason else ""
    out.print(f"[bold]{escape(job.job_id)}[/]  [{style}]{job.state.value}[/]{reason}\n")
    facts = Table.grid(padding=(0, 2, 0, 0))
    reported = [(str(report["sender"]), _report(report)) for report in reports]
    for name, value in [*facts_of(job, place, now), *reported]:
        facts.add_row(f"[dim]{escape(name)}[/]", escape(value))
    out.print(facts)
    if job.stages:
        out.print()
        out.print(stages_table(job))


def _print_machine(job: Job, places: Sequence[Offer], catalog: Catalog, now: float) -> None:
    """How it came to its machines, and what it did on them."""
    if summary := story_summary(job.machines.story, len(places)):
        out.print(f"\n[dim]{summary}[/]")
        out.print(story_table(job.machines.story, now))
    if waits_for_a_machine(job):
        out.print("\n[dim]where it may be asked for, in this order:[/]")
        out.print(offers.offers_table(places[:SHOWN_OFFERS], catalog, now))
        if len(places) > SHOWN_OFFERS:
            err.print(f"[dim]{SHOWN_OFFERS} of {len(places)} shown; `zeroidle offers` lists all[/]", soft_wrap=True)
    if job.attempt > 0:
        out.print()
        out.print(attempts_table(job, now))
    out.print()
    events = Table.grid(padding=(0, 2, 0, 0))
    for when, what in timeline(job):
        events.add_row(f"[dim]{when}[/]", escape(what))
    out.print(events)


def _print_end(job: Job) -> None:
    """Why it failed, and what to do."""
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
    if progress_of(job):
        rows.append(("progress", progress_of(job)))
    if cost := total_cost(job, now):
        rows.append(("cost", f"about {usd(cost)} in the cloud{'' if job.finished_at else ' so far'}"))
    if job.machines.exit_code is not None:
        rows.append(("exit code", str(job.machines.exit_code)))
    if place is not None:
        failed_file = job.result is None and not isinstance(job.run, MachineRun)
        rows.append(("error" if failed_file else "result", place))
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
            where = f" in {' or '.join(wanted.regions)}" if wanted.regions else ""
            rows = [("runs", command_of(job.run))]
            rows.append(("wants", f"{' or '.join(wanted.accelerators)}{where}, {wanted.provisioning.value}"))
            if worker is not None:
                rows.append(("on", f"{worker.vm.name}, {place_of(job)}, {hourly(worker.usd_per_hour)}"))
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
