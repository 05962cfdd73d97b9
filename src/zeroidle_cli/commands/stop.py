"""zeroidle stop: ask a job to end."""

from __future__ import annotations

import getpass
import time
from typing import Annotated

import typer

from zeroidle.contracts import codec, names
from zeroidle.contracts.messages import Stop
from zeroidle.contracts.records import Job
from zeroidle.errors import TemporaryError
from zeroidle_cli import project
from zeroidle_cli.connection import Connection, connect
from zeroidle_cli.ledger import Ledger
from zeroidle_cli.options import JobArgument, StateOption
from zeroidle_cli.output import err

PUBLISH_S = 30.0
HEARD_S = 10.0  # for the function to write the stop into the record
POLL_S = 0.15


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
        _publish(
            connection,
            Stop(schema=1, job_id=job.job_id, user_id=job.user_id, reason=f"{reason} ({getpass.getuser()})"),
        )
        job = _heard(Ledger(connection), job)
        told = job.state.value if job.state.is_terminal or job.stop else "was told to stop"
        err.print(f"{job.job_id}  {told}")
        if not job.state.is_terminal:
            err.print(f"[dim]{connection.command('show', job.job_id)}[/]", soft_wrap=True)


def _publish(connection: Connection, message: Stop) -> None:
    from google.cloud.pubsub_v1 import PublisherClient  # takes a third of a second to import

    topic = names.topic_path(connection.project.project_id, "jobs-stop")
    try:
        PublisherClient().publish(topic, codec.encode(message), job_id=message.job_id).result(PUBLISH_S)
    except TimeoutError as error:
        raise TemporaryError(f"Pub/Sub did not take the stop of {message.job_id} within {PUBLISH_S:g} s") from error


def _heard(ledger: Ledger, job: Job) -> Job:
    """The record once it says that the job is to end, or as it is after a while."""
    end = time.monotonic() + HEARD_S
    while time.monotonic() < end and not (job.state.is_terminal or job.stop):
        time.sleep(POLL_S)
        job = ledger.find(job.job_id) or job
    return job
