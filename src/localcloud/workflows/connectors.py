"""Which Google API does `googleapis.*` call, and with which request?

The table is data: a call's method, path and arguments. Requests go to the local cloud's gateway. An API the table does
not have is refused at deployment.

Cloud Storage, as its connector page has it (https://cloud.google.com/workflows/docs/reference/googleapis/storage/Overview):
`objects.insert` takes the content as `body` and the name as `name`, with `uploadType: "media"`; preconditions such as
`ifGenerationMatch` are arguments. Object names are put into the URL as given, so a name with a slash must be encoded
(text.url_encode) where it is part of a path. `objects.get` answers metadata, or with `alt: "media"` the content,
decoded if it is JSON. Not documented: an insert without `uploadType` (here the same as media) and the object's content
type (here application/json for a map or list, text/plain for a string, application/octet-stream for bytes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

from localcloud.workflows import values
from localcloud.workflows.errors import WorkflowError, runtime_error, type_error
from localcloud.workflows.functions import Function
from localcloud.workflows.http import Request, timeout_of, user_agent, with_query
from localcloud.workflows.retries import Policy, is_idempotent_retry, is_non_idempotent_retry
from localcloud.workflows.stdlib_data import expect
from localcloud.workflows.thread import Thread
from localcloud.workflows.values import Value

ACCESS_TOKEN = "Bearer local-oauth2"  # noqa: S105  # no secret: the local cloud takes any
_DEFAULT_TIMEOUT_S, _MAX_LRO_TIMEOUT_S = 1800.0, 31_536_000.0
_URL_SAFE = "%/:@!$'()*,;=~-._"  # what stands as it is; "%" because names come encoded


@dataclass(frozen=True, slots=True)
class Connector:
    """One API method. `query` are its optional arguments; those in braces in `path` are required."""

    method: str
    path: str
    query: tuple[str, ...] = ()
    has_body: bool = False
    defaults: Mapping[str, str] | None = None  # of query arguments

    @property
    def in_path(self) -> tuple[str, ...]:
        """The arguments in the path."""
        return tuple(re.findall(r"\{(\w+)\}", self.path))


_PRECONDITIONS = (
    "ifGenerationMatch",
    "ifGenerationNotMatch",
    "ifMetagenerationMatch",
    "ifMetagenerationNotMatch",
    "userProject",
)
_OBJECT = "/storage/v1/b/{bucket}/o/{object}"
_EXECUTIONS = "googleapis.workflowexecutions.v1.projects.locations.workflows.executions"

CONNECTORS: Mapping[str, Connector] = {
    "googleapis.pubsub.v1.projects.topics.publish": Connector("POST", "/v1/{topic}:publish", has_body=True),
    "googleapis.storage.v1.objects.get": Connector(
        "GET", _OBJECT, ("alt", "generation", "projection", "softDeleted", *_PRECONDITIONS)
    ),
    "googleapis.storage.v1.objects.insert": Connector(
        "POST",
        "/upload/storage/v1/b/{bucket}/o",
        ("name", "uploadType", "contentEncoding", "kmsKeyName", "predefinedAcl", "projection", *_PRECONDITIONS),
        has_body=True,
        defaults={"uploadType": "media"},
    ),
    "googleapis.storage.v1.objects.list": Connector(
        "GET",
        "/storage/v1/b/{bucket}/o",
        (
            "delimiter", "endOffset", "filter", "includeFoldersAsPrefixes", "includeTrailingDelimiter", "matchGlob",
            "maxResults", "pageToken", "prefix", "projection", "softDeleted", "startOffset", "userProject", "versions",
        ),
    ),
    "googleapis.storage.v1.objects.delete": Connector("DELETE", _OBJECT, ("generation", *_PRECONDITIONS)),
    f"{_EXECUTIONS}.create": Connector("POST", "/v1/{parent}/executions", has_body=True),
    f"{_EXECUTIONS}.get": Connector("GET", "/v1/{name}", ("view",)),
    f"{_EXECUTIONS}.cancel": Connector("POST", "/v1/{name}:cancel", has_body=True),
}  # fmt: skip


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
        return await thread.effect(name, lambda: _call(thread, connector, args))

    params = (*connector.in_path, *connector.query, *(("body",) if connector.has_body else ()), "connector_params")
    return Function(name, "blocking", call, params, frozenset(connector.in_path))


async def _call(thread: Thread, connector: Connector, args: Mapping[str, Value]) -> Value:
    options = args.get("connector_params") or {}
    timeout_s = timeout_of(expect(options, dict, "connector_params").get("timeout", _DEFAULT_TIMEOUT_S))
    path = connector.path
    for name in connector.in_path:
        path = path.replace(f"{{{name}}}", _escaped(expect(args[name], str, name)))
    query = {
        **(connector.defaults or {}),
        **{name: args[name] for name in connector.query if args.get(name) is not None},
    }
    pairs = "&".join(f"{name}={_escaped(values.to_string(value))}" for name, value in query.items())
    url = f"{thread.run.http_url}{path}" + (f"?{pairs}" if pairs else "")
    headers = user_agent({"Authorization": ACCESS_TOKEN})
    body = _content(args.get("body"), headers) if connector.has_body else None
    request = Request(connector.method, with_query(url, None, encoded=True), headers, body, timeout_s)
    return await _with_retries(thread, request)


def _escaped(text: str) -> str:
    return quote(text, safe=_URL_SAFE)


def _content(body: Value, headers: dict[str, str]) -> bytes:
    if type(body) is bytes:
        headers["Content-Type"] = "application/octet-stream"
        return body
    if type(body) is str:
        headers["Content-Type"] = "text/plain; charset=utf-8"
        return body.encode()
    headers["Content-Type"] = "application/json"
    return values.to_json({} if body is None else body).encode()


async def _with_retries(thread: Thread, request: Request) -> Value:
    """The response's body. Connectors try transient failures again by themselves, as http.default_retry would."""
    retryable = is_non_idempotent_retry if request.method == "POST" else is_idempotent_retry
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
    options = expect(connector_params or {}, dict, "connector_params")
    timeout_s = timeout_of(options.get("timeout", _DEFAULT_TIMEOUT_S), _MAX_LRO_TIMEOUT_S)
    project = project_id or thread.run.environment["GOOGLE_CLOUD_PROJECT_ID"]
    region = location or thread.run.environment["GOOGLE_CLOUD_LOCATION"]
    parent = f"projects/{project}/locations/{region}/workflows/{expect(workflow_id, str, 'workflow_id')}"
    create, get = CONNECTORS[f"{_EXECUTIONS}.create"], CONNECTORS[f"{_EXECUTIONS}.get"]
    body = {} if argument is None else {"argument": values.to_json(argument)}
    started = await thread.effect(
        f"{_EXECUTIONS}.create", lambda: _call(thread, create, {"parent": parent, "body": body})
    )
    if options.get("skip_polling"):
        return started

    async def poll() -> Value:
        execution = started
        for delay in _polling(options.get("polling_policy") or {}):
            if execution["state"] not in ("ACTIVE", "QUEUED"):
                return execution
            await thread.run.clock.sleep(delay)
            execution = await _call(thread, get, {"name": started["name"]})
        raise AssertionError("polling has no end")

    async def finished() -> Value:
        try:
            return await thread.run.clock.timeout(poll(), timeout_s)
        except TimeoutError as error:
            raise runtime_error("TimeoutError", f"the execution took longer than {timeout_s:g} s") from error

    return _outcome(await thread.effect(f"{_EXECUTIONS}.run", finished))


def _polling(options: Value) -> Any:
    settings = {"initial_delay": 1.0, "multiplier": 1.25, "max_delay": 60.0, **expect(options, dict, "polling_policy")}
    if not all(values.is_number(setting) for setting in settings.values()):
        raise type_error("the fields of polling_policy must be numbers")
    delay = settings["initial_delay"]
    while True:
        yield min(delay, settings["max_delay"])
        delay *= settings["multiplier"]


def _outcome(execution: dict[str, Any]) -> Value:
    if execution["state"] == "SUCCEEDED":
        return values.from_json(execution.get("result") or "null")
    reason = (execution.get("error") or {}).get("context", "")
    message = f"execution {execution['name']} ended as {execution['state']}: {reason}".removesuffix(": ")
    raise runtime_error("OperationError", message, operation=execution)
