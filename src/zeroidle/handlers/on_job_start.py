"""Somebody wants a job to run: accept it once, start it."""

from __future__ import annotations

from msgspec.structs import replace

from zeroidle.contracts import codec
from zeroidle.contracts.events import PubSubMessage
from zeroidle.contracts.messages import MachineRun, Run, Start, WorkflowRun
from zeroidle.contracts.records import Reason
from zeroidle.contracts.services import ErrorBody
from zeroidle.core import placement
from zeroidle.core.events import StartRefused, Submitted
from zeroidle.errors import MissingObject, PermanentError, printable
from zeroidle.handlers.context import Context, Outcome
from zeroidle.handlers.converge import submit


def on_job_start(context: Context, message: PubSubMessage) -> Outcome:
    """A well-formed start that can't run is a FAILED job. Raises InvalidMessage, PermanentError, TemporaryError."""
    start = codec.decode(message.data, Start, what="start message")
    deployment, refusal = context.deployment, None
    try:
        run = _checked(context, start.run)
    except PermanentError as error:
        run = start.run
        failure = ErrorBody(code=error.code, message=error.message, hint=error.hint)
        refusal = StartRefused(1, Reason.USER_ERROR, failure, message.publish_time)
    on_machine = isinstance(run, MachineRun)
    event = Submitted(
        job_id=start.job_id,
        user_id=start.user_id,
        run=run,
        limits=start.limits.over(deployment.machine_limits if on_machine else deployment.limits),
        labels=start.labels,
        usd_per_second={} if on_machine else dict(deployment.usd_per_second),
        at=message.publish_time,
    )
    return submit(context, event, refusal)


def _checked(context: Context, run: Run) -> Run:
    """What is to run, its input pinned to a generation. Raises PermanentError naming the field that can't be."""
    if isinstance(run, MachineRun):
        problem = placement.problem(run.wanted, context.deployment.catalog)
        if problem is not None:
            raise PermanentError(problem)
        return run
    return _with_input(context, run)


def _with_input(context: Context, run: WorkflowRun) -> WorkflowRun:
    deployment = context.deployment
    if run.workflow not in deployment.workflows:
        known = ", ".join(sorted(deployment.workflows))
        raise PermanentError(f"field run.workflow: there is no workflow {run.workflow!r}; there are {known}")
    if run.input.bucket != deployment.input_bucket:
        # Results are named after the input's name alone, and nothing else may be read.
        raise PermanentError(
            f"field run.input.bucket: inputs are read from {deployment.input_bucket!r} (it is {run.input.bucket!r})"
        )
    if run.input.generation is not None:
        return run
    found = context.objects.stat(run.input)
    if found is None:
        raise MissingObject(
            f"field run.input: there is no object {printable(run.input.name)!r} in {run.input.bucket!r}",
            hint="Upload it first.",
        )
    return replace(run, input=found.ref)
