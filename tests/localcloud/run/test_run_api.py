"""Does a request reach its service as it was sent, and its answer the caller?"""

from __future__ import annotations

import gzip
import http.client
import json
import signal
import socket
import textwrap

import pytest
import urllib3

from localcloud.faults import Fault
from localcloud.run import api
from tests.localcloud.run.run_bench import until


def raw(bench, request: bytes) -> http.client.HTTPResponse:
    """The answer to a request written byte by byte."""
    connection = socket.create_connection(("127.0.0.1", bench.gateway.http_port), timeout=30)
    connection.sendall(request)
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response


def test_a_request_starts_an_instance_and_is_answered_by_it(bench):
    bench.deploy()
    before = bench.instances()

    answer = bench.get("/hello")

    assert before == []
    assert answer.status == 200
    assert answer.json()["path"] == "/hello"
    assert len(bench.instances()) == 1


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_method_and_body_arrive_as_sent(warm, method: str):
    seen = warm.get("/", method=method, body=b"\x00\xff body").json()

    assert seen["method"] == method
    assert seen["body"] == "\x00ÿ body"


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("", "/"),
        ("/", "/"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2fb", "/a%2fb"),
        ("/%2e%2e/%2e%2e/etc/passwd", "/%2e%2e/%2e%2e/etc/passwd"),
        ("/../../secret", "/../../secret"),
        ("//evil.example/x", "//evil.example/x"),
        ("/a//b/", "/a//b/"),
        ("/%00%0d%0aX-Injected:%201", "/%00%0d%0aX-Injected:%201"),
        ("/%E2%82%AC?q=%20a+b&&c=d=e?f", "/%E2%82%AC?q=%20a+b&&c=d=e?f"),
        ("/@user:pass/;x=1", "/@user:pass/;x=1"),
        ("?only=query", "/?only=query"),
    ],
)
def test_path_and_query_arrive_as_the_bytes_they_were_sent_as(warm, sent: str, seen: str):
    answer = raw(warm, f"GET /run/echo{sent} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    assert json.loads(answer.read())["path"] == seen


@pytest.mark.parametrize(
    "path",
    ["/run", "/run/", "/run//x", "/run/%65cho/", "/run/ECHO/", "/run/../run/echo/", "/run/no-such/x", "/%72un/echo/"],
)
def test_a_path_that_names_no_service_is_not_found(bench, path: str):
    bench.deploy()

    answer = raw(bench, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    assert answer.status == 404
    assert json.loads(answer.read())["error"]["status"] == "NOT_FOUND"
    assert bench.instances() == []


@pytest.mark.parametrize("target", [b"/run/echo/\xff\xfe", b"/run/\xc3\xa9/", b"/run/echo/a b"])
def test_a_path_that_is_not_ascii_is_refused(bench, target: bytes):
    bench.deploy()

    answer = raw(bench, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert answer.status in (400, 404)
    assert bench.instances() == []


def test_headers_of_the_connection_stay_behind_and_all_others_pass(warm):
    answer = raw(
        warm,
        b"POST /run/echo/ HTTP/1.1\r\nHost: localhost:1\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n"
        b"Keep-Alive: 1\r\nX-Twice: a\r\nX-Twice: b\r\nX-Empty:\r\nX-Utf: \xe2\x82\xac\r\nContent-Length: 2\r\n\r\nok",
    )

    seen = [(name.lower(), value) for name, value in json.loads(answer.read())["headers"]]
    names = {name for name, _ in seen}
    assert names.isdisjoint({"connection", "x-hop", "te", "keep-alive", "accept-encoding", "user-agent", "accept"})
    assert [value for name, value in seen if name == "x-twice"] == ["a", "b"]
    assert ("host", "localhost:1") in seen
    assert ("x-empty", "") in seen
    assert ("content-length", "2") in seen
    assert ("x-forwarded-proto", "http") in seen
    assert answer.headers.get_all("set-cookie") == ["a=1", "b=2"]


def test_a_head_request_gets_the_headers_alone(warm):
    answer = warm.get("/", method="HEAD")

    assert answer.status == 200
    assert int(answer.headers["content-length"]) > 0
    assert answer.data == b""


def test_a_large_body_without_a_length_is_streamed(warm):
    answer = warm.get("/", method="POST", body=iter([b"x" * 100_000] * 30), chunked=True)

    assert len(answer.json()["body"]) == 3_000_000


def test_a_body_larger_than_cloud_run_takes_is_refused(warm, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "MAX_REQUEST_BYTES", 1000)

    announced = raw(warm, b"POST /run/echo/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n")
    streamed = warm.get("/", method="POST", body=iter([b"x" * 100] * 11), chunked=True)
    largest = warm.get("/", method="POST", body=iter([b"x" * 100] * 10), chunked=True)

    assert (announced.status, streamed.status, largest.status) == (413, 413, 200)


STREAMING = textwrap.dedent("""
    import os, pathlib, socket, time
    server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
    while True:
        connection, _ = server.accept()
        if not connection.recv(65536):
            continue
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n5\\r\\nfirst\\r\\n")
        while not pathlib.Path(os.environ["FILES"], "go").exists():
            time.sleep(0.005)
        if pathlib.Path(os.environ["FILES"], "die").exists():
            os._exit(1)
        connection.sendall(b"6\\r\\nsecond\\r\\n0\\r\\n\\r\\n")
        connection.close()
""")


def test_an_answer_is_passed_on_as_it_comes(bench):
    bench.deploy(script=STREAMING)

    answer = bench.get("/", preload_content=False)
    first = answer.read1(100)
    bench.finish("go")

    assert first == b"first"
    assert answer.read() == b"second"


def test_an_answer_whose_instance_dies_is_broken_off_not_completed(bench):
    bench.deploy(script=STREAMING)

    connection = http.client.HTTPConnection("127.0.0.1", bench.gateway.http_port, timeout=30)
    connection.request("GET", "/run/echo/")
    answer = connection.getresponse()
    first = answer.read1(5)
    bench.finish("die")
    bench.finish("go")

    assert first == b"first"
    with pytest.raises(http.client.IncompleteRead):
        answer.read()


def test_a_compressed_answer_passes_as_it_is(bench):
    script = textwrap.dedent("""
        import gzip, os, socket
        body = gzip.compress(b"hello")
        server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
        while True:
            connection, _ = server.accept()
            if connection.recv(65536):
                connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Encoding: gzip\\r\\n\\r\\n" + body)
            connection.close()
    """)
    bench.deploy(script=script)

    answer = bench.get("/", decode_content=False)

    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.data) == b"hello"


def test_an_answer_that_is_no_http_is_a_503(bench):
    script = textwrap.dedent("""
        import os, socket
        server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
        while True:
            connection, _ = server.accept()
            if connection.recv(65536):
                connection.sendall(b"hello\\r\\n\\r\\n")
            connection.close()
    """)
    bench.deploy(script=script)

    answer = bench.get("/")

    assert answer.status == 503
    assert answer.json()["error"]["message"].startswith("The request failed because either the HTTP response was")


def test_a_private_service_refuses_a_request_without_a_token(bench):
    bench.deploy(public=False)

    answer = bench.get("/")

    assert answer.status == 403
    error = answer.json()["error"]
    assert error["message"].startswith("The request was not authenticated. Either allow unauthenticated invocations")
    assert "auth: {type: OIDC}" in error["hint"]
    assert bench.instances() == []


@pytest.mark.parametrize("audience", ["other", "echo/path", "ech"])
def test_a_private_service_refuses_a_token_for_another_audience(bench, audience: str):
    bench.deploy(public=False)
    token = bench.context.identity.mint(bench.context.service_url(audience), "caller@x")

    answer = bench.get("/", headers={"Authorization": f"Bearer {token}"})

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert "audience" in answer.json()["error"]["hint"]


def test_a_private_service_sees_its_caller_but_not_a_usable_token(bench):
    bench.deploy(public=False)
    token = bench.context.identity.mint(bench.context.service_url("echo"), "caller@x")

    answer = bench.get("/", headers={"Authorization": f"Bearer {token}"})

    seen = dict(answer.json()["headers"])["Authorization"]
    assert answer.status == 200
    assert seen == "Bearer " + token.rpartition(".")[0] + ".SIGNATURE_REMOVED_BY_GOOGLE"


def test_a_service_that_takes_too_long_is_given_up(bench):
    bench.deploy(timeout_s=300)
    answer = bench.background("/wait/long")
    bench.begun("long")

    bench.clock.advance(seconds=301)

    assert answer.result().status == 504
    assert answer.result().json()["error"]["message"] == "upstream request timeout"
    until(lambda: bench.call(bench.run.is_idle))


def test_the_death_of_an_instance_is_a_503_to_its_callers_and_sent_to_nobody_else(bench):
    bench.deploy(max_instances=2)
    bench.get("/")  # so that the next one goes over a connection that was used before
    answers = [bench.background(f"/wait/{name}") for name in "ab"]
    bench.begun("a")
    bench.begun("b")

    bench.call(bench.instances()[0].kill)

    assert [answer.result().status for answer in answers] == [503, 503]
    assert "connection to the instance had an error" in answers[0].result().json()["error"]["message"]
    until(lambda: bench.instances() == [])
    assert bench.get("/").status == 200


def test_a_caller_who_goes_away_takes_the_request_with_him(bench):
    script = textwrap.dedent("""
        import os, pathlib, socket
        server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
        while True:
            connection, _ = server.accept()
            if connection.recv(65536):
                pathlib.Path(os.environ["FILES"], "r.begun").touch()
                if connection.recv(1) == b"":
                    pathlib.Path(os.environ["FILES"], "dropped").touch()
    """)
    bench.deploy(script=script)
    caller = socket.create_connection(("127.0.0.1", bench.gateway.http_port))
    caller.sendall(b"GET /run/echo/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
    bench.begun("r")

    caller.close()

    until((bench.files / "dropped").exists)
    until(lambda: bench.call(bench.run.is_idle))
    assert bench.instances()[0].active == 0


def test_a_caller_who_goes_away_leaves_the_queue(bench):
    bench.deploy(concurrency=1)
    first = bench.background("/wait/first")
    bench.begun("first")
    caller = socket.create_connection(("127.0.0.1", bench.gateway.http_port))
    caller.sendall(b"GET /run/echo/wait/second HTTP/1.1\r\nHost: localhost\r\n\r\n")
    until(lambda: bench.run.service("echo").waiting == 1)

    caller.close()

    until(lambda: bench.run.service("echo").waiting == 0)
    bench.finish("first")
    assert first.result().status == 200
    assert not (bench.files / "second.begun").exists()


@pytest.mark.parametrize(("action", "reached"), [("fail", False), ("fail_after", True)])
def test_an_ordered_failure_comes_before_or_after_the_work(bench, action: str, reached: bool):
    bench.deploy()
    bench.finish("x")
    bench.context.faults.add(Fault("run.services.invoke", resource="echo", action=action, status=502))

    failed, answered = bench.get("/wait/x"), bench.get("/")

    assert (failed.status, answered.status) == (502, 200)
    assert (bench.files / "x.begun").exists() is reached


@pytest.mark.parametrize(("action", "reached"), [("drop", False), ("disconnect", True)])
def test_an_ordered_loss_of_the_connection_comes_before_or_after_the_work(bench, action: str, reached: bool):
    bench.deploy()
    bench.finish("x")
    bench.context.faults.add(Fault("run.services.invoke", resource="echo", action=action))

    with pytest.raises(urllib3.exceptions.HTTPError):
        bench.get("/wait/x", retries=False)

    assert (bench.files / "x.begun").exists() is reached


def test_an_ordered_delay_is_virtual_time(bench):
    bench.deploy()
    bench.context.faults.add(Fault("run.services.invoke", action="delay", delay_s=60))
    answer = bench.background("/")
    until(lambda: not bench.context.faults.standing())

    bench.clock.advance(seconds=60)

    assert answer.result().status == 200


def test_an_ordered_kill_comes_once_the_instance_has_the_request(bench):
    bench.deploy()
    bench.context.faults.add(Fault("run.services.invoke", action="kill"))

    answer = bench.get("/wait/never", method="POST", body=b"work")

    assert answer.status == 503
    assert (bench.files / "never.begun").exists()
    assert bench.run.events[0].ready is not None
    until(lambda: bench.instances() == [])


def test_the_shell_that_starts_a_service_leaves_no_trace_in_it(bench, monkeypatch):
    monkeypatch.setenv("AWS_SECRET", "x")
    monkeypatch.setenv("LANG", "C.UTF-8")
    bench.deploy(env={"FILES": str(bench.files), "SPECIAL": "a b'c\"$(id)\n;", "PORT": "1", "K_SERVICE": "wrong"})

    seen = bench.get("/").json()["env"]

    instance = bench.instances()[0]
    assert seen["SPECIAL"] == "a b'c\"$(id)\n;"
    assert seen["PORT"] == str(instance.port)
    assert (seen["K_SERVICE"], seen["K_REVISION"], seen["HOST"]) == ("echo", instance.revision, "127.0.0.1")
    assert seen["LANG"] == "C.UTF-8"
    assert "AWS_SECRET" not in seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_service_ended_from_outside_is_started_again_by_the_next_request(bench, number):
    bench.deploy()
    first = bench.get("/").json()["pid"]
    instance = bench.instances()[0]

    instance._process.signal(number)
    bench.await_(instance.ended.wait())

    assert bench.get("/").json()["pid"] != first
