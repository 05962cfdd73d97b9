"""Which Google API does `googleapis.*` call, with which request, and what comes of it?

One mechanism for all: the table below has a method's request as the API's discovery document describes it; requests go
to the local cloud, or where the operator says that a service is. An API that the table doesn't have is refused at
deployment; one that nobody serves answers 404, as an HttpError.

All apply what https://cloud.google.com/workflows/docs/connectors says of retries (GET as http.default_retry, other
methods as http.default_retry_non_idempotent) and of long-running operations (`polling.py`), and take the
`connector_params` of https://cloud.google.com/workflows/docs/reference/googleapis.

Cloud Storage, as its connector page has it (https://cloud.google.com/workflows/docs/reference/googleapis/storage/Overview):
`objects.insert` takes the content as `body` and the name as `name`, with `uploadType: "media"`; preconditions such as
`ifGenerationMatch` are arguments. Object names are put into the URL as given, so a name with a slash must be encoded
(text.url_encode) where it is part of a path. `objects.get` answers metadata, or with `alt: "media"` the content,
decoded if it is JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

from localcloud.workflows import choices, polling, values
from localcloud.workflows.auth import scopes_of
from localcloud.workflows.errors import WorkflowError, runtime_error, type_error, value_error
from localcloud.workflows.functions import Function, expect
from localcloud.workflows.http import Request, timeout_of, user_agent, with_query
from localcloud.workflows.polling import COMPUTE, EXECUTION, LongRunning, google
from localcloud.workflows.retries import Policy, is_idempotent_retry, is_non_idempotent_retry
from localcloud.workflows.thread import Thread
from localcloud.workflows.values import Value

MAX_REQUEST_S, MAX_OPERATION_S = 1800.0, 31_536_000.0
_PARAMS = ("timeout", "polling_policy", "skip_polling", "scopes")
_URL_SAFE = "%/:@!$'()*,;=~-._"  # what stands as it is; "%" because names come encoded


@dataclass(frozen=True, slots=True)
class Connector:
    """One API method. `query` are its optional arguments; those in braces in `path` are required."""

    service: str
    method: str
    path: str
    query: tuple[str, ...] = ()
    has_body: bool = False
    takes_media: bool = False  # the body is content, not a JSON message
    defaults: Mapping[str, str] | None = None  # of query arguments
    operation: LongRunning | None = None

    @property
    def in_path(self) -> tuple[str, ...]:
        """The arguments in the path."""
        return tuple(re.findall(r"\{(\w+)\}", self.path))

    @property
    def params(self) -> tuple[str, ...]:
        """All arguments."""
        return (*self.in_path, *self.query, *(("body",) if self.has_body else ()), "connector_params")


_PRECONDITIONS = (
    "ifGenerationMatch",
    "ifGenerationNotMatch",
    "ifMetagenerationMatch",
    "ifMetagenerationNotMatch",
    "userProject",
)
_OBJECT = "/storage/v1/b/{bucket}/o/{object}"
_INSTANCES = "/compute/v1/projects/{project}/zones/{zone}/instances"
_EXECUTIONS = "googleapis.workflowexecutions.v1.projects.locations.workflows.executions"

CONNECTORS: Mapping[str, Connector] = {
    "googleapis.pubsub.v1.projects.topics.publish": Connector("pubsub", "POST", "/v1/{topic}:publish", has_body=True),
    "googleapis.storage.v1.objects.get": Connector(
        "storage", "GET", _OBJECT, ("alt", "generation", "projection", "softDeleted", *_PRECONDITIONS)
    ),
    "googleapis.storage.v1.objects.insert": Connector(
        "storage",
        "POST",
        "/upload/storage/v1/b/{bucket}/o",
        ("name", "uploadType", "contentEncoding", "kmsKeyName", "predefinedAcl", "projection", *_PRECONDITIONS),
        has_body=True,
        takes_media=True,
        defaults={"uploadType": choices.upload_type()},
    ),
    "googleapis.storage.v1.objects.list": Connector(
        "storage",
        "GET",
        "/storage/v1/b/{bucket}/o",
        (
            "delimiter", "endOffset", "filter", "includeFoldersAsPrefixes", "includeTrailingDelimiter", "matchGlob",
            "maxResults", "pageToken", "prefix", "projection", "softDeleted", "startOffset", "userProject", "versions",
        ),
    ),
    "googleapis.storage.v1.objects.delete": Connector("storage", "DELETE", _OBJECT, ("generation", *_PRECONDITIONS)),
    f"{_EXECUTIONS}.create": Connector("workflowexecutions", "POST", "/v1/{parent}/executions", has_body=True),
    f"{_EXECUTIONS}.get": Connector("workflowexecutions", "GET", "/v1/{name}", ("view",)),
    "googleapis.run.v2.projects.locations.services.get": Connector("run", "GET", "/v2/{name}"),
    "googleapis.run.v2.projects.locations.jobs.run": Connector(
        "run", "POST", "/v2/{name}:run", has_body=True, operation=google("v2")
    ),
    "googleapis.compute.v1.instances.get": Connector("compute", "GET", f"{_INSTANCES}/{{instance}}"),
    "googleapis.compute.v1.instances.insert": Connector(
        "compute",
        "POST",
        _INSTANCES,
        ("requestId", "sourceInstanceTemplate", "sourceMachineImage"),
        has_body=True,
        operation=COMPUTE,
    ),
    "googleapis.compute.v1.instances.delete": Connector(
        "compute", "DELETE", f"{_INSTANCES}/{{instance}}", ("noGracefulShutdown", "requestId"), operation=COMPUTE
    ),
    "googleapis.compute.v1.instances.stop": Connector(
        "compute",
        "POST",
        f"{_INSTANCES}/{{instance}}/stop",
        ("discardLocalSsd", "noGracefulShutdown", "requestId"),
        operation=COMPUTE,
    ),
    "googleapis.dataproc.v1.projects.locations.batches.create": Connector(
        "dataproc", "POST", "/v1/{parent}/batches", ("batchId", "requestId"), has_body=True, operation=google("v1")
    ),
    "googleapis.dataproc.v1.projects.locations.batches.get": Connector("dataproc", "GET", "/v1/{name}"),
}  # fmt: skip

_RUN = Connector("workflowexecutions", "POST", "/v1/{parent}/executions", has_body=True, operation=EXECUTION)


def known() -> list[str]:
    """The names of all connectors."""
    return sorted([*CONNECTORS, f"{_EXECUTIONS}.run"])


def services() -> set[str]:
    """The Google APIs that connectors call."""
    return {connector.service for connector in CONNECTORS.values()}


def hint(name: str) -> str:
    """What to add where a function is unknown that looks like a connector: those that there are."""
    return f"; the connectors are {', '.join(known())}" if name.startswith(("googleapis.", "gke.")) else ""


@cache
def find(name: str) -> Function | None:
    """The connector as a function, if the table has it."""
    if name == f"{_EXECUTIONS}.run":
        params = ("workflow_id", "location", "project_id", "argument", "connector_params")
        return Function(name, "blocking", run_execution, params, frozenset({"workflow_id"}))
    connector = CONNECTORS.get(name)
    if connector is None:
        return None

    async def call(thread: Thread, **args: Value) -> Value:
        return await _call(thread, name, connector, args)

    return Function(name, "blocking", call, connector.params, frozenset(connector.in_path))


async def run_execution(
    thread: Thread,
    workflow_id: Value,
    location: Value = None,
    project_id: Value = None,
    argument: Value = None,
    connector_params: Value = None,
) -> Value:
    """Start a workflow, wait for it as for a long-running operation, and give its decoded result.

    Raises:
        WorkflowError: OperationError, with the execution, when it did not succeed; TimeoutError.
    """
    project = project_id or thread.run.environment["GOOGLE_CLOUD_PROJECT_ID"]
    region = location or thread.run.environment["GOOGLE_CLOUD_LOCATION"]
    workflow = expect(workflow_id, str, "workflow_id")
    parent = f"projects/{expect(project, str, 'project_id')}/locations/{expect(region, str, 'location')}"
    body = {} if argument is None else {"argument": values.to_json(argument)}
    args = {"parent": f"{parent}/workflows/{workflow}", "body": body, "connector_params": connector_params}
    return await _call(thread, f"{_EXECUTIONS}.run", _RUN, args)


@dataclass(frozen=True, slots=True)
class _Params:
    """The `connector_params` of a call."""

    timeout_s: float
    policy: polling.Policy
    skip_polling: bool
    scopes: Sequence[str]

    @classmethod
    def of(cls, value: Value, connector: Connector) -> _Params:
        """Raises TypeError and ValueError as a workflow sees them."""
        given = expect({} if value is None else value, dict, "connector_params")
        if unknown := [name for name in given if name not in _PARAMS]:
            raise value_error(f"connector_params has an unknown field {unknown[0]!r}; known are {', '.join(_PARAMS)}")
        longest = MAX_REQUEST_S if connector.operation is None else MAX_OPERATION_S
        return cls(
            timeout_of(given.get("timeout", MAX_REQUEST_S), longest),
            polling.Policy.of(given.get("polling_policy", {})),
            expect(given.get("skip_polling", False), bool, "skip_polling"),
            scopes_of(given.get("scopes")),
        )


async def _call(thread: Thread, name: str, connector: Connector, args: Mapping[str, Value]) -> Value:
    """The response's body, or what came of the operation that it starts."""
    params = _Params.of(args.get("connector_params"), connector)
    headers = user_agent({"Authorization": f"Bearer {thread.run.tokens.access(params.scopes)}"})
    request = _request(thread, connector, args, headers)
    if connector.operation is None:
        return await thread.effect(name, lambda: _in_time(thread, _answer(thread, request), params.timeout_s))
    clock, operation = thread.run.clock, connector.operation
    deadline = thread.once(f"{name} deadline", lambda: clock.time() + params.timeout_s)
    started = await thread.effect(
        f"{name} start", lambda: _in_time(thread, _answer(thread, request), deadline - clock.time())
    )
    if params.skip_polling:
        return started

    async def look() -> Value:
        url = thread.run.http.endpoints.of_service(connector.service) + _escaped(operation.path(started))
        return await _answer(thread, Request("GET", with_query(url, None, encoded=True), headers, None, MAX_REQUEST_S))

    async def finished() -> Value:
        waiting = polling.until_done(operation, started, params.policy, look, clock.sleep)
        return await _in_time(thread, waiting, deadline - clock.time())

    return operation.outcome(await thread.effect(name, finished))


