"""Executions of workflows through google-cloud-workflows.

Locally `WORKFLOWS_EMULATOR_HOST` (`host:port`, no scheme, like the emulators of other services) says where the API is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
from google.api_core import exceptions as api
from google.cloud.workflows import executions_v1
from google.cloud.workflows.executions_v1.services.executions.transports import ExecutionsGrpcTransport
from google.cloud.workflows.executions_v1.types import Execution

from zeroidle.core.converge import ExecutionState, ExecutionView
from zeroidle.errors import PermanentError, TemporaryError, printable

# The client waits for ever by default. Ours are called from functions that have a minute.
TIMEOUT_S = 20.0

_STATES = {
    Execution.State.ACTIVE: ExecutionState.ACTIVE,
    Execution.State.QUEUED: ExecutionState.ACTIVE,  # waits for a free slot; it will run
    Execution.State.SUCCEEDED: ExecutionState.SUCCEEDED,
    Execution.State.FAILED: ExecutionState.FAILED,
    Execution.State.CANCELLED: ExecutionState.CANCELLED,
}


class GoogleExecutions:
    """`zeroidle.ports.Executions` on Cloud Workflows."""

    def __init__(self, client: executions_v1.ExecutionsClient) -> None:
        self._client = client

    def create(self, workflow: str, argument: bytes, labels: Mapping[str, str]) -> str:
        """Start an execution; its full name."""
        execution = Execution(argument=argument.decode(), labels=dict(labels))
        with _translated(workflow):
            created = self._client.create_execution(parent=workflow, execution=execution, timeout=TIMEOUT_S)
        return str(created.name)

    def get(self, execution: str) -> ExecutionView:
        """How an execution is doing."""
        try:
            with _translated(execution):
                found = self._client.get_execution(name=execution, timeout=TIMEOUT_S)
        except _NotFound:
            return ExecutionView(execution, ExecutionState.GONE)
        return _view(found)

    def cancel(self, execution: str) -> None:
        """End an execution; one that has ended or is gone is no error."""
        try:
            with _translated(execution):
                self._client.cancel_execution(name=execution, timeout=TIMEOUT_S)
        except (_NotFound, _Ended):
            return


def connect(address: str | None = None) -> GoogleExecutions:
    """The adapter on the API at `address` (plain gRPC), or on Google's."""
    if address is None:
        return GoogleExecutions(executions_v1.ExecutionsClient())
    transport = ExecutionsGrpcTransport(channel=grpc.insecure_channel(address))
    return GoogleExecutions(executions_v1.ExecutionsClient(transport=transport))


class _NotFound(PermanentError):
    code = "NOT_FOUND"


class _Ended(PermanentError):
    code = "ALREADY_ENDED"


def _view(found: Any) -> ExecutionView:
    state = _STATES.get(found.state, ExecutionState.UNKNOWN)
    ended_at = found.end_time.timestamp() if found.end_time else None
    return ExecutionView(found.name, state, found.result, found.error.payload, ended_at)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """The client's exceptions as ours."""
    try:
        yield
    except api.NotFound as error:
        raise _NotFound(
            f"{printable(name, 200)} does not exist", hint="Deploy the workflow, or correct its name."
        ) from error
    except api.FailedPrecondition as error:
        raise _Ended(f"{printable(name, 200)} has ended: {printable(error.message)}") from error
    except (api.TooManyRequests, api.Aborted, api.ServerError, api.RetryError) as error:
        raise TemporaryError(f"Workflows did not answer for {printable(name, 200)}: {printable(str(error))}") from error
    except api.GoogleAPICallError as error:
        raise PermanentError(
            f"Workflows refused the call for {printable(name, 200)}: {printable(str(error), 300)}",
            code="REFUSED",
            hint="Check the permissions of the functions' service account (roles/workflows.invoker).",
        ) from error
