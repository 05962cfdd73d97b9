"""zeroidle jobs: which jobs are there, and how are they doing?"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from zeroidle.contracts.messages import MachineRun, WorkflowRun
from zeroidle.contracts.records import Job, State
from zeroidle_cli import project
from zeroidle_cli.connection import connect
from zeroidle_cli.ledger import Ledger, Unreadable
from zeroidle_cli.options import JsonOption, StateOption
from zeroidle_cli.output import Column, age, duration, err, out, print_json, state_text, table, usd

SHORT_ID_CHARS = 12
ROOMY = 100  # columns, from which on whole ids fit


def jobs(
    status: Annotated[
        list[State] | None, typer.Option(help="Only jobs in this state; may be given more than once.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first. Every command that takes a job takes the beginning of its id."""
    with connect(project.find(), state) as connection:
        survey = Ledger(connection).survey(None if status else limit)
    wanted = [job for job in survey.jobs if not status or job.state in status]
    shown, broken = wanted[:limit], [] if status else survey.unreadable[:limit]
    total = len(wanted) if status else survey.total
    if as_json:
        unknown = [{"job_id": item.job_id, "state": "UNKNOWN", "problem": item.problem} for item in broken]
        print_json({"jobs": shown, "unreadable": unknown, "shown": len(shown) + len(broken), "total": total})
        return
    if total == 0:
        err.print("No jobs in that state." if status else "No jobs. `zeroidle run FILE` starts one.")
        return
    job_ids = [job.job_id for job in shown]
    ids = short_ids(job_ids) if out.width < ROOMY else {job_id: job_id for job_id in job_ids}
    out.print(jobs_table(shown, broken, ids, time.time()))
    if len(shown) + len(broken) < total:
        err.print(f"[dim]{len(shown) + len(broken)} of {total} shown; --limit shows more[/]")


def jobs_table(shown: Sequence[Job], broken: Sequence[Unreadable], ids: dict[str, str], now: float) -> Table:
    """One line a job. Reasons only where there are any."""
    reasons = bool(broken) or any(job.failure or job.reason for job in shown)
    columns = [
        Column("JOB"),
        Column("WHAT", long=True),
        Column("STATE"),
        *([Column("REASON", long=True)] if reasons else []),
        Column("AGE", right=True),
        Column("TOOK", right=True),
        Column("COST", right=True),
    ]
    rows: list[list[str | Text]] = []
    for job in shown:
        facts: list[str | Text] = [what_of(job), state_text(job.state.value)]
        reason = [_reason(job)] if reasons else []
        times = [age(now - job.created_at), duration((job.finished_at or now) - job.created_at)]
        rows.append([ids[job.job_id], *facts, *reason, *times, usd(job.cost_usd) if job.cost_usd else ""])
    for item in broken:
        rows.append([item.job_id, "", state_text("UNKNOWN"), item.problem, "", "", ""])
    return table(columns, rows)


def what_of(job: Job) -> str:
    """What the job runs, in a word: the file, or the accelerator that it has or wants."""
    match job.run:
        case WorkflowRun():
            return job.run.input.name
        case MachineRun():
            worker = job.machines.worker
            return " ".join([worker.vm.cluster, worker.vm.region] if worker else job.run.wanted.accelerators)
        case None:
            return ""


def short_ids(job_ids: Collection[str]) -> dict[str, str]:
    """Each id cut to a beginning that no other has."""
    short = {}
    ordered = sorted(set(job_ids))
    for before, job_id, after in zip(["", *ordered], ordered, [*ordered[1:], ""], strict=False):
        length = 1 + max(_common(before, job_id), _common(job_id, after))
        short[job_id] = job_id[: max(SHORT_ID_CHARS, length)]
    return short


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _reason(job: Job) -> str:
    if job.failure is not None:
        return job.failure.code
    return job.reason.value if job.reason else ""
