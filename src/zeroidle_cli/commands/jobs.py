"""zeroidle jobs: which jobs are there, and how are they doing?"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from zeroidle.contracts.messages import MachineRun, WorkflowRun
from zeroidle.contracts.records import Job, State
from zeroidle_cli import project
from zeroidle_cli.connection import Connection, connect
from zeroidle_cli.ledger import Ledger, Unreadable
from zeroidle_cli.machinejobs import command_of, place_of, ran_s, total_cost
from zeroidle_cli.options import JsonOption, StateOption
from zeroidle_cli.output import Column, age, duration, err, out, print_json, state_text, table, usd

SHORT_ID_CHARS = 12
ROOMY = 100  # columns, from which on whole ids fit
WIDE = 120  # from which on more of a job on a machine does
WATCH_S = 1.0


@dataclass(frozen=True, slots=True)
class Listing:
    """The jobs that were asked for; `total` counts those that were left out, too."""

    shown: Sequence[Job]
    broken: Sequence[Unreadable]
    total: int

    @property
    def document(self) -> dict[str, Any]:
        """All of it for programs."""
        unknown = [{"job_id": item.job_id, "state": "UNKNOWN", "problem": item.problem} for item in self.broken]
        counts = {"shown": len(self.shown) + len(self.broken), "total": self.total}
        return {"jobs": self.shown, "unreadable": unknown, **counts}


def jobs(
    status: Annotated[
        list[State] | None, typer.Option(help="Only jobs in this state; may be given more than once.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    show_all: Annotated[bool, typer.Option("--all", help="All of them, however many.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show them anew as they change, until Ctrl-C.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first. Every command that takes a job takes the beginning of its id."""
    with connect(project.find(), state) as connection:
        most = None if show_all else limit
        if watch:
            _watch(connection, status, most, as_json)
        listing = _listing(connection, status, most)
        if as_json:
            print_json(listing.document)
            return
        if listing.total == 0:
            err.print(
                "No jobs in that state."
                if status
                else "No jobs. `zeroidle run FILE` starts one, `zeroidle submit` one on a machine."
            )
            return
        out.print(_table(listing, connection.clock.now()))
    if told := _left_out(listing):
        err.print(told)


def _listing(connection: Connection, status: Sequence[State] | None, limit: int | None) -> Listing:
    survey = Ledger(connection).survey(None if status else limit)
    wanted = [job for job in survey.jobs if not status or job.state in status]
    broken = [] if status else survey.unreadable[:limit]
    return Listing(wanted[:limit], broken, len(wanted) if status else survey.total)


def _watch(connection: Connection, status: Sequence[State] | None, limit: int | None, as_json: bool) -> None:
    """On a terminal one list that changes; else, a list for each change. Ends by Ctrl-C only."""
    if as_json or not out.is_terminal:
        for listing in changes(connection, status, limit):
            if as_json:
                sys.stdout.write(msgspec.json.encode(listing.document).decode() + "\n")
            else:
                out.print(_table(listing, connection.clock.now()), "")
            out.file.flush()
    with Live(console=out, auto_refresh=False, screen=False) as live:
        while True:
            listing = _listing(connection, status, limit)
            left_out = [Text.from_markup(told)] if (told := _left_out(listing)) else []
            live.update(Group(_table(listing, connection.clock.now()), *left_out), refresh=True)
            time.sleep(WATCH_S)


def changes(connection: Connection, status: Sequence[State] | None, limit: int | None) -> Iterator[Listing]:
    """The list now, and again after each change, without end."""
    seen = None
    while True:
        listing = _listing(connection, status, limit)
        if listing != seen:
            seen = listing
            yield listing
        time.sleep(WATCH_S)


def _left_out(listing: Listing) -> str:
    shown = len(listing.shown) + len(listing.broken)
    return f"[dim]{shown} of {listing.total} shown; --all shows all[/]" if shown < listing.total else ""


def _table(listing: Listing, now: float) -> Table:
    job_ids = [job.job_id for job in listing.shown]
    ids = short_ids(job_ids) if out.width < ROOMY else {job_id: job_id for job_id in job_ids}
    return jobs_table(listing.shown, listing.broken, ids, now, wide=out.width >= WIDE)


def jobs_table(
    shown: Sequence[Job], broken: Sequence[Unreadable], ids: dict[str, str], now: float, *, wide: bool = False
) -> Table:
    """One line a job. Reasons only where there are any; where jobs on machines ran and how often only if `wide`."""
    reasons = bool(broken) or any(job.failure or job.reason for job in shown)
    machines = wide and any(isinstance(job.run, MachineRun) for job in shown)
    columns = [
        Column("JOB"),
        Column("WHAT", long=True),
        *([Column("MACHINE", long=True)] if machines else []),
        Column("STATE"),
        *([Column("REASON", long=True)] if reasons else []),
        Column("AGE", right=True),
        Column("TOOK", right=True),
        *([Column("RAN", right=True), Column("RECOVERIES", right=True)] if machines else []),
        Column("COST", right=True),
    ]
    rows: list[list[str | Text]] = []
    for job in shown:
        cost = total_cost(job, now)
        row: list[str | Text] = [ids[job.job_id], what_of(job, wide=machines)]
        row += [place_of(job)] if machines else []
        row += [state_text(job.state.value), *([_reason(job)] if reasons else [])]
        row += [age(now - job.created_at), duration((job.finished_at or now) - job.created_at)]
        row += [duration(ran_s(job, now)), str(len(job.history) or "")] if machines else []
        rows.append([*row, usd(cost) if cost else ""])
    for item in broken:
        by_name: dict[str, str | Text] = {"JOB": item.job_id, "STATE": state_text("UNKNOWN"), "REASON": item.problem}
        rows.append([by_name.get(column.header, "") for column in columns])
    return table(columns, rows)


def what_of(job: Job, *, wide: bool) -> str:
    """What the job runs: the file; of one on a machine the command or, where that is all there is room for, where."""
    match job.run:
        case WorkflowRun():
            return job.run.input.name
        case MachineRun():
            return command_of(job.run) if wide else place_of(job)
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
    if job.machines.exit_code:
        return f"exit code {job.machines.exit_code}"
    if job.failure is not None:
        return job.failure.code
    return job.reason.value if job.reason else ""
