"""Somebody wants a job to run: accept it once, start it."""

from __future__ import annotations

from msgspec.structs import replace

from zeroidle.contracts import codec
from zeroidle.contracts.events import PubSubMessage
from zeroidle.contracts.messages import Start
from zeroidle.contracts.records import Reason
from zeroidle.contracts.services import ErrorBody
from zeroidle.core.events import StartRefused, Submitted
from zeroidle.errors import MissingObject, PermanentError, printable
from zeroidle.handlers.context import Context, Outcome
from zeroidle.handlers.converge import submit


def on_start(context: Context, message: PubSubMessage) -> Outcome:
    """A well-formed start that can't run is a FAILED job. Raises InvalidMessage, PermanentError, TemporaryError."""
    start = codec.decode(message.data, Start, what="start message")
    refusal = None
    try:
        start = _checked(context, start)
    except PermanentError as error:
        failure = ErrorBody(code=error.code, message=error.message, hint=error.hint)
        refusal = StartRefused(1, Reason.USER_ERROR, failure, message.publish_time)
    event = Submitted(
        job_id=start.job_id,
        user_id=start.user_id,
        run=start.run,
        limits=start.limits.over(context.deployment.limits),
        labels=start.labels,
        usd_per_second=dict(context.deployment.usd_per_second),
        at=message.publish_time,
    )
    return submit(context, event, refusal)


def _checked(context: Context, start: Start) -> Start:
    """The start with its input pinned to a generation. Raises PermanentError naming the field that can't be."""
    run, deployment = start.run, context.deployment
    if run.workflow not in deployment.workflows:
        known = ", ".join(sorted(deployment.workflows))
        raise PermanentError(f"field run.workflow: there is no workflow {run.workflow!r}; there are {known}")
    if run.input.bucket != deployment.input_bucket:
        # Results are named after the input's name alone, and nothing else may be read.
        raise PermanentError(
            f"field run.input.bucket: inputs are read from {deployment.input_bucket!r} (it is {run.input.bucket!r})"
        )
    if run.input.generation is not None:
        return start
    found = context.objects.stat(run.input)
    if found is None:
        raise MissingObject(
            f"field run.input: there is no object {printable(run.input.name)!r} in {run.input.bucket!r}",
            hint="Upload it first.",
        )
    return replace(start, run=replace(run, input=found.ref))
