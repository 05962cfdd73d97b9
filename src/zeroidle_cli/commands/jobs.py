"""zeroidle jobs: which jobs are there, and how are they doing?"""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.table import Table

from zeroidle.contracts.records import Job, State
from zeroidle_cli import project
from zeroidle_cli.commands.run import stage_line
from zeroidle_cli.connection import connect
from zeroidle_cli.ledger import Ledger
from zeroidle_cli.options import JsonOption, StateOption
from zeroidle_cli.output import STATE_STYLES, age, duration, err, escape, out, print_json, usd


def jobs(
    status: Annotated[
        list[State] | None, typer.Option(help="Only jobs in this state; may be given more than once.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    with connect(project.find(), state) as connection:
        every = Ledger(connection).all()
    wanted = [job for job in every if not status or job.state in status]
    shown = wanted[:limit]
    if as_json:
        print_json({"jobs": shown, "shown": len(shown), "total": len(wanted)})
        return
    if not shown:
        err.print("No jobs. `zeroidle run FILE` starts one.")
        return
    out.print(_table(shown, time.time()))
    if len(shown) < len(wanted):
        err.print(f"[dim]{len(shown)} of {len(wanted)} shown; --limit shows more[/]")


def _table(shown: list[Job], now: float) -> Table:
    table = Table(box=None, padding=(0, 2), show_edge=False)
    for column in ("JOB", "FILE", "STATE", "REASON", "STAGES", "STARTED", "TOOK", "COST"):
        table.add_column(column, justify="right" if column in ("TOOK", "COST") else "left", no_wrap=column == "JOB")
    for job in shown:
        ended = job.finished_at or now
        code = job.failure.code if job.failure else ""
        table.add_row(
            job.job_id,
            escape(job.run.input.name) if job.run else "",
            f"[{STATE_STYLES[job.state.value]}]{job.state.value}[/]",
            escape(" ".join(filter(None, (job.reason.value if job.reason else "", code)))),
            escape(stage_line(job)),
            age(now - job.created_at),
            duration(ended - job.created_at),
            usd(job.cost_usd) if job.cost_usd else "",
        )
    return table
