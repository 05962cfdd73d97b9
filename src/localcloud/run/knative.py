"""What does `gcloud run` see? The Run API v1: the same services, jobs and executions, as Kubernetes resources.

Read and run only: `gcloud run services|revisions|jobs describe, list, delete`, `jobs execute`, `jobs executions` and
their tasks. To deploy, use the API v2.
https://cloud.google.com/run/docs/reference/rest/v1
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from localcloud.context import Context
from localcloud.gateway import read_body
from localcloud.run.errors import InvalidArgument, NotFound, RunError
from localcloud.run.jobs import Execution, Job, JobSpec, Overrides, Task, TaskState
from localcloud.run.service import Run, Service
from localcloud.run.state import Deployed, Revision, ServiceSpec

MAX_BODY_BYTES = 2**20
_SERVING = "/apis/serving.knative.dev/v1/namespaces/{namespace}"
_RUNNING = "/apis/run.googleapis.com/v1/namespaces/{namespace}"
_SERVICE_LABEL, _JOB_LABEL = "serving.knative.dev/service", "run.googleapis.com/job"
_EXECUTION_LABEL, _LOCATION_LABEL = "run.googleapis.com/execution", "cloud.googleapis.com/location"
_SELECTOR = re.compile(r"([\w./-]+)\s*=\s*([\w.-]+)")

Answer = dict[str, Any]
Method = Callable[[Request], Awaitable[Answer]]


def routes(run: Run) -> list[BaseRoute]:
    """The methods that gcloud calls."""
    view = _View(run)
    table: list[tuple[str, str, Method]] = [
        ("GET", f"{_SERVING}/services", view.services),
        ("GET", "/v1/projects/{namespace}/locations/{location}/services", view.services),
        ("GET", f"{_SERVING}/services/{{name}}", view.service),
        ("DELETE", f"{_SERVING}/services/{{name}}", view.delete_service),
        ("GET", f"{_SERVING}/revisions", view.revisions),
        ("GET", f"{_SERVING}/revisions/{{name}}", view.revision),
        ("GET", f"{_RUNNING}/jobs", view.jobs),
        ("POST", f"{_RUNNING}/jobs/{{name}}:run", view.run_job),
        ("GET", f"{_RUNNING}/jobs/{{name}}", view.job),
        ("DELETE", f"{_RUNNING}/jobs/{{name}}", view.delete_job),
        ("GET", f"{_RUNNING}/executions", view.executions),
        ("POST", f"{_RUNNING}/executions/{{name}}:cancel", view.cancel_execution),
        ("GET", f"{_RUNNING}/executions/{{name}}", view.execution),
        ("DELETE", f"{_RUNNING}/executions/{{name}}", view.delete_execution),
        ("GET", f"{_RUNNING}/tasks", view.tasks),
        ("GET", f"{_RUNNING}/tasks/{{name}}", view.task),
    ]
    return [Route(path, _endpoint(run.context, method), methods=[verb]) for verb, path, method in table]


class _View:
    """The methods. They raise RunError."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._context = run.context

    async def services(self, request: Request) -> Answer:
        return _list("Service", [_service(self._context, each) for each in self._run.services()])

    async def service(self, request: Request) -> Answer:
        return _service(self._context, self._run.service(request.path_params["name"]))

    async def delete_service(self, request: Request) -> Answer:
        await self._run.delete(request.path_params["name"])
        return {"status": "Success"}

    async def revisions(self, request: Request) -> Answer:
        wanted = _selected(request).get(_SERVICE_LABEL)
        services = [each for each in self._run.services() if wanted in (None, each.spec.name)]
        found = [_revision(self._context, each, one) for each in services for one in reversed(each.record.revisions)]
        return _list("Revision", found)

    async def revision(self, request: Request) -> Answer:
        name = request.path_params["name"]
        for service in self._run.services():
            for revision in service.record.revisions:
                if revision.name == name:
                    return _revision(self._context, service, revision)
        raise NotFound(f"Revision {name!r:.80} does not exist.")

    async def jobs(self, request: Request) -> Answer:
        return _list("Job", [self._job(each) for each in self._run.jobs.jobs()], running=True)

    async def job(self, request: Request) -> Answer:
        return self._job(self._run.jobs.job(request.path_params["name"]))

    async def run_job(self, request: Request) -> Answer:
        wanted = await _overrides(request)
        return _execution(self._context, self._run.jobs.run(request.path_params["name"], wanted))

    async def delete_job(self, request: Request) -> Answer:
        self._run.jobs.delete(request.path_params["name"])
        return {"status": "Success"}

    async def executions(self, request: Request) -> Answer:
        wanted = _selected(request).get(_JOB_LABEL)
        found = sorted(self._run.jobs.executions(wanted), key=lambda each: -each.created)
        return _list("Execution", [_execution(self._context, each) for each in found], running=True)

    async def execution(self, request: Request) -> Answer:
        return _execution(self._context, self._find(request.path_params["name"]))

    async def cancel_execution(self, request: Request) -> Answer:
        execution = self._find(request.path_params["name"])
        return _execution(self._context, self._run.jobs.cancel(execution.spec.name, execution.name))

    async def delete_execution(self, request: Request) -> Answer:
        execution = self._find(request.path_params["name"])
        self._run.jobs.delete_execution(execution.spec.name, execution.name)
        return {"status": "Success"}

    async def tasks(self, request: Request) -> Answer:
        execution = self._find(_selected(request).get(_EXECUTION_LABEL, ""))
        return _list("Task", [_task(self._context, execution, each) for each in execution.tasks], running=True)

    async def task(self, request: Request) -> Answer:
        name = request.path_params["name"]
        execution = self._find(name.rpartition("-")[0])
        for task in execution.tasks:
            if execution.task_name(task) == name:
                return _task(self._context, execution, task)
        raise NotFound(f"Task {name!r:.80} does not exist.")

    def _job(self, job: Job) -> Answer:
        try:
            latest = self._run.jobs.execution(job.spec.name, job.latest)
        except NotFound:  # none yet, or it has been deleted
            latest = None
        return _job(self._context, job, latest)

    def _find(self, name: str) -> Execution:
        """Here an execution is named without its job, which its own name starts with."""
        return self._run.jobs.execution(name.rpartition("-")[0], name)


