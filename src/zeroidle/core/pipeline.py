"""What does a workflow execution get told, and where does a job's result go?"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from zeroidle.contracts import codec, names
from zeroidle.contracts.messages import Limits, MachineRun, WorkflowRun
from zeroidle.contracts.records import ErrorFile, Job, Reason, State
from zeroidle.contracts.services import Folder, ModelRef
from zeroidle.core.placement import Catalog
from zeroidle.errors import PermanentError

# https://cloud.google.com/workflows/quotas
MAX_ARGUMENT_BYTES = 32 * 1024


class Deployment(Struct, frozen=True):
    """What the decisions have to know of the deployed bundle; names are full names."""

    input_bucket: str
    work_bucket: str
    output_bucket: str
    jobs_bucket: str
    heartbeats_topic: str
    meta_topic: str
    workflows: Mapping[str, str]  # by the name that a job asks for
    upload_workflow: str  # the one an upload asks for
    default_model: ModelRef
    limits: Limits  # of a job that runs a workflow and names none
    parallel_shards: int
    usd_per_second: Mapping[str, float]  # price of one busy instance, by stage
    machine_limits: Limits  # of one that runs on a machine
    catalog: Catalog  # the machines
    ignore_prefix: str | None = None  # uploads below it are nobody's job


def output_folder(job: Job, deployment: Deployment) -> Folder | None:
    """Where the job publishes its result, or its error.json; None for one that was stopped before its start came.

    The job that an upload makes of itself owns `<name>/<generation>`; any other job on the same object gets a folder
    below it, so that two jobs never write the same names. What runs on a machine has a folder for each attempt; the
    record of the job says which of them is the result.
    """
    if isinstance(job.run, MachineRun):
        return Folder(bucket=deployment.output_bucket, prefix=names.work_prefix(job.job_id, job.attempt))
    if job.run is None:
        return None
    source = job.run.input
    generation = source.generation or "0"
    prefix = names.result_prefix(source.name, generation)
    if job.job_id != names.job_id_for_upload(source.bucket, source.name, generation):
        prefix = f"{prefix}/{job.job_id}"
    return Folder(bucket=deployment.output_bucket, prefix=prefix)


def workflow_of(job: Job, deployment: Deployment) -> str | None:
    """The full name of the workflow that runs the job; None if there is no such workflow."""
    return deployment.workflows.get(job.run.workflow) if isinstance(job.run, WorkflowRun) else None


def argument(job: Job, deployment: Deployment) -> bytes:
    """The argument of an execution of the job's current attempt, as JSON.

    Raises:
        PermanentError: it is larger than an argument may be.
    """
    output = output_folder(job, deployment)
    if not isinstance(job.run, WorkflowRun) or output is None:
        raise PermanentError(f"job {job.job_id} has no workflow to run")
    data = codec.encode(
        {
            "job_id": job.job_id,
            "user_id": job.user_id,
            "attempt": job.attempt,
            "input": job.run.input,
            "work": Folder(bucket=deployment.work_bucket, prefix=names.work_prefix(job.job_id, job.attempt)),
            "output": output,
            "jobs_bucket": deployment.jobs_bucket,
            "topics": {"heartbeats": deployment.heartbeats_topic, "meta": deployment.meta_topic},
            "model": job.run.model or deployment.default_model,
            "options": job.run.options,
            "parallel": deployment.parallel_shards,
            "usd_per_second": job.usd_per_second,
        }
    )
    if len(data) > MAX_ARGUMENT_BYTES:
        raise PermanentError(
            f"the workflow's argument would be {len(data)} bytes; at most {MAX_ARGUMENT_BYTES} are possible",
            hint="Shorten the options.",
        )
    return data


def error_file(job: Job) -> ErrorFile | None:
    """What stands in error.json beside where the result would have been; None unless the job failed."""
    if job.state is not State.FAILED or not isinstance(job.run, WorkflowRun) or job.failure is None:
        return None
    reason = job.reason or Reason.SERVICE_ERROR
    return ErrorFile(
        job_id=job.job_id,
        user_id=job.user_id,
        attempt=job.attempt,
        input=job.run.input,
        reason=reason,
        code=job.failure.code,
        message=job.failure.message,
        hint=job.failure.hint,
        details=job.failure.details,
        what_to_do=reason.advice,
        failed_at=job.finished_at or job.created_at,
    )
