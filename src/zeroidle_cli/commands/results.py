"""zeroidle results: where is the result of a job, and put it here."""

from __future__ import annotations

import shutil
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from zeroidle.contracts.messages import MachineRun
from zeroidle.contracts.records import ExitClass, Job, State
from zeroidle.contracts.services import ObjectRef
from zeroidle.core.pipeline import output_folder
from zeroidle.errors import PermanentError
from zeroidle_cli import project
from zeroidle_cli.connection import Connection, connect
from zeroidle_cli.ledger import OUTPUT, Ledger
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
    """List the files of a job's result, save them, or open the report.

    Of a job on a machine these are the files that its last attempt left, whatever became of it.
    """
    with connect(project.find(), state) as connection:
        job = Ledger(connection).get(job_id)
        files = files_of(connection, job)
        unsaved = {} if save is None else _save(connection, files, save)
        if open_report:
            _open(connection, job, files)
    saved = {name: ref for name, ref in files.items() if name not in unsaved}
    if as_json:
        where = str(save) if save else None
        told = {"files": saved, "not_saved": sorted(unsaved), "saved_to": where}
        print_json({"job_id": job.job_id, "state": job.state, **told})
    else:
        if isinstance(job.run, MachineRun) and job.state is not State.SUCCEEDED:
            err.print(f"[yellow]{job.state.value}[/]: these are the files of attempt {job.attempt} so far or in part")
        for name, ref in saved.items():
            shown = save / name if save is not None else f"gs://{ref.bucket}/{ref.name}"
            out.print(escape(str(shown)), soft_wrap=True)
    for name, why in unsaved.items():
        err.print(f"[red]not saved[/] {escape(name)}: {escape(why)}", soft_wrap=True)
    raise typer.Exit(int(ExitClass.JOB) if unsaved else 0)


def files_of(connection: Connection, job: Job) -> dict[str, ObjectRef]:
    """The result's objects by file name. Raises PermanentError (NO_RESULT)."""
    on_machine = isinstance(job.run, MachineRun)
    folder = output_folder(job, connection.deployment) if on_machine else Ledger(connection).result_folder(job)
    prefix = "" if folder is None else f"{folder.prefix}/{OUTPUT}/" if on_machine else f"{folder.prefix}/"
    found = [] if folder is None else connection.objects.list(folder.bucket, prefix)
    files = {info.ref.name.removeprefix(prefix): info.ref for info in found}
    if not on_machine:  # what lies deeper is another job's on the same file
        files = {name: ref for name, ref in files.items() if "/" not in name}
    if not files:
        raise PermanentError(
            f"{job.job_id} has no {'files' if on_machine else 'result'}: it is {job.state.value}",
            code="NO_RESULT",
            hint=f"`{connection.command('show', job.job_id)}` tells more.",
        )
    return files


def local_path(folder: Path, name: str) -> Path | None:
    """Where the file of an object goes below `folder`; None if a path made of its name would lead elsewhere.

    Names are data: what wrote them may have been anybody. Links in `folder` are followed to see where they lead.
    """
    parts = name.split("/")
    if not name.isprintable() or any(part in ("", ".", "..") for part in parts):
        return None
    path = folder.joinpath(*parts)
    return path if path.resolve().is_relative_to(folder.resolve()) else None


def _save(connection: Connection, files: dict[str, ObjectRef], folder: Path) -> dict[str, str]:
    """Put the files below `folder`; those that could not be, and why."""
    unsaved = {}
    for name, ref in files.items():
        path = local_path(folder, name)
        if path is None:
            unsaved[name] = f"its name does not stay inside {folder}"
            continue
        try:
            _download(connection, ref, path)
        except OSError as error:  # such as a file where another one needs a folder
            unsaved[name] = error.strerror or str(error)
    return unsaved


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
