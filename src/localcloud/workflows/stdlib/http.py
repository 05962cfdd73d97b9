"""`http`: requests, and retry policies for them. https://cloud.google.com/workflows/docs/reference/stdlib/http/request"""

from __future__ import annotations

from localcloud.workflows import retries
from localcloud.workflows.auth import authorization
from localcloud.workflows.functions import blocking, constant, expect, predicate
from localcloud.workflows.http import (
    DEFAULT_TIMEOUT_S,
    Request,
    encoded_body,
    text_map,
    timeout_of,
    user_agent,
    with_query,
)
from localcloud.workflows.thread import Thread
from localcloud.workflows.values import Value


@blocking("http.request")
async def _request(
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
        return await _request(thread, method, url, headers, body, query, auth, timeout_)


for _method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
    _declare_method(_method)

for _name, _predicate in (
    ("http.default_retry", retries.IDEMPOTENT),
    ("http.default_retry_non_idempotent", retries.NON_IDEMPOTENT),
):
    predicate(_predicate, retries.PREDICATES[_predicate.name])
    constant(_name, {"predicate": _predicate, "max_retries": 5, "backoff": retries.DEFAULT_BACKOFF})
