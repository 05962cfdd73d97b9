"""What goes out on the wire, and what does a workflow see of the answer?"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from localcloud.faults import Fault
from localcloud.workflows.state import Workflows
from tests.localcloud.workflows.stub_server import stub_server
from tests.localcloud.workflows.workflows_cloud import Cloud, on_cloud

ECHO = [{"path": "/{tail:.*}", "echo": True}]
JSON = {"Content-Type": "application/json"}


def request(call: str, **args: Any) -> str:
    """A workflow of one call, which returns the call's result or the error."""
    step = {"call": call, "args": args, "result": "r"}
    handler = {"as": "e", "steps": [{"failed": {"return": "${e}"}}]}
    return json.dumps([{"t": {"try": step, "except": handler}}, {"out": {"return": "${r}"}}])


def answer_to(routes: list[dict[str, Any]], path: str = "/x", call: str = "http.post", **args: Any) -> Any:
    async def scenario(cloud: Cloud) -> Any:
        async with stub_server(routes, cloud) as url:
            return await cloud.result(request(call, url=url + path, **args))

    return on_cloud(scenario)


def sent(**args: Any) -> Any:
    """What the server received."""
    return answer_to(ECHO, **args)["body"]


@pytest.mark.parametrize(
    ("body", "content_type", "text", "received_type"),
    [
        pytest.param({"a": 1}, None, '{"a":1}', "application/json; charset=utf-8", id="map"),
        pytest.param("text", None, '"text"', "application/json; charset=utf-8", id="string"),
        pytest.param('${text.encode("raw")}', None, "raw", "application/octet-stream", id="bytes"),
        pytest.param([1], "application/vnd.x+json", "[1]", "application/vnd.x+json", id="own json type"),
        pytest.param("a=b c&d=é", "application/x-www-form-urlencoded", "a=b%20c&d=%C3%A9", None, id="form"),
        pytest.param("<b>", "text/html", "<b>", "text/html", id="text"),
    ],
)
def test_the_body_follows_its_type_and_content_type(
    body: Any, content_type: str | None, text: str, received_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}

    received = sent(body=body, headers=headers)

    assert received["text"] == text
    assert received["headers"]["content-type"] == (received_type or content_type)


@pytest.mark.parametrize(
    ("args", "tag"),
    [
        pytest.param({"body": {"a": 1}, "headers": {"content-type": "text/plain"}}, "TypeError", id="map as text"),
        pytest.param({"body": "{}", "headers": {"Content-Type": "application/json"}}, "TypeError", id="string as json"),
        pytest.param({"body": "x", "headers": {"Content-Type": "image/png"}}, "ValueError", id="other type"),
        pytest.param({"headers": {"X": 1}}, "TypeError", id="header that is no string"),
        pytest.param({"headers": {"X": "a\nb"}}, "ValueError", id="header with a line break"),
        pytest.param({"timeout": 1801}, "ValueError", id="timeout over the limit"),
        pytest.param({"timeout": "1"}, "TypeError", id="timeout that is no number"),
        pytest.param({"auth": {"type": "Basic"}}, "AuthError", id="unknown auth"),
        pytest.param({"auth": {"type": "OIDC", "scopes": "a"}}, "AuthError", id="scopes of an identity token"),
        pytest.param({"auth": "OIDC"}, "TypeError", id="auth that is no map"),
        pytest.param({"query": [1]}, "TypeError", id="query that is no map"),
    ],
)
def test_a_request_that_cannot_be_made_raises(args: dict[str, Any], tag: str) -> None:
    assert tag in answer_to(ECHO, **args)["tags"]


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/x", "http://", "http://host:port/"])
def test_a_bad_url_is_a_value_error(url: str) -> None:
    error = on_cloud(lambda cloud: cloud.result(request("http.get", url=url)))

    assert "ValueError" in error["tags"]


