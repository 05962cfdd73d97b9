"""What do the methods of the Run API v2 do? One function a method, from request to response.

Imported with the first call, as the messages take longer to import than the local cloud takes to start.
https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import uuid
from collections.abc import Iterable
from typing import Any

from google.cloud import run_v2
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.longrunning import operations_pb2
from google.protobuf.empty_pb2 import Empty

from localcloud.run import messages, requests
from localcloud.run.admin import OPERATION_PREFIX
from localcloud.run.errors import AlreadyExists, Conflict, InvalidArgument, NotFound
from localcloud.run.jobs import Execution, Job
from localcloud.run.service import Run, Service

MAX_PAGE = 1000
MAX_WAIT_S = 60.0  # of real time, as the caller's own deadline is
_OPERATIONS, _POLICIES = "run.operations", "run.policies"
_MARK = re.compile(r"[^/]+/\d{18}/[^/]+", re.ASCII)  # a page of executions ends there
_DONE = b"done:"  # before an operation that has ended; one that has not is stored as the key of its execution


class Methods:
    """The methods of all services, by the names of the protocol. They raise RunError."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._context = run.context
        self._jobs = run.jobs

    # Services

    async def CreateService(self, request: Any) -> Any:
        self._here(request.parent)
        name = request.service_id
        if name in {service.spec.name for service in self._run.services()}:
            raise AlreadyExists(f"Resource '{name}' already exists.")
        return self._deploy_service(request.service, name, request.validate_only)

    async def GetService(self, request: Any) -> Any:
        return messages.service_message(self._context, self._service(request.name))

    async def ListServices(self, request: Any) -> Any:
        self._here(request.parent)
        services = {service.spec.name: service for service in self._run.services()}
        names, token = _page(sorted(services), request)
        shown = [messages.service_message(self._context, services[name]) for name in names]
        return run_v2.ListServicesResponse.pb()(services=shown, next_page_token=token)

    async def UpdateService(self, request: Any) -> Any:
        (name,) = self._names(request.service.name, "services")
        if request.allow_missing and name not in {service.spec.name for service in self._run.services()}:
            return self._deploy_service(request.service, name, request.validate_only)
        service = self._service(request.service.name)
        current = messages.service_message(self._context, service)
        _check_etag(current, request.service.etag)
        wanted = _updated(current, request.service, request.update_mask.paths)
        return self._deploy_service(wanted, name, request.validate_only, service)

    async def DeleteService(self, request: Any) -> Any:
        message = await self.GetService(request)
        _check_etag(message, request.etag)
        if not request.validate_only:
            await self._run.delete(message.name.rpartition("/")[2])
        return self._done(message, request.validate_only)

    def _deploy_service(self, message: Any, name: str, validate_only: bool, before: Service | None = None) -> Any:
        known = None if before is None else before.spec
        spec, fixed, image = requests.service_spec(self._context, message, name, known)
        revision = requests.revision_name(message, name)
        revisions = set() if before is None else {each.name for each in before.record.revisions}
        if before is not None:
            before.is_new(spec, revision)  # which it refuses where the name is taken
        traffic = requests.targets(message, revisions | {revision} - {""})
        if validate_only:
            return self._done(message, validate_only)
        service = self._run.save_service(
            spec,
            revision,
            fixed=fixed,
            image=image,
            by_api=before is None or before.record.by_api,
            labels=dict(message.labels),
            annotations=dict(message.annotations),
            traffic=traffic,
        )
        return self._done(messages.service_message(self._context, service))

    # Revisions

    async def GetRevision(self, request: Any) -> Any:
        name, revision = self._names(request.name, "services", "revisions")
        service = self._run.service(name)
        for each in service.record.revisions:
            if each.name == revision:
                return messages.revision_message(self._context, service, each)
        raise NotFound(f"Revision {revision!r:.80} of service {name!r:.80} does not exist.")

    async def ListRevisions(self, request: Any) -> Any:
        (parent,) = self._names(request.parent, "services")
        services = list(self._run.services()) if parent == "-" else [self._run.service(parent)]
        found = {each.name: (service, each) for service in services for each in service.record.revisions}
        names, token = _page(sorted(found, reverse=True), request, newest_first=True)
        shown = [messages.revision_message(self._context, *found[name]) for name in names]
        return run_v2.ListRevisionsResponse.pb()(revisions=shown, next_page_token=token)

    # Jobs

    async def CreateJob(self, request: Any) -> Any:
        self._here(request.parent)
        if request.job_id in {job.spec.name for job in self._jobs.jobs()}:
            raise AlreadyExists(f"Resource '{request.job_id}' already exists.")
        return self._deploy_job(request.job, request.job_id, request.validate_only)

    async def GetJob(self, request: Any) -> Any:
        return self._job_message(self._job(request.name))

    async def ListJobs(self, request: Any) -> Any:
        self._here(request.parent)
        jobs = {job.spec.name: job for job in self._jobs.jobs()}
        names, token = _page(list(jobs), request)
        shown = [self._job_message(jobs[name]) for name in names]
        return run_v2.ListJobsResponse.pb()(jobs=shown, next_page_token=token)

    async def UpdateJob(self, request: Any) -> Any:
        (name,) = self._names(request.job.name, "jobs")
        if request.allow_missing and name not in {job.spec.name for job in self._jobs.jobs()}:
            return self._deploy_job(request.job, name, request.validate_only)
        job = self._job(request.job.name)
        _check_etag(self._job_message(job), request.job.etag)
        return self._deploy_job(request.job, name, request.validate_only, job)

    async def DeleteJob(self, request: Any) -> Any:
        message = await self.GetJob(request)
        _check_etag(message, request.etag)
        if not request.validate_only:
            self._jobs.delete(message.name.rpartition("/")[2])
        return self._done(message, request.validate_only)

    async def RunJob(self, request: Any) -> Any:
        job = self._job(request.name)
        wanted = requests.overrides(request.overrides)
        if request.validate_only:
            return self._done(self._job_message(job), validate_only=True)
        execution = self._jobs.run(job.spec.name, wanted)
        operation = _operation_id()
        self._context.store.put(_OPERATIONS, operation, execution.key.encode())
        return self._operation(operation)

    def _deploy_job(self, message: Any, name: str, validate_only: bool, before: Job | None = None) -> Any:
        known = None if before is None else before.spec
        spec, fixed, image = requests.job_spec(self._context, message, name, known)
        if validate_only:
            return self._done(message, validate_only)
        job = self._jobs.save_job(
            spec,
            fixed=fixed,
            image=image,
            by_api=before is None or before.by_api,
            labels=dict(message.labels),
            annotations=dict(message.annotations),
        )
        return self._done(self._job_message(job))

    def _job_message(self, job: Job) -> Any:
        latest = None
        with contextlib.suppress(NotFound):  # it may have been deleted
            latest = self._jobs.execution(job.spec.name, job.latest)
        return messages.job_message(self._context, job, latest)

    # Executions and tasks

    async def GetExecution(self, request: Any) -> Any:
        return messages.execution_message(self._context, self._execution(request.name))

    async def ListExecutions(self, request: Any) -> Any:
        (job,) = self._names(request.parent, "jobs")
        wanted = None if job == "-" else self._jobs.job(job).spec.name
        size = _page_size(request)
        if request.page_token and not _MARK.fullmatch(request.page_token):
            raise InvalidArgument(f"page_token is {request.page_token!r:.80}; expected one that a list has given")
        found = list(itertools.islice(self._jobs.executions(wanted, request.page_token), size + 1))
        shown = [messages.execution_message(self._context, each) for _, each in found[:size]]
        token = found[size - 1][0] if len(found) > size else ""
        return run_v2.ListExecutionsResponse.pb()(executions=shown, next_page_token=token)

    async def CancelExecution(self, request: Any) -> Any:
        job, name = self._names(request.name, "jobs", "executions")
        execution = self._execution(request.name)
        _check_etag(messages.execution_message(self._context, execution), request.etag)
        if not request.validate_only:
            execution = self._jobs.cancel(job, name)
        return self._done(messages.execution_message(self._context, execution), request.validate_only)

    async def DeleteExecution(self, request: Any) -> Any:
        job, name = self._names(request.name, "jobs", "executions")
        message = await self.GetExecution(request)
        _check_etag(message, request.etag)
        if not request.validate_only:
            self._jobs.delete_execution(job, name)
        return self._done(message, request.validate_only)

    async def GetTask(self, request: Any) -> Any:
        job, name, wanted = self._names(request.name, "jobs", "executions", "tasks")
        execution = self._jobs.execution(job, name)
        for task in execution.tasks:
            if execution.task_name(task) == wanted:
                return messages.task_message(self._context, execution, task)
        raise NotFound(f"Task {wanted!r:.80} does not exist.")

    async def ListTasks(self, request: Any) -> Any:
        execution = self._execution(request.parent)
        tasks = {f"{task.index:05d}": task for task in execution.tasks}
        names, token = _page(list(tasks), request)
        shown = [messages.task_message(self._context, execution, tasks[name]) for name in names]
        return run_v2.ListTasksResponse.pb()(tasks=shown, next_page_token=token)

    # Operations: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.operations

    async def GetOperation(self, request: Any) -> Any:
        return self._operation(*self._names(request.name, "operations"))

    async def WaitOperation(self, request: Any) -> Any:
        (name,) = self._names(request.name, "operations")
        patience = request.timeout.ToNanoseconds() / 1e9 if request.HasField("timeout") else MAX_WAIT_S
        stored = self._context.store.get(_OPERATIONS, name)
        if stored is not None and not stored.startswith(_DONE):
            job, _, execution = stored.decode().partition("/")
            with contextlib.suppress(TimeoutError):  # the answer says that it is not done
                await asyncio.wait_for(self._jobs.completed(job, execution), min(patience, MAX_WAIT_S))
        return self._operation(name)

    async def ListOperations(self, request: Any) -> Any:
        self._here(request.name)
        names, token = _page([name for name, _ in self._context.store.items(_OPERATIONS)], request)
        operations = [self._operation(name) for name in names]
        return operations_pb2.ListOperationsResponse(operations=operations, next_page_token=token)

    async def DeleteOperation(self, request: Any) -> Any:
        (name,) = self._names(request.name, "operations")
        self._operation(name)
        self._context.store.delete(_OPERATIONS, name)
        return Empty()

    # IAM: policies are kept as they are set, and grant nothing

    async def GetIamPolicy(self, request: Any) -> Any:
        stored = self._context.store.get(_POLICIES, self._policed(request.resource))
        return policy_pb2.Policy.FromString(stored) if stored else policy_pb2.Policy(version=1, etag=b"ACAB")

    async def SetIamPolicy(self, request: Any) -> Any:
        name = self._policed(request.resource)
        policy = policy_pb2.Policy()
        policy.CopyFrom(request.policy)
        policy.etag = uuid.uuid4().bytes[:8]
        self._context.store.put(_POLICIES, name, policy.SerializeToString())
        return policy

    async def TestIamPermissions(self, request: Any) -> Any:
        self._policed(request.resource)
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=request.permissions)

    def _policed(self, name: str) -> str:
        if "/jobs/" in name:
            self._job(name)
        else:
            self._service(name)
        return name

    # Helpers

    def _done(self, message: Any, validate_only: bool = False) -> Any:
        """An operation that has ended with `message`."""
        operation = operations_pb2.Operation(name=f"{self._location}/operations/{_operation_id()}", done=True)
        operation.metadata.Pack(message)
        operation.response.Pack(message)
        if not validate_only:
            self._context.store.put(
                _OPERATIONS, operation.name.rpartition("/")[2], _DONE + operation.SerializeToString()
            )
        return operation

    def _operation(self, name: str) -> Any:
        stored = self._context.store.get(_OPERATIONS, name)
        if stored is None:
            raise NotFound(f"Operation {name!r:.80} does not exist.")
        if stored.startswith(_DONE):
            return operations_pb2.Operation.FromString(stored.removeprefix(_DONE))
        execution = self._jobs.execution(*stored.decode().split("/"))
        message = messages.execution_message(self._context, execution)
        operation = operations_pb2.Operation(name=f"{self._location}/operations/{name}")
        operation.metadata.Pack(message)
        if execution.completed is not None:  # also where tasks have failed: the operation was to run the job
            operation.done = True
            operation.response.Pack(message)
        return operation

    @property
    def _location(self) -> str:
        return messages.location(self._context)

    def _here(self, parent: str) -> None:
        if parent not in (self._location, f"projects/{self._context.project}/locations/-"):
            raise NotFound(f"Location {parent!r:.200} was not found; here is {self._location}.")

    def _names(self, name: str, *kinds: str) -> list[str]:
        """The ids in a resource name below the location. Raises NotFound."""
        parts = name.removeprefix(f"{self._location}/").split("/")
        if not name.startswith(f"{self._location}/") or parts[::2] != [*kinds] or len(parts) != 2 * len(kinds):
            raise NotFound(f"Resource {name!r:.200} was not found.")
        return parts[1::2]

    def _service(self, name: str) -> Service:
        return self._run.service(*self._names(name, "services"))

    def _job(self, name: str) -> Job:
        return self._jobs.job(*self._names(name, "jobs"))

    def _execution(self, name: str) -> Execution:
        return self._jobs.execution(*self._names(name, "jobs", "executions"))


