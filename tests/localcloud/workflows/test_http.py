"""What goes out on the wire, and what does a workflow see of the answer?"""

from __future__ import annotations

import asyncio
import base64
import json
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


def test_an_oauth2_call_carries_a_bearer() -> None:
    assert sent(auth={"type": "OAuth2"})["headers"]["authorization"] == "Bearer local-oauth2"


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


def test_a_response_over_2_mb_is_refused() -> None:
    error = answer_to([{"path": "/x", "responses": [{"status": 200, "body": "x" * (2 * 2**20 + 1)}]}])

    assert {"ResourceLimitError", "ResultSizeLimitExceededError"} <= set(error["tags"])


def test_a_slow_answer_times_out_on_the_virtual_clock() -> None:
    async def scenario(cloud: Cloud) -> Any:
        async with stub_server([{"path": "/x", "responses": [{"status": 200, "delay_s": 60}]}], cloud) as url:
            error = await cloud.result(request("http.get", url=url + "/x", timeout=10))
            return error, cloud.clock.time()

    error, now = on_cloud(scenario)

    assert error == {"message": "request timed out", "tags": ["TimeoutError", "OSError"]}
    assert now == pytest.approx(1_700_000_010, abs=1e-3)


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


def connector_call(call: str, routes: list[dict[str, Any]] | None = None, **args: Any) -> Any:
    """What a connector call gives; by default what the gateway received."""

    async def scenario(cloud: Cloud) -> Any:
        async with stub_server(routes or ECHO, cloud) as url:
            cloud.workflows = Workflows(replace(cloud.context, http_url=url))
            return await cloud.result(request(call, **args))

    return on_cloud(scenario)


def test_publish_posts_the_body_to_the_topic() -> None:
    message = {"messages": [{"data": base64.b64encode(b"hi").decode()}]}

    received = connector_call(
        "googleapis.pubsub.v1.projects.topics.publish", topic="projects/demo/topics/t", body=message
    )

    assert (received["method"], received["path"]) == ("POST", "/v1/projects/demo/topics/t:publish")
    assert received["json"] == message


def test_an_object_is_inserted_as_media_with_its_precondition() -> None:
    received = connector_call(
        "googleapis.storage.v1.objects.insert",
        bucket="b",
        name="claims/a b&c.json",
        uploadType="media",
        ifGenerationMatch=0,
        body={"x": 1},
    )

    assert (received["method"], received["path"]) == ("POST", "/upload/storage/v1/b/b/o")
    assert received["query"] == {"name": ["claims/a b&c.json"], "uploadType": ["media"], "ifGenerationMatch": ["0"]}
    assert received["json"] == {"x": 1}
    assert received["headers"]["content-type"] == "application/json"


def test_an_object_is_read_by_its_encoded_name() -> None:
    received = connector_call(
        "googleapis.storage.v1.objects.get", bucket="b", object='${text.url_encode("dir/a b.txt")}', alt="media"
    )

    assert received["path"] == "/storage/v1/b/b/o/dir/a b.txt"  # the server decodes %2F
    assert received["query"] == {"alt": ["media"]}


def test_a_connector_tries_a_transient_failure_again() -> None:
    responses = [{"status": 503}, {"status": 503}, {"status": 200, "headers": JSON, "body": '{"ok": true}'}]
    route = {"path": "/storage/v1/b/b/o", "responses": responses}

    assert connector_call("googleapis.storage.v1.objects.list", [route], bucket="b") == {"ok": True}


def test_a_connector_raises_a_lasting_failure() -> None:
    route = {"path": "/upload/storage/v1/b/b/o", "responses": [{"status": 412, "headers": JSON, "body": "{}"}]}

    error = connector_call(
        "googleapis.storage.v1.objects.insert", [route], bucket="b", name="n", ifGenerationMatch=0, body="x"
    )

    assert (error["code"], error["tags"]) == (412, ["HttpError"])
