"""zeroidle logs: what a job on a machine wrote; or functions, services and the local cloud, of one job or of all."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from localcloud.run.logs import Entry, LogFiles
from localcloud.store import DATABASE
from zeroidle.contracts import names
from zeroidle.contracts.messages import MachineRun
from zeroidle.contracts.records import Job
from zeroidle.errors import PermanentError
from zeroidle_cli import ledger, project
from zeroidle_cli.connection import ENDPOINT_VARIABLE, Connection, connect
from zeroidle_cli.exits import NO_SUCH_JOB, of_machine_job
from zeroidle_cli.joblogs import JobLog, shown
from zeroidle_cli.ledger import Ledger
from zeroidle_cli.loglines import as_line, job_of
from zeroidle_cli.machinejobs import waits_for_a_machine
from zeroidle_cli.options import JsonOption, StateOption
from zeroidle_cli.output import err, escape

FOLLOW_S = 0.5


def logs(
    job_id: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="Only lines of this job: id, its beginning, or `last`.")
    ] = None,
    service: Annotated[
        str | None, typer.Option(help="Only this service or function, as `zeroidle-preprocess`; or `localcloud`.")
    ] = None,
    since: Annotated[
        float | None, typer.Option(min=0, metavar="MINUTES", help="Only the last so many minutes.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing until Ctrl-C.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the logs, oldest first; with --json one object a line.

    Of a job on a machine: what it wrote itself, across its attempts; --follow ends with it. Of all others: what
    functions and services wrote, from files, for which no local cloud has to run.
    """
    here = project.find()
    folder = (state or here.default_state).resolve()
    wanted = job_id
    if job_id is not None and service is None and _needs_ledger(folder, state, job_id):
        with connect(here, state) as connection:
            job = Ledger(connection).get(job_id)
            if isinstance(job.run, MachineRun):
                _print_machine_job(connection, job, since, follow, as_json)
        wanted, folder = job.job_id, connection.state
    elif job_id is not None:
        wanted = _job(folder, job_id)
    _print_files(LogFiles(folder, service), wanted, since, follow, as_json)


def _needs_ledger(folder: Path, state: Path | None, text: str) -> bool:
    """Does only a record tell whose log is meant? Not of an upload's job, nor where no local cloud has ever run."""
    exported = state is None and ENDPOINT_VARIABLE in os.environ
    if not exported and not (folder / DATABASE).exists():
        return False
    matches = [job_id for job_id in _in_order(LogFiles(folder).new()) if job_id.startswith(text)]
    return len(matches) != 1 or not names.is_upload_job(matches[0])


def _print_machine_job(connection: Connection, job: Job, since: float | None, follow: bool, as_json: bool) -> NoReturn:
    start = 0.0 if since is None else connection.clock.now() - since * 60
    log, count = JobLog(connection, job, start), 0
    if follow and waits_for_a_machine(job):
        err.print(f"[dim]{escape(job.job_id)} waits for a machine: {job.state.value}[/]")
    for line in log.read(follow=follow):
        count += not line.marker
        told = {"attempt": line.attempt, "line": line.text} if not line.marker else {"attempt": line.attempt}
        sys.stdout.write((json.dumps(told, ensure_ascii=False) if as_json else shown(line.text)) + "\n")
        if follow:
            sys.stdout.flush()
    if count == 0:
        err.print(f"{escape(job.job_id)} has written nothing; it is {log.job.state.value}.")
    raise typer.Exit(of_machine_job(log.job) if follow else 0)


def _print_files(files: LogFiles, wanted: str | None, since: float | None, follow: bool, as_json: bool) -> None:
    start = "" if since is None else (datetime.now(UTC) - timedelta(minutes=since)).isoformat()[:23]
    count = 0
    for entry in _entries(files, follow):
        if str(entry["time"]) < start or wanted not in (None, job_of(entry)):
            continue
        count += 1
        sys.stdout.write((json.dumps(entry, ensure_ascii=False) if as_json else as_line(entry)) + "\n")
        if follow:
            sys.stdout.flush()
    if count == 0:
        err.print(f"No log lines in {escape(str(files.state / 'logs'))}.", soft_wrap=True)


def _entries(files: LogFiles, follow: bool) -> Iterator[Entry]:
    yield from files.new()
    while follow:
        time.sleep(FOLLOW_S)
        yield from files.new()


def _job(folder: Path, text: str) -> str:
    """The id of the job that `text` means, of those that have written anything. Raises PermanentError."""
    job_ids = _in_order(LogFiles(folder).new())
    if text != "last":
        return ledger.only(text, job_ids)
    if not job_ids:
        raise PermanentError(f"no job has written anything in {folder / 'logs'}", code=NO_SUCH_JOB)
    return job_ids[-1]


def _in_order(entries: Iterable[Entry]) -> list[str]:
    """The jobs that entries are about, as they began."""
    return [job_id for job_id in dict.fromkeys(map(job_of, entries)) if job_id]
