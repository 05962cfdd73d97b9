"""What does `gcloud run` see? The Run API v1: the same services, jobs and executions, as Kubernetes resources.

`gcloud run services|revisions|jobs describe, list, delete`, `services update-traffic`, `jobs execute`, `jobs
executions` and their tasks. To deploy, use the API v2.
https://cloud.google.com/run/docs/reference/rest/v1
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from localcloud.context import Context
from localcloud.gateway import read_body
from localcloud.run import resources, traffic
from localcloud.run.errors import Conflict, InvalidArgument, NotFound, RunError
from localcloud.run.jobs import Execution, Job, Overrides
from localcloud.run.resources import Answer
from localcloud.run.service import Run
from localcloud.run.traffic import Target

MAX_BODY_BYTES = 2**20
_SERVING = "/apis/serving.knative.dev/v1/namespaces/{namespace}"
_RUNNING = "/apis/run.googleapis.com/v1/namespaces/{namespace}"
_SELECTOR = re.compile(r"([\w./-]+)\s*=\s*([\w.-]+)")

Method = Callable[[Request], Awaitable[Answer]]
_T = TypeVar("_T")


def routes(run: Run) -> list[BaseRoute]:
    """The methods that gcloud calls."""
    view = _View(run)
    table: list[tuple[str, str, Method]] = [
        ("GET", f"{_SERVING}/services", view.services),
        ("GET", "/v1/projects/{namespace}/locations/{location}/services", view.services),
        ("GET", f"{_SERVING}/services/{{name}}", view.service),
        ("PUT", f"{_SERVING}/services/{{name}}", view.replace_service),
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
        return resources.listing("Service", [resources.service(self._context, each) for each in self._run.services()])

    async def service(self, request: Request) -> Answer:
        return resources.service(self._context, self._run.service(request.path_params["name"]))

    async def replace_service(self, request: Request) -> Answer:
        """Only where its requests go may differ from what is there."""
        service = self._run.service(request.path_params["name"])
        replacement = await _decoded(request, _Service)
        specified, current = replacement.metadata.resource_version, str(service.record.generation)
        if specified and specified != current:
            raise Conflict(service.spec.name, specified, current)
        wanted = replacement.spec
        if wanted.template.spec != resources.service(self._context, service)["spec"]["template"]["spec"]:
            raise InvalidArgument(
                "spec.template.spec differs from what is deployed; here this method changes spec.traffic only:"
                " a revision is deployed with the API v2"
            )
        known = {each.name for each in service.record.revisions}
        targets = [Target(each.revision_name, each.percent, each.tag) for each in wanted.traffic]
        self._run.split(service.spec.name, traffic.checked(targets, known))
        return resources.service(self._context, service)

    async def delete_service(self, request: Request) -> Answer:
        await self._run.delete(request.path_params["name"])
        return {"status": "Success"}

    async def revisions(self, request: Request) -> Answer:
        wanted = _selected(request).get(resources.SERVICE_LABEL)
        services = [each for each in self._run.services() if wanted in (None, each.spec.name)]
        pairs = [(each, one) for each in services for one in reversed(each.record.revisions)]
        return resources.listing("Revision", [resources.revision(self._context, *pair) for pair in pairs])

    async def revision(self, request: Request) -> Answer:
        name = request.path_params["name"]
        for service in self._run.services():
            for revision in service.record.revisions:
                if revision.name == name:
                    return resources.revision(self._context, service, revision)
        raise NotFound(f"Revision {name!r:.80} does not exist.")

    async def jobs(self, request: Request) -> Answer:
        return resources.listing("Job", [self._job(each) for each in self._run.jobs.jobs()], running=True)

    async def job(self, request: Request) -> Answer:
        return self._job(self._run.jobs.job(request.path_params["name"]))

    async def run_job(self, request: Request) -> Answer:
        wanted = await _overrides(request)
        return resources.execution(self._context, self._run.jobs.run(request.path_params["name"], wanted))

    async def delete_job(self, request: Request) -> Answer:
        self._run.jobs.delete(request.path_params["name"])
        return {"status": "Success"}

    async def executions(self, request: Request) -> Answer:
        wanted = _selected(request).get(resources.JOB_LABEL)
        shown = [resources.execution(self._context, each) for _, each in self._run.jobs.executions(wanted)]
        return resources.listing("Execution", shown, running=True)

    async def execution(self, request: Request) -> Answer:
        return resources.execution(self._context, self._find(request.path_params["name"]))

    async def cancel_execution(self, request: Request) -> Answer:
        execution = self._find(request.path_params["name"])
        return resources.execution(self._context, self._run.jobs.cancel(execution.spec.name, execution.name))

    async def delete_execution(self, request: Request) -> Answer:
        execution = self._find(request.path_params["name"])
        self._run.jobs.delete_execution(execution.spec.name, execution.name)
        return {"status": "Success"}

    async def tasks(self, request: Request) -> Answer:
        execution = self._find(_selected(request).get(resources.EXECUTION_LABEL, ""))
        shown = [resources.task(self._context, execution, each) for each in execution.tasks]
        return resources.listing("Task", shown, running=True)

    async def task(self, request: Request) -> Answer:
        name = request.path_params["name"]
        execution = self._find(name.rpartition("-")[0])
        for task in execution.tasks:
            if execution.task_name(task) == name:
                return resources.task(self._context, execution, task)
        raise NotFound(f"Task {name!r:.80} does not exist.")

    def _job(self, job: Job) -> Answer:
        try:
            latest = self._run.jobs.execution(job.spec.name, job.latest)
        except NotFound:  # none yet, or it has been deleted
            latest = None
        return resources.job(self._context, job, latest)

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
    wanted = (await _decoded(request, _RunRequest)).overrides
    container = wanted.container_overrides[0] if wanted.container_overrides else _ContainerOverride()
    return Overrides(
        args=tuple(container.args) if container.args or container.clear_args else None,
        env={each.name: each.value for each in container.env},
        task_count=wanted.task_count,
        timeout_s=wanted.timeout_seconds,
    )


class _Target(msgspec.Struct, rename="camel"):
    revision_name: str = ""
    percent: int = 0
    tag: str = ""


class _Template(msgspec.Struct):
    spec: Answer = {}


class _ServiceSpec(msgspec.Struct):
    template: _Template
    traffic: list[_Target] = []


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Service(msgspec.Struct):
    spec: _ServiceSpec
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


async def _decoded(request: Request, kind: type[_T]) -> _T:
    try:
        body = await read_body(request, MAX_BODY_BYTES)
        return msgspec.json.decode(body or b"{}", type=kind, strict=False)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidArgument(f"Invalid JSON payload received. {error}"[:500]) from error
