"""zeroidle results: where is the result of a job, and put it here."""

from __future__ import annotations

import shutil
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from zeroidle.contracts.records import Job
from zeroidle.contracts.services import ObjectRef
from zeroidle.errors import PermanentError
from zeroidle_cli import project
from zeroidle_cli.connection import Connection, connect
from zeroidle_cli.ledger import Ledger
from zeroidle_cli.options import JobArgument, JsonOption, StateOption
from zeroidle_cli.output import err, escape, out, print_json

REPORT = "report.html"


def results(
    job_id: JobArgument,
    open_report: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Copy all files of the result into DIR.")] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the files of a job's result, save them, or open the report."""
    with connect(project.find(), state) as connection:
        ledger = Ledger(connection)
        job = ledger.get(job_id)
        files = _files(connection, ledger, job)
        if save is not None:
            for name, ref in files.items():
                _download(connection, ref, save / name)
        if open_report:
            _open(connection, job, files)
    if as_json:
        print_json({"job_id": job.job_id, "state": job.state, "files": files, "saved_to": str(save) if save else None})
        return
    for name, ref in files.items():
        shown = save / name if save is not None else f"gs://{ref.bucket}/{ref.name}"
        out.print(escape(str(shown)), soft_wrap=True)


def _files(connection: Connection, ledger: Ledger, job: Job) -> dict[str, ObjectRef]:
    """The result's objects by file name: ours, so safe as names of local files."""
    folder = ledger.result_folder(job)
    if folder is None:
        raise PermanentError(
            f"{job.job_id} has no result: it is {job.state.value}",
            code="NO_RESULT",
            hint=f"`{connection.command('show', job.job_id)}` tells more.",
        )
    found = connection.objects.list(folder.bucket, f"{folder.prefix}/")
    files = {info.ref.name.removeprefix(f"{folder.prefix}/"): info.ref for info in found}
    return {name: ref for name, ref in files.items() if "/" not in name}


def _download(connection: Connection, ref: ObjectRef, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with connection.objects.open(ref) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 2**20)


def _open(connection: Connection, job: Job, files: dict[str, ObjectRef]) -> None:
    if REPORT not in files:
        raise PermanentError(
            f"{job.job_id} has no report: it is {job.state.value}",
            code="NO_RESULT",
            hint=f"`{connection.command('show', job.job_id)}` tells why.",
        )
    # Kept: the browser reads it after this command has ended.
    path = Path(tempfile.mkdtemp(prefix="zeroidle-")) / REPORT
    _download(connection, files[REPORT], path)
    err.print(f"report: {escape(str(path))}", soft_wrap=True)
    if not webbrowser.open(path.as_uri()):
        err.print("No browser could be started; open the file above.")
