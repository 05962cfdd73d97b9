"""The standard library's functions with effects: http, sys, uuid, events, retry policies and experimental.executions.

Importing this module declares all of the standard library.
"""

from __future__ import annotations

import uuid

from localcloud.workflows import connectors, stdlib_text
from localcloud.workflows.auth import authorization
from localcloud.workflows.errors import runtime_error, value_error
from localcloud.workflows.functions import FUNCTIONS as FUNCTIONS
from localcloud.workflows.functions import blocking, local
from localcloud.workflows.http import (
    DEFAULT_TIMEOUT_S,
    Request,
    encoded_body,
    text_map,
    timeout_of,
    user_agent,
    with_query,
)
from localcloud.workflows.stdlib_data import expect
from localcloud.workflows.thread import Thread
from localcloud.workflows.values import Value

MAX_SLEEP_S = 31_536_000
_SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")


@blocking("http.request")
async def _http_request(
    thread: Thread,
    method: Value,
    url: Value,
    headers: Value = None,
    body: Value = None,
    query: Value = None,
    auth: Value = None,
    timeout_: Value = DEFAULT_TIMEOUT_S,
    private_service_name: Value = None,
    ca_certificate: Value = None,
) -> Value:
    """`private_service_name` and `ca_certificate` reach networks a local cloud doesn't have; they change nothing."""
    sent = user_agent(text_map(headers, "headers"))
    content = encoded_body(body, sent)
    address = with_query(expect(url, str, "url"), query)
    if auth is not None:
        sent["Authorization"] = authorization(thread.run.tokens, auth, url)
    request = Request(expect(method, str, "method").upper(), address, sent, content, timeout_of(timeout_))
    # Without the host: a local cloud may have other ports after a restart.
    return await thread.effect(f"{request.method} {address.raw_path}", lambda: thread.run.http.send(request))


def _declare_method(method: str) -> None:
    @blocking(f"http.{method.lower()}")
    async def call(
        thread: Thread,
        url: Value,
        headers: Value = None,
        body: Value = None,
        query: Value = None,
        auth: Value = None,
        timeout_: Value = DEFAULT_TIMEOUT_S,
        private_service_name: Value = None,
        ca_certificate: Value = None,
    ) -> Value:
        return await _http_request(thread, method, url, headers, body, query, auth, timeout_)


for _method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
    _declare_method(_method)


@local("sys.now")
def _now(thread: Thread) -> Value:
    return thread.once("sys.now", lambda: float(thread.run.clock.time()))


@local("sys.get_env")
def _get_env(thread: Thread, name: Value, default_value: Value = None) -> Value:
    """Not documented: an unknown name without a default. Here: KeyError."""
    found = thread.run.environment.get(expect(name, str, "name"), default_value)
    if found is None:
        raise runtime_error("KeyError", f"key not found: {name}")
    return found


@local("uuid.generate")
def _uuid(thread: Thread) -> Value:
    return thread.once("uuid.generate", lambda: str(uuid.uuid4()))


@blocking("sys.sleep")
async def _sleep(thread: Thread, seconds: Value) -> Value:
    duration = expect(seconds, (int, float), "seconds")
    if not 0 <= duration <= MAX_SLEEP_S:
        raise value_error(f"seconds {duration} is not in [0, {MAX_SLEEP_S}]")
    await thread.sleep(duration)


@blocking("sys.sleep_until")
async def _sleep_until(thread: Thread, time: Value) -> Value:
    until = stdlib_text.parse_time(expect(time, str, "time"))
    await thread.sleep(until - _now(thread))


@blocking("sys.log")
async def _log(
    thread: Thread,
    data: Value = None,
    text: Value = None,
    json: Value = None,
    severity: Value = "DEFAULT",
    timeout_: Value = None,
) -> Value:
    given = [value for value in (data, text, json) if value is not None]
    if len(given) > 1:
        raise value_error("only one of data, text and json may be given")
    if severity not in _SEVERITIES:
        raise value_error(f"severity {severity!r} is not one of {', '.join(_SEVERITIES)}")
    if text is not None:
        expect(text, str, "text")
    if json is not None:
        expect(json, dict, "json")
    thread.once("sys.log", lambda: thread.run.log(given[0] if given else None, severity))


@local("events.create_callback_endpoint")
def _create_callback(thread: Thread, http_callback_method: Value = "POST") -> Value:
    method = expect(http_callback_method, str, "http_callback_method")
    if method not in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"):
        raise value_error(f"http_callback_method {method!r} is no HTTP method")
    return {"url": thread.once("callback", lambda: thread.run.callbacks.create(method))}


@blocking("events.await_callback")
async def _await_callback(thread: Thread, callback: Value, timeout_: Value = 43200.0) -> Value:
    url = expect(expect(callback, dict, "callback").get("url"), str, "callback.url")
    seconds = timeout_of(timeout_, MAX_SLEEP_S)
    clock = thread.run.clock
    deadline = thread.once("await_callback", lambda: clock.time() + seconds)

    async def received() -> Value:
        try:
            return await clock.timeout(thread.run.callbacks.wait(url), deadline - clock.time())
        except TimeoutError as error:
            raise runtime_error("TimeoutError", f"no callback within {seconds:g} s") from error

    request = await thread.effect("callback received", received)
    thread.run.callbacks.taken(url)
    return request


@blocking("experimental.executions.run")
async def _run(
    thread: Thread, workflow_id: Value, project_id: Value = None, location: Value = None, argument: Value = None
) -> Value:
    return await connectors.run_execution(thread, workflow_id, location, project_id, argument)


@blocking("experimental.executions.map")
async def _map(
    thread: Thread, workflow_id: Value, arguments: Value, project_id: Value = None, location: Value = None
) -> Value:
    """Not documented: how many run at a time. Here: one after the other."""
    results = []
    for argument in expect(arguments, list, "arguments"):
        results.append(await connectors.run_execution(thread, workflow_id, location, project_id, argument))
    return results