def test_query_parameters_are_added_to_those_of_the_url() -> None:
    received = answer_to(ECHO, "/x?a=1", "http.get", query={"b": [1, 2.5], "c": True, "d": "x y&z"})["body"]

    assert received["query"] == {"a": ["1"], "b": ["1", "2.5"], "c": ["true"], "d": ["x y&z"]}


def test_the_user_agent_is_that_of_workflows() -> None:
    own = "GoogleCloudWorkflows; (+https://cloud.google.com/workflows/docs)"

    assert sent()["headers"]["user-agent"] == own
    assert sent(headers={"user-agent": "mine/1"})["headers"]["user-agent"] == f"mine/1 {own}"


def test_an_oidc_token_is_for_the_url_or_the_given_audience_and_from_the_service_account() -> None:
    async def scenario(cloud: Cloud) -> None:
        async with stub_server(ECHO, cloud) as url:
            source = request("http.get", url=url + "/x", auth={"type": "OIDC"})
            header = (await cloud.result(source, service_account="runner"))["body"]["headers"]["authorization"]
            assert cloud.context.identity.verify(header, url + "/x") == "runner@demo.iam.gserviceaccount.com"

            source = request("http.get", url=url + "/x", auth={"type": "OIDC", "audience": "https://a"})
            header = (await cloud.result(source))["body"]["headers"]["authorization"]
            assert cloud.context.identity.verify(header, "https://a")

    on_cloud(scenario)


@pytest.mark.parametrize("scopes", [{}, {"scope": "a"}, {"scopes": "a, b c"}, {"scopes": ["a", "b"]}])
def test_an_oauth2_call_carries_an_access_token_of_the_service_account(scopes: dict[str, Any]) -> None:
    async def scenario(cloud: Cloud) -> str:
        async with stub_server(ECHO, cloud) as url:
            source = request("http.get", url=url + "/x", auth={"type": "OAuth2", **scopes})
            header = (await cloud.result(source, service_account="runner"))["body"]["headers"]["authorization"]
            return cloud.context.identity.verify_access_token(header)

    assert on_cloud(scenario) == "runner@demo.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    ("status", "headers", "text", "body"),
    [
        pytest.param(200, JSON, '{"big": 18446744073709551616}', {"big": 2.0**64}, id="json"),
        pytest.param(200, JSON, "{broken", "{broken", id="broken json"),
        pytest.param(200, {"Content-Type": "application/problem+json"}, "{}", "{}", id="like json"),
        pytest.param(302, {"Location": "/x", "Content-Type": "text/plain"}, "go", "go", id="redirect"),
        pytest.param(204, {}, "", "", id="empty"),
    ],
)
def test_only_json_is_decoded(status: int, headers: dict[str, str], text: str, body: Any) -> None:
    response = {"status": status, "headers": headers, "body": text}
    answer = answer_to([{"path": "/x", "responses": [response]}])

    assert answer["body"] == body
    assert answer["code"] == status


def test_header_names_are_canonical() -> None:
    response = {"status": 200, "headers": {"x-CUSTOM-id": "7"}, "body": ""}

    assert answer_to([{"path": "/x", "responses": [response]}])["headers"]["X-Custom-Id"] == "7"


def test_a_header_that_is_no_text_does_not_end_the_execution() -> None:
    async def scenario(cloud: Cloud) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nX-Name: caf\xe9\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            return await cloud.result(request("http.get", url=f"http://{host}:{port}"))

    assert on_cloud(scenario)["headers"]["X-Name"] == "caf\ufffd"


