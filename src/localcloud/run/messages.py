"""How do services, jobs and what became of them look as messages of the Run API v2?

Values of variables are shown only to those
who set them through this API: what was deployed in another way may hold secrets of its deployer.
https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2
"""

from __future__ import annotations

import math
from typing import Any

from google.cloud import run_v2

from localcloud.context import Context
from localcloud.run.jobs import Execution, Job, JobSpec, Task, TaskState
from localcloud.run.service import Service
from localcloud.run.state import Deployed, Probe, Revision, ServiceSpec
from localcloud.run.traffic import LATEST, Target

SUCCEEDED = run_v2.Condition.State.CONDITION_SUCCEEDED
FAILED = run_v2.Condition.State.CONDITION_FAILED
RECONCILING = run_v2.Condition.State.CONDITION_RECONCILING
_STATUS_UNKNOWN = 2  # google.rpc.Code of a task that failed


def location(context: Context) -> str:
    """The parent of all names."""
    return f"projects/{context.project}/locations/{context.location}"


def service_message(context: Context, service: Service) -> Any:
    """A Service."""
    record, spec = service.record, service.spec
    name = f"{location(context)}/services/{spec.name}"
    revision = f"{name}/revisions/{service.revision}"
    template = _template(context, record, spec)
    template.revision = service.revision if record.revisions[-1].is_named else ""
    message = run_v2.Service.pb()(
        name=name,
        uid=record.uid,
        generation=record.generation,
        observed_generation=record.generation,
        labels=record.labels,
        annotations=record.annotations,
        uri=service.url,
        urls=[service.url],
        invoker_iam_disabled=spec.public,
        ingress=run_v2.IngressTraffic.INGRESS_TRAFFIC_ALL,
        launch_stage=4,  # GA
        template=template,
        traffic=[_target(each) for each in record.traffic or LATEST],
        traffic_statuses=[
            {**_target(each), "uri": service.tag_url(each.tag) if each.tag else ""} for each in record.traffic or LATEST
        ],
        latest_created_revision=revision,
        latest_ready_revision=revision,
        terminal_condition=_condition("Ready", SUCCEEDED, record.updated),
        conditions=[_condition(kind, SUCCEEDED, record.updated) for kind in ("RoutesReady", "ConfigurationsReady")],
        etag=_etag(record.uid, record.generation),
    )
    _times(message, create_time=record.created, update_time=record.updated)
    return message


def _target(target: Target) -> dict[str, Any]:
    kinds = run_v2.TrafficTargetAllocationType
    kind = kinds.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION if target.revision else _LATEST
    return {"type_": kind, "revision": target.revision, "percent": target.percent, "tag": target.tag}


_LATEST = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST


def revision_message(context: Context, service: Service, revision: Revision) -> Any:
    """A Revision."""
    record, name = service.record, f"{location(context)}/services/{service.spec.name}"
    template = _template(context, record, revision.spec)
    message = run_v2.Revision.pb()(
        name=f"{name}/revisions/{revision.name}",
        uid=revision.uid,
        generation=1,
        observed_generation=1,
        service=service.spec.name,
        scaling=template.scaling,
        timeout=template.timeout,
        service_account=template.service_account,
        containers=template.containers,
        max_instance_request_concurrency=template.max_instance_request_concurrency,
        conditions=[_condition("Ready", SUCCEEDED, revision.created)],
        etag=_etag(revision.uid, 1),
    )
    _times(message, create_time=revision.created, update_time=revision.created)
    return message


def job_message(context: Context, job: Job, latest: Execution | None) -> Any:
    """A Job; `latest` is its last execution, if that is still known."""
    message = run_v2.Job.pb()(
        name=f"{location(context)}/jobs/{job.spec.name}",
        uid=job.uid,
        generation=job.generation,
        observed_generation=job.generation,
        labels=job.labels,
        annotations=job.annotations,
        launch_stage=4,
        template={
            "parallelism": job.spec.parallelism,
            "task_count": job.spec.task_count,
            "template": _task_template(context, job.spec, job),
        },
        execution_count=job.executions,
        terminal_condition=_condition("Ready", SUCCEEDED, job.updated),
        etag=_etag(job.uid, job.generation),
    )
    if latest is not None:
        reference = message.latest_created_execution
        reference.name = latest.name
        _times(reference, create_time=latest.created, completion_time=latest.completed)
        reference.completion_status = _completion_status(latest)
    _times(message, create_time=job.created, update_time=job.updated)
    return message


def execution_message(context: Context, execution: Execution) -> Any:
    """An Execution."""
    spec, job = execution.spec, f"{location(context)}/jobs/{execution.spec.name}"
    message = run_v2.Execution.pb()(
        name=f"{job}/executions/{execution.name}",
        uid=execution.uid,
        generation=1,
        observed_generation=1,
        labels=execution.labels,
        annotations=execution.annotations,
        launch_stage=4,
        job=spec.name,
        parallelism=spec.parallelism,
        task_count=spec.task_count,
        template=_task_template(context, spec, execution),
        reconciling=execution.completed is None,
        conditions=_execution_conditions(execution),
        running_count=execution.count(TaskState.RUNNING),
        succeeded_count=execution.count(TaskState.SUCCEEDED),
        failed_count=execution.count(TaskState.FAILED),
        cancelled_count=execution.count(TaskState.CANCELLED),
        retried_count=execution.retried,
        etag=_etag(execution.uid, len(execution.tasks)),
    )
    _times(
        message,
        create_time=execution.created,
        start_time=execution.started,
        completion_time=execution.completed,
        update_time=execution.completed or execution.updated,
    )
    return message