async def _in_time(thread: Thread, work: Any, seconds: float) -> Value:
    try:
        return await thread.run.clock.timeout(work, max(0.0, seconds))
    except TimeoutError as error:
        raise runtime_error("TimeoutError", "the connector call timed out", prefixed=False) from error


def _request(thread: Thread, connector: Connector, args: Mapping[str, Value], headers: Mapping[str, str]) -> Request:
    path = connector.path
    for name in connector.in_path:
        path = path.replace(f"{{{name}}}", _escaped(expect(args[name], str, name)))
    query = {
        **(connector.defaults or {}),
        **{name: args[name] for name in connector.query if args.get(name) is not None},
    }
    pairs = "&".join(f"{name}={_escaped(_query_text(name, value))}" for name, value in query.items())
    url = f"{thread.run.http.endpoints.of_service(connector.service)}{path}" + (f"?{pairs}" if pairs else "")
    typed = dict(headers)
    body = _content(connector, args.get("body"), typed) if connector.has_body else None
    return Request(connector.method, with_query(url, None, encoded=True), typed, body, MAX_REQUEST_S)


def _query_text(name: str, value: Value) -> str:
    if type(value) not in (str, bool, int, float):
        raise type_error(f"{name} must be a string, number or boolean, not a {values.type_name(value)}")
    return values.to_string(value)


def _escaped(text: str) -> str:
    return quote(text, safe=_URL_SAFE)


def _content(connector: Connector, body: Value, headers: dict[str, str]) -> bytes:
    if not connector.takes_media:
        expect({} if body is None else body, dict, "body")
    headers["Content-Type"] = choices.content_type(body)
    if type(body) is bytes:
        return body
    if type(body) is str:
        return body.encode()
    return values.to_json({} if body is None else body).encode()


async def _answer(thread: Thread, request: Request) -> Value:
    """The response's body, once transient failures are over."""
    retryable = is_idempotent_retry if request.method == "GET" else is_non_idempotent_retry
    for delay in Policy().delays():
        try:
            return _body(await thread.run.http.send(request))
        except WorkflowError as error:
            if not retryable(error.value):
                raise
        await thread.run.clock.sleep(delay)
    return _body(await thread.run.http.send(request))


def _body(response: dict[str, Value]) -> Value:
    return None if response["body"] in ("", b"") else response["body"]
