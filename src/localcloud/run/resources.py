"""How do services, jobs and what became of them look as resources of the Run API v1?

https://cloud.google.com/run/docs/reference/rest/v1
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from localcloud.context import Context
from localcloud.run.jobs import Execution, Job, JobSpec, Task, TaskState
from localcloud.run.service import Service
from localcloud.run.state import Deployed, Revision, ServiceSpec
from localcloud.run.traffic import LATEST, Target

SERVICE_LABEL, JOB_LABEL = "serving.knative.dev/service", "run.googleapis.com/job"
EXECUTION_LABEL, _LOCATION_LABEL = "run.googleapis.com/execution", "cloud.googleapis.com/location"

Answer = dict[str, Any]


def listing(kind: str, items: Iterable[Answer], *, running: bool = False) -> Answer:
    """A list of resources of one kind."""
    group = "run.googleapis.com/v1" if running else "serving.knative.dev/v1"
    return {"apiVersion": group, "kind": f"{kind}List", "metadata": {}, "items": list(items)}


def service(context: Context, service: Service) -> Answer:
    """A Service."""
    record, revision = service.record, service.revision
    targets = record.traffic or LATEST
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": _metadata(
            context,
            service.spec.name,
            record.uid,
            record.created,
            record.generation,
            record.labels,
            annotations={**record.annotations, "run.googleapis.com/ingress": "all"},
        ),
        "spec": {
            "template": {
                "metadata": {"annotations": _scaling(service.spec)},
                "spec": _revision_spec(context, record, service.spec),
            },
            "traffic": [_target(each) for each in targets],
        },
        "status": {
            "observedGeneration": record.generation,
            "conditions": [
                _condition(kind, "True", record.updated) for kind in ("Ready", "ConfigurationsReady", "RoutesReady")
            ],
            "latestReadyRevisionName": revision,
            "latestCreatedRevisionName": revision,
            "traffic": [
                {
                    **_target(each),
                    "revisionName": each.revision or revision,
                    **({"url": service.tag_url(each.tag)} if each.tag else {}),
                }
                for each in targets
            ],
            "url": service.url,
            "address": {"url": service.url},
        },
    }


def _target(target: Target) -> Answer:
    where: Answer = {"revisionName": target.revision} if target.revision else {"latestRevision": True}
    return {**where, "percent": target.percent, **({"tag": target.tag} if target.tag else {})}


def revision(context: Context, service: Service, revision: Revision) -> Answer:
    """A Revision."""
    labels = {SERVICE_LABEL: service.spec.name, _LOCATION_LABEL: context.location}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Revision",
        "metadata": _metadata(
            context, revision.name, revision.uid, revision.created, 1, labels, annotations=_scaling(revision.spec)
        ),
        "spec": _revision_spec(context, service.record, revision.spec),
        "status": {
            "observedGeneration": 1,
            "conditions": [
                _condition("Ready", "True", revision.created),
                _condition("Active", "True" if revision.name in service.shares else "False", revision.created),
            ],
            "serviceName": service.spec.name,
        },
    }


def job(context: Context, job: Job, latest: Execution | None) -> Answer:
    """A Job; `latest` is its last execution, if that is still known."""
    status: Answer = {
        "observedGeneration": job.generation,
        "conditions": [_condition("Ready", "True", job.updated)],
        "executionCount": job.executions,
    }
    if latest is not None:
        status["latestCreatedExecution"] = _present(
            name=latest.name,
            creationTimestamp=_time(latest.created),
            completionTimestamp=_time(latest.completed),
            completionStatus=_completion_status(latest),
        )
    return {
        "apiVersion": "run.googleapis.com/v1",
        "kind": "Job",
        "metadata": _metadata(
            context, job.spec.name, job.uid, job.created, job.generation, job.labels, annotations=job.annotations
        ),
        "spec": {"template": {"metadata": {}, "spec": _execution_spec(context, job.spec, job)}},
        "status": status,
    }


def execution(context: Context, execution: Execution) -> Answer:
    """An Execution."""
    completed = "True" if execution.succeeded else "Unknown" if execution.completed is None else "False"
    begun = "True" if execution.started is not None else "Unknown"
    reason = "Cancelled" if execution.cancelled else "NonZeroExitCode" if completed == "False" else ""
    labels = {**execution.labels, JOB_LABEL: execution.spec.name, _LOCATION_LABEL: context.location}
    counts = {
        "runningCount": TaskState.RUNNING,
        "succeededCount": TaskState.SUCCEEDED,
        "failedCount": TaskState.FAILED,
        "cancelledCount": TaskState.CANCELLED,
    }
    return {
        "apiVersion": "run.googleapis.com/v1",
        "kind": "Execution",
        "metadata": _metadata(
            context,
            execution.name,
            execution.uid,
            execution.created,
            1,
            labels,
            annotations=execution.annotations,
        ),
        "spec": _execution_spec(context, execution.spec, execution),
        "status": _present(
            observedGeneration=1,
            startTime=_time(execution.started),
            completionTime=_time(execution.completed),
            conditions=[
                _condition("Completed", completed, execution.completed or execution.created, execution.message, reason),
                _condition("ResourcesAvailable", "True", execution.created),
                _condition("Started", begun, execution.started or execution.created),
            ],
            retriedCount=execution.retried,
            **{name: execution.count(state) for name, state in counts.items()},
        ),
    }


def task(context: Context, execution: Execution, task: Task) -> Answer:
    """A Task."""
    labels = {JOB_LABEL: execution.spec.name, EXECUTION_LABEL: execution.name, _LOCATION_LABEL: context.location}
    ended = {TaskState.SUCCEEDED: "True", TaskState.FAILED: "False", TaskState.CANCELLED: "False"}
    condition = _condition(
        "Completed", ended.get(task.state, "Unknown"), task.completed or execution.created, task.message
    )
    result = None if task.exit_code is None else {"exitCode": task.exit_code, "status": {"message": task.message}}
    return {
        "apiVersion": "run.googleapis.com/v1",
        "kind": "Task",
        "metadata": _metadata(
            context, execution.task_name(task), task.uid, execution.created, 1, labels, annotations={}
        ),
        "spec": _task_spec(context, execution.spec, execution),
        "status": _present(
            observedGeneration=1,
            index=task.index,
            retried=max(0, task.attempts - 1),
            startTime=_time(task.started),
            completionTime=_time(task.completed),
            conditions=[condition],
            lastAttemptResult=result,
        ),
    }


def _completion_status(execution: Execution) -> str:
    if execution.completed is None:
        return "EXECUTION_RUNNING"
    if execution.cancelled:
        return "EXECUTION_CANCELLED"
    return "EXECUTION_SUCCEEDED" if execution.succeeded else "EXECUTION_FAILED"


def _metadata(
    context: Context,
    name: str,
    uid: str,
    created: float,
    generation: int,
    labels: Mapping[str, str],
    *,
    annotations: Mapping[str, str],
) -> Answer:
    return {
        "name": name,
        "namespace": str(context.project_number),
        "uid": uid,
        "resourceVersion": str(generation),
        "generation": generation,
        "creationTimestamp": _time(created),
        "labels": {**labels, _LOCATION_LABEL: context.location},
        "annotations": dict(annotations),
    }


def _scaling(spec: ServiceSpec) -> dict[str, str]:
    return {
        "autoscaling.knative.dev/minScale": str(spec.min_instances),
        "autoscaling.knative.dev/maxScale": str(spec.max_instances),
    }


def _revision_spec(context: Context, record: Deployed, spec: ServiceSpec) -> Answer:
    return {
        "containerConcurrency": spec.concurrency,
        "timeoutSeconds": round(spec.timeout_s),
        "serviceAccountName": context.account_of(spec.service_account),
        "containers": [_container(spec, record)],
    }


def _execution_spec(context: Context, spec: JobSpec, record: Job | Execution) -> Answer:
    return {
        "parallelism": spec.parallelism,
        "taskCount": spec.task_count,
        "template": {"spec": _task_spec(context, spec, record)},
    }


def _task_spec(context: Context, spec: JobSpec, record: Job | Execution) -> Answer:
    return {
        "maxRetries": spec.max_retries,
        "timeoutSeconds": str(round(spec.timeout_s)),
        "serviceAccountName": context.account_of(spec.service_account),
        "containers": [_container(spec, record)],
    }


def _container(spec: ServiceSpec | JobSpec, record: Deployed | Job | Execution) -> Answer:
    env = [{"name": name, "value": value if record.by_api else ""} for name, value in spec.env.items()]
    return _present(  # empty lists are left out, as gcloud does in what it sends back
        image=record.image,
        command=list(spec.command[: record.fixed]),
        args=list(spec.command[record.fixed :]) or None,
        env=env or None,
        workingDir=str(spec.cwd),
    )


def _condition(kind: str, status: str, moment: float, message: str = "", reason: str = "") -> Answer:
    return _present(
        type=kind, status=status, lastTransitionTime=_time(moment), message=message or None, reason=reason or None
    )


def _present(**fields: object) -> Answer:
    return {name: value for name, value in fields.items() if value is not None}


def _time(moment: float | None) -> str | None:
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
