"""zeroidle stop: ask a job to end."""

from __future__ import annotations

import getpass

from zeroidle.contracts import codec, names
from zeroidle.contracts.messages import Stop
from zeroidle.errors import TemporaryError
from zeroidle_cli import project
from zeroidle_cli.connection import connect
from zeroidle_cli.ledger import Ledger
from zeroidle_cli.options import JobArgument, StateOption
from zeroidle_cli.output import err

TIMEOUT_S = 30


def stop(job_id: JobArgument, reason: str = "stopped from the command line", state: StateOption = None) -> None:
    """Ask a job to end. One that has not started yet never will; one that has ended stays as it is."""
    with connect(project.find(), state) as connection:
        job = Ledger(connection).get(job_id)
        if job.state.is_terminal:
            err.print(f"{job.job_id} has ended already: {job.state.value}")
            return
        from google.api_core.exceptions import GoogleAPICallError
        from google.cloud import pubsub_v1  # takes a third of a second to import

        message = Stop(schema=1, job_id=job.job_id, user_id=job.user_id, reason=f"{reason} ({getpass.getuser()})")
        topic = names.topic_path(connection.project.project_id, "jobs-stop")
        try:
            pubsub_v1.PublisherClient().publish(topic, codec.encode(message), job_id=job.job_id).result(TIMEOUT_S)
        except GoogleAPICallError as error:
            raise TemporaryError(f"the stop was not published: {error.message}") from error
    err.print(f"{job.job_id} was told to stop; zeroidle show {job.job_id} tells when it has.")
