"""zeroidle logs: what functions, services and the local cloud wrote, of one job or of all."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from localcloud.run.logs import Entry, LogFiles
from zeroidle.errors import PermanentError
from zeroidle_cli import ledger, project
from zeroidle_cli.loglines import as_line, job_of
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
    """Print the logs, oldest first; with --json one object a line. Reads files: no local cloud has to run."""
    folder = (state or project.find().default_state).resolve()
    start = "" if since is None else (datetime.now(UTC) - timedelta(minutes=since)).isoformat()[:23]
    wanted = None if job_id is None else _job(folder, job_id)
    count = 0
    for entry in _entries(LogFiles(folder, service), follow):
        if str(entry["time"]) < start or wanted not in (None, job_of(entry)):
            continue
        count += 1
        sys.stdout.write((json.dumps(entry, ensure_ascii=False) if as_json else as_line(entry)) + "\n")
        if follow:
            sys.stdout.flush()
    if count == 0:
        err.print(f"No log lines in {escape(str(folder / 'logs'))}.", soft_wrap=True)


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
        raise PermanentError(f"no job has written anything in {folder / 'logs'}", code="NO_SUCH_JOB")
    return job_ids[-1]


def _in_order(entries: Iterable[Entry]) -> list[str]:
    """The jobs that entries are about, as they began."""
    return [job_id for job_id in dict.fromkeys(map(job_of, entries)) if job_id]