def test_an_unhandled_error_with_a_binary_body_ends_the_execution() -> None:
    call = {"call": "http.get", "args": {"url": "${args.url}"}}
    caught = {"as": "e", "steps": [{"again": {"raise": "${e}"}}]}
    branch = {"for": {"value": "v", "in": [1], "steps": [{"get": call}]}}
    steps = {"unhandled": call, "raised-again": {"try": call, "except": caught}, "branch": {"parallel": branch}}
    headers = {"Content-Type": "text/plain; charset=ascii"}
    routes = [{"path": "/x", "responses": [{"status": 500, "headers": headers, "body": "é"}]}]

    async def scenario(cloud: Cloud) -> dict[str, Any]:
        async with stub_server(routes, cloud) as url:
            return {
                name: await cloud.error(
                    json.dumps({"main": {"params": ["args"], "steps": [{"s": step}]}}), {"url": url + "/x"}, name=name
                )
                for name, step in steps.items()
            }

    errors = on_cloud(scenario)
    assert [errors[name]["body"] for name in ("unhandled", "raised-again")] == ["w6k=", "w6k="]
    (failed,) = errors["branch"]["branches"]
    assert json.loads(failed["error"]["payload"])["code"] == 500


def test_a_response_over_2_mb_ends_the_execution_past_every_try() -> None:
    async def scenario(cloud: Cloud) -> Any:
        routes = [{"path": "/x", "responses": [{"status": 200, "body": "x" * (2 * 2**20 + 1)}]}]
        async with stub_server(routes, cloud) as url:
            return await cloud.error(request("http.get", url=url + "/x"))

    assert {"ResourceLimitError", "ResultSizeLimitExceededError"} <= set(on_cloud(scenario)["tags"])


def test_a_slow_answer_times_out_on_the_virtual_clock() -> None:
    async def scenario(cloud: Cloud) -> Any:
        async with stub_server([{"path": "/x", "responses": [{"status": 200, "delay_s": 60}]}], cloud) as url:
            error = await cloud.result(request("http.get", url=url + "/x", timeout=10))
            return error, cloud.clock.time()

    error, now = on_cloud(scenario)

    assert error == {"message": "request timed out", "tags": ["TimeoutError", "OSError"]}
    assert now == pytest.approx(1_700_000_010, abs=1e-3)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n"
