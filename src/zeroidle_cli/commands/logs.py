"""zeroidle logs: what functions and services wrote, of one job or of all."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from localcloud.run import logs as written
from zeroidle.errors import printable
from zeroidle_cli import project
from zeroidle_cli.options import JsonOption, StateOption
from zeroidle_cli.output import err

LABELS = "logging.googleapis.com/labels"
FOLLOW_S = 0.5


def logs(
    job_id: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="Only lines of this job (id or its beginning).")
    ] = None,
    service: Annotated[
        str | None, typer.Option(help="Only this service or function, as `zeroidle-preprocess`.")
    ] = None,
    since: Annotated[float | None, typer.Option(help="Only the last so many minutes.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing until Ctrl-C.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the logs, oldest first. Reads files: no local cloud has to run."""
    here = project.find()
    folder = (state or here.default_state).resolve()
    start = datetime.now(UTC) - timedelta(minutes=since) if since is not None else None
    count = 0
    try:
        for entry in _entries(folder, service, start, follow):
            if job_id and not _job(entry).startswith(job_id):
                continue
            count += 1
            sys.stdout.write((json.dumps(entry, ensure_ascii=False) if as_json else _line(entry)) + "\n")
            if follow:
                sys.stdout.flush()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if count == 0:
        err.print(f"No log lines in {folder / 'logs'}.", markup=False, soft_wrap=True)


def _entries(folder: Path, service: str | None, since: datetime | None, follow: bool) -> Iterator[dict[str, Any]]:
    seen = set()
    while True:
        for entry in written.read(folder, service, since):
            key = json.dumps(entry, sort_keys=True)
            if follow:
                if key in seen:
                    continue
                seen.add(key)
            yield entry
        if not follow:
            return
        time.sleep(FOLLOW_S)


def _job(entry: dict[str, Any]) -> str:
    inner = entry.get("entry")
    labels = inner.get(LABELS) if isinstance(inner, dict) else None
    return str(labels.get("job_id", "")) if isinstance(labels, dict) else ""


def _line(entry: dict[str, Any]) -> str:
    inner = entry.get("entry", {})
    text = entry["line"] if "line" in entry else inner.get("message") or json.dumps(inner, ensure_ascii=False)
    severity = inner.get("severity", "")
    head = f"{entry['time'][:23]}  {entry['service']}  {severity + '  ' if severity not in ('', 'INFO') else ''}"
    trace = "".join(f"\n    {line}" for line in str(inner.get("stack_trace", "")).splitlines())
    return f"{head}{printable(str(text), 2000)}{trace}"