def task_message(context: Context, execution: Execution, task: Task) -> Any:
    """A Task."""
    spec, job = execution.spec, f"{location(context)}/jobs/{execution.spec.name}"
    template = _task_template(context, spec, execution)
    message = run_v2.Task.pb()(
        name=f"{job}/executions/{execution.name}/tasks/{execution.task_name(task)}",
        uid=task.uid,
        generation=1,
        observed_generation=1,
        job=spec.name,
        execution=execution.name,
        containers=template.containers,
        max_retries=spec.max_retries,
        timeout=template.timeout,
        service_account=template.service_account,
        reconciling=not task.state.is_over,
        conditions=[
            _condition("Completed", _TASK_CONDITIONS[task.state], task.completed or execution.created, task.message)
        ],
        index=task.index,
        retried=max(0, task.attempts - 1),
    )
    if task.exit_code is not None or task.message:
        result = message.last_attempt_result
        result.status.code, result.status.message = (_STATUS_UNKNOWN, task.message) if task.message else (0, "")
        result.exit_code = task.exit_code or 0
    _times(
        message,
        create_time=execution.created,
        scheduled_time=task.started,
        start_time=task.started,
        completion_time=task.completed,
        update_time=task.completed or task.started or execution.created,
    )
    return message


_TASK_CONDITIONS = {
    TaskState.PENDING: run_v2.Condition.State.CONDITION_PENDING,
    TaskState.RUNNING: RECONCILING,
    TaskState.SUCCEEDED: SUCCEEDED,
    TaskState.FAILED: FAILED,
    TaskState.CANCELLED: FAILED,
}


def _execution_conditions(execution: Execution) -> list[Any]:
    state = SUCCEEDED if execution.succeeded else RECONCILING if execution.completed is None else FAILED
    completed = _condition("Completed", state, execution.completed or execution.created, execution.message)
    reasons = run_v2.Condition.ExecutionReason
    if execution.cancelled:
        completed.execution_reason = reasons.CANCELLED if execution.completed is not None else reasons.CANCELLING
    elif state == FAILED:
        completed.execution_reason = reasons.NON_ZERO_EXIT_CODE
    begun = SUCCEEDED if execution.started is not None else RECONCILING
    started = _condition("Started", begun, execution.started or execution.created)
    return [completed, _condition("ResourcesAvailable", SUCCEEDED, execution.created), started]


def _completion_status(execution: Execution) -> Any:
    statuses = run_v2.ExecutionReference.CompletionStatus
    if execution.completed is None:
        return statuses.EXECUTION_RUNNING
    if execution.cancelled:
        return statuses.EXECUTION_CANCELLED
    return statuses.EXECUTION_SUCCEEDED if execution.succeeded else statuses.EXECUTION_FAILED


def _template(context: Context, record: Deployed, spec: ServiceSpec) -> Any:
    template = run_v2.RevisionTemplate.pb()(
        scaling={"min_instance_count": spec.min_instances, "max_instance_count": spec.max_instances},
        service_account=context.account_of(spec.service_account),
        containers=[_container(spec, record.fixed, record.image, show_values=record.by_api)],
        max_instance_request_concurrency=spec.concurrency,
    )
    _duration(template.timeout, spec.timeout_s)
    container = template.containers[0]
    container.ports.add(name="http1", container_port=8080)
    probe = container.startup_probe
    probe.timeout_seconds = probe.period_seconds = min(240, math.ceil(spec.startup_timeout_s))
    probe.failure_threshold = max(1, math.ceil(spec.startup_timeout_s / probe.period_seconds))
    if spec.health_path is None:
        probe.tcp_socket.port = 8080
    else:
        probe.http_get.path = spec.health_path
    if spec.liveness is not None:
        _show_liveness(container.liveness_probe, spec.liveness)
    return template


def _show_liveness(message: Any, probe: Probe) -> None:
    message.initial_delay_seconds, message.period_seconds = round(probe.initial_delay_s), round(probe.period_s)
    message.timeout_seconds, message.failure_threshold = math.ceil(probe.timeout_s), probe.failure_threshold
    if probe.path is None:
        message.tcp_socket.port = 8080
    else:
        message.http_get.path = probe.path


def _task_template(context: Context, spec: JobSpec, record: Job | Execution) -> Any:
    template = run_v2.TaskTemplate.pb()(
        containers=[_container(spec, record.fixed, record.image, show_values=record.by_api)],
        max_retries=spec.max_retries,
        service_account=context.account_of(spec.service_account),
    )
    _duration(template.timeout, spec.timeout_s)
    return template


def _container(spec: ServiceSpec | JobSpec, fixed: int, image: str, *, show_values: bool) -> Any:
    return run_v2.Container.pb()(
        image=image,
        command=spec.command[:fixed],
        args=spec.command[fixed:],
        env=[{"name": name, "value": value if show_values else ""} for name, value in spec.env.items()],
        working_dir=str(spec.cwd),
    )


def _condition(kind: str, state: Any, moment: float, text: str = "") -> Any:
    condition = run_v2.Condition.pb()(type_=kind, state=state, message=text)
    _times(condition, last_transition_time=moment)
    return condition


def _times(message: Any, **moments: float | None) -> None:
    for name, moment in moments.items():
        if moment is not None:
            getattr(message, name).FromNanoseconds(round(moment * 1e6) * 1000)


def _duration(field: Any, seconds: float) -> None:
    field.FromNanoseconds(round(seconds * 1e9))


def _etag(uid: str, version: int) -> str:
    return f'"{uid[:8]}{version:x}"'