Script = Callable[[Cloud, asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def answered_by(script: Script, *, scheme: str = "http", **args: Any) -> Any:
    """What a workflow sees of a peer that speaks for itself."""

    async def scenario(cloud: Cloud) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(cloud, reader, writer)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            execution = await cloud.run(request("http.get", url=f"{scheme}://{host}:{port}", **args))
            # A limit that is exhausted passes every try.
            answer = json.loads(execution.result or (execution.error.payload if execution.error else "null"))
            assert await cloud.result("- out:\n    return: 1\n") == 1  # the engine keeps serving
            return answer

    return on_cloud(scenario)


async def hang(cloud: Cloud, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    cloud.sleeping_calls = lambda: 1
    await reader.read()


async def drip(cloud: Cloud, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(HEAD + b"\r\n")
    for _ in range(5):
        writer.write(b"x")
        await writer.drain()
        cloud.clock.advance(seconds=3)
    await reader.read()


def saying(answer: bytes) -> Script:
    async def script(_: Cloud, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(2**16)
        writer.write(answer)
        await writer.drain()

    return script


@pytest.mark.parametrize(
    ("script", "tag"),
    [
        pytest.param(hang, "TimeoutError", id="never answers"),
        pytest.param(drip, "TimeoutError", id="drips"),
        pytest.param(saying(b""), "ConnectionError", id="hangs up"),
        pytest.param(saying(HEAD + b"\r\nshort"), "ConnectionError", id="sends less than it says"),
        pytest.param(saying(HEAD + b"\r\n123456789 and more"), "ConnectionError", id="sends more than it says"),
        pytest.param(saying(b"SSH-2.0-x\r\n\r\n"), "ConnectionError", id="speaks something else"),
        pytest.param(saying(HEAD + b"X: " + b"x" * 2**20 + b"\r\n\r\n"), "ConnectionError", id="endless header"),
        pytest.param(saying(HEAD + b"Content-Encoding: gzip\r\n\r\nnot gzip!"), "ConnectionError", id="false gzip"),
    ],
)
def test_a_peer_that_misbehaves_is_the_documented_error(script: Script, tag: str) -> None:
    error = answered_by(script, timeout=10)

    assert tag in error["tags"]
    assert len(error["message"]) < 400


def test_a_small_answer_that_unpacks_to_much_is_too_large() -> None:
    packed = gzip.compress(bytes(64 * 2**20))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)

    assert "ResultSizeLimitExceededError" in answered_by(saying(head + packed))["tags"]


def test_a_header_that_comes_twice_has_both_values() -> None:
    answer = answered_by(saying(b"HTTP/1.1 200 OK\r\nA: 1\r\na: 2\r\nContent-Length: 0\r\n\r\n"))

    assert answer["headers"]["A"] == "1, 2"


def test_tls_with_a_peer_that_has_none_fails_to_connect() -> None:
    assert "ConnectionFailedError" in answered_by(saying(HEAD), scheme="https")["tags"]


def test_a_port_where_nobody_listens_fails_to_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    error = on_cloud(lambda cloud: cloud.result(request("http.get", url=f"http://localhost:{port}")))

    assert "ConnectionFailedError" in error["tags"]


@pytest.mark.parametrize("url", ["http://example.com", "http://10.0.0.1:80/x", "http://localhost.evil.com", "http://1"])
def test_nothing_leaves_the_machine(url: str) -> None:
    error = on_cloud(lambda cloud: cloud.result(request("http.get", url=url)))

    assert "ConnectionFailedError" in error["tags"]
    assert "--allow-host" in error["message"]


def test_an_allowed_host_is_called() -> None:
    async def scenario(cloud: Cloud) -> Any:
        cloud.workflows = Workflows(replace(cloud.context, allowed_hosts=("*.invalid",)))
        return await cloud.result(request("http.get", url="http://host.invalid/"))

    error = on_cloud(scenario)

    assert "ConnectionFailedError" in error["tags"]
    assert "--allow-host" not in error["message"]  # it was tried


@pytest.mark.parametrize(
    "host", ["storage.googleapis.com", "us-central1-run.googleapis.com", "run.us-central1.rep.googleapis.com"]
)
def test_googles_apis_are_those_of_the_local_cloud(host: str) -> None:
    async def scenario(cloud: Cloud) -> Any:
        async with stub_server(ECHO, cloud) as url:
            cloud.workflows = Workflows(replace(cloud.context, http_url=url))
            return await cloud.result(request("http.get", url=f"https://{host}/v1/a%2Fb?x=%2F"))

    received = on_cloud(scenario)["body"]

    assert (received["path"], received["query"]) == ("/v1/a/b", {"x": ["/"]})


def test_a_connection_that_breaks_is_a_connection_error() -> None:
    assert "ConnectionError" in answer_to([{"path": "/x", "truncate": True}], call="http.get")["tags"]


@pytest.mark.parametrize(("action", "reached"), [("fail", 0), ("fail_after", 1)])
def test_a_fault_answers_before_or_after_the_call(action: Any, reached: int) -> None:
    async def scenario(cloud: Cloud) -> Any:
        responses = [{"status": 200, "body": "first"}, {"status": 200, "body": "second"}]
        async with stub_server([{"path": "/x", "responses": responses}], cloud) as url:
            cloud.context.faults.add(Fault("workflows.http.call", "*/x", action, status=500))
            failed = await cloud.result(request("http.get", url=url + "/x"))
            return failed, await cloud.result(request("http.get", url=url + "/x"))

    failed, after = on_cloud(scenario)

    assert failed["code"] == 500
    assert failed["tags"] == ["HttpError"]
    assert after["body"] == ("second" if reached else "first")


def test_a_delayed_call_takes_virtual_time() -> None:
    async def scenario(cloud: Cloud) -> float:
        async with stub_server(ECHO, cloud) as url:
            cloud.context.faults.add(Fault("workflows.http.call", action="delay", delay_s=30))
            await cloud.result(request("http.get", url=url + "/x"))
            return cloud.clock.time()

    assert on_cloud(scenario) == pytest.approx(1_700_000_030, abs=1e-3)