def _operation_id() -> str:
    return f"{OPERATION_PREFIX}{uuid.uuid4()}"


def _check_etag(current: Any, specified: str) -> None:
    if specified and specified != current.etag:
        raise Conflict(current.name.rpartition("/")[2], specified, current.etag)


def _updated(current: Any, wanted: Any, paths: Iterable[str]) -> Any:
    """`current` with the fields that the mask names taken from `wanted`; without a mask all of them are."""
    paths = list(paths)
    if not paths or paths == ["*"]:
        return wanted
    merged = type(current)()
    merged.CopyFrom(current)
    for path in paths:
        field = path.partition(".")[0]
        if field not in current.DESCRIPTOR.fields_by_name:
            raise InvalidArgument(f"update_mask has {path!r:.80}, which is no field of a service")
        merged.ClearField(field)
    part = type(wanted)()
    part.CopyFrom(wanted)
    for field in part.DESCRIPTOR.fields_by_name:
        if field not in {path.partition(".")[0] for path in paths}:
            part.ClearField(field)
    merged.MergeFrom(part)
    return merged


def _page_size(request: Any) -> int:
    if request.page_size < 0:
        raise InvalidArgument(f"page_size is {request.page_size}; expected at least 0")
    return int(min(request.page_size or MAX_PAGE, MAX_PAGE))


def _page(names: list[str], request: Any, newest_first: bool = False) -> tuple[list[str], str]:
    """The page of a list request, and the token of the next one: the last name of this."""
    size, token = _page_size(request), request.page_token
    if newest_first:
        start = names.index(token) + 1 if token in names else 0
    else:
        start = next((at for at, name in enumerate(names) if name > token), len(names)) if token else 0
    rest = names[start:]
    return rest[:size], rest[size - 1] if len(rest) > size else ""