def _endpoint(context: Context, method: Method) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            if request.path_params["namespace"] not in (context.project, str(context.project_number)):
                raise NotFound(f"Namespace {request.path_params['namespace']!r:.80} was not found.")
            answer = await method(request)
        except RunError as error:
            return Response(error.body(with_hint=False), error.code, media_type="application/json")
        return Response(msgspec.json.encode(answer), media_type="application/json")

    return endpoint


def _selected(request: Request) -> dict[str, str]:
    return dict(_SELECTOR.findall(request.query_params.get("labelSelector", "")))


class _Variable(msgspec.Struct):
    name: str
    value: str = ""


class _ContainerOverride(msgspec.Struct, rename="camel"):
    args: list[str] = []
    env: list[_Variable] = []
    clear_args: bool = False


class _Overrides(msgspec.Struct, rename="camel"):
    container_overrides: list[_ContainerOverride] = []
    task_count: int | None = None
    timeout_seconds: float | None = None


class _RunRequest(msgspec.Struct):
    overrides: _Overrides = msgspec.field(default_factory=_Overrides)


async def _overrides(request: Request) -> Overrides:
    try:
        body = await read_body(request, MAX_BODY_BYTES)
        wanted = msgspec.json.decode(body or b"{}", type=_RunRequest, strict=False).overrides
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidArgument(f"Invalid JSON payload received. {error}"[:500]) from error
    container = wanted.container_overrides[0] if wanted.container_overrides else _ContainerOverride()
    return Overrides(
        args=tuple(container.args) if container.args or container.clear_args else None,
        env={each.name: each.value for each in container.env},
        task_count=wanted.task_count,
        timeout_s=wanted.timeout_seconds,
    )


def _list(kind: str, items: Iterable[Answer], *, running: bool = False) -> Answer:
    group = "run.googleapis.com/v1" if running else "serving.knative.dev/v1"
    return {"apiVersion": group, "kind": f"{kind}List", "metadata": {}, "items": list(items)}


def _service(context: Context, service: Service) -> Answer:
    record, revision = service.record, service.revision
    traffic = {"revisionName": revision, "percent": 100, "latestRevision": True}
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
            "traffic": [{"percent": 100, "latestRevision": True}],
        },
        "status": {
            "observedGeneration": record.generation,
            "conditions": [
                _condition(kind, "True", record.updated) for kind in ("Ready", "ConfigurationsReady", "RoutesReady")
            ],
            "latestReadyRevisionName": revision,
            "latestCreatedRevisionName": revision,
            "traffic": [traffic],
            "url": service.url,
            "address": {"url": service.url},
        },
    }


def _revision(context: Context, service: Service, revision: Revision) -> Answer:
    labels = {_SERVICE_LABEL: service.spec.name, _LOCATION_LABEL: context.location}
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
                _condition("Active", "True" if revision.name == service.revision else "False", revision.created),
            ],
            "serviceName": service.spec.name,
        },
    }


def _job(context: Context, job: Job, latest: Execution | None) -> Answer:
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


def _execution(context: Context, execution: Execution) -> Answer:
    completed = "True" if execution.succeeded else "Unknown" if execution.completed is None else "False"
    begun = "True" if execution.started is not None else "Unknown"
    reason = "Cancelled" if execution.cancelled else "NonZeroExitCode" if completed == "False" else ""
    labels = {**execution.labels, _JOB_LABEL: execution.spec.name, _LOCATION_LABEL: context.location}
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


def _task(context: Context, execution: Execution, task: Task) -> Answer:
    labels = {_JOB_LABEL: execution.spec.name, _EXECUTION_LABEL: execution.name, _LOCATION_LABEL: context.location}
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
    return {
        "image": record.image,
        "command": list(spec.command[: record.fixed]),
        "args": list(spec.command[record.fixed :]),
        "env": [{"name": name, "value": value if record.by_api else ""} for name, value in spec.env.items()],
        "workingDir": str(spec.cwd),
    }


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
