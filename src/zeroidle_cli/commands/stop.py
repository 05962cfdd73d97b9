"""zeroidle stop: ask a job to end."""

from __future__ import annotations

import getpass
import time
from typing import Annotated

import typer

from zeroidle.contracts.messages import Stop
from zeroidle.contracts.records import Job
from zeroidle_cli import messages, project
from zeroidle_cli.connection import connect
from zeroidle_cli.ledger import Ledger
from zeroidle_cli.options import JobArgument, StateOption
from zeroidle_cli.output import err


def stop(
    job_id: JobArgument,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "stopped from the command line",
    state: StateOption = None,
) -> None:
    """Ask a job to end. One that has not started yet never will; one that has ended stays as it is."""
    with connect(project.find(), state) as connection:
        job = Ledger(connection).get(job_id)
        if job.state.is_terminal:
            err.print(f"{job.job_id} has ended already: {job.state.value}")
            return
        told = f"{reason} ({getpass.getuser()})"
        messages.publish(connection, messages.STOP, Stop(schema=1, job_id=job.job_id, user_id=job.user_id, reason=told))
        job = _heard(Ledger(connection), job)
        said = job.state.value if job.state.is_terminal or job.stop else "was told to stop"
        err.print(f"{job.job_id}  {said}")
        if not job.state.is_terminal:
            err.print(f"[dim]{connection.command('show', job.job_id)}[/]", soft_wrap=True)


def _heard(ledger: Ledger, job: Job) -> Job:
    """The record once it says that the job is to end, or as it is after a while."""
    end = time.monotonic() + messages.HEARD_S
    while time.monotonic() < end and not (job.state.is_terminal or job.stop):
        time.sleep(messages.POLL_S)
        job = ledger.find(job.job_id) or job
    return job
