"""Does the gateway serve this machine, and nobody else?"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from localcloud.gateway import Gateway, PortInUse


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello")


async def broken(_: Request) -> Response:
    raise RuntimeError("the secret of the house")


ROUTES = [Route("/hello", hello), Route("/broken", broken)]


def with_gateway(work: Callable[[Gateway], Coroutine[Any, Any, Any]], handlers: Any = ()) -> Any:
    """What `work` returns, done while a gateway runs."""

    async def scenario() -> Any:
        gateway = Gateway()
        await gateway.start(ROUTES, handlers)
        try:
            return await work(gateway)
        finally:
            await gateway.stop()

    return asyncio.run(scenario())


def ask(lines: str) -> tuple[int, str]:
    """Status and body of the answer to a request written by hand."""

    async def work(gateway: Gateway) -> tuple[int, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
        writer.write(lines.replace("\n", "\r\n").encode() + b"\r\nConnection: close\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split()[1]), body.decode()

    return with_gateway(work)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:9000", "localhost:9000", "LocalHost", "[::1]:9000", "a.localhost", "127.3.2.1"]
)
def test_a_request_to_a_name_of_this_machine_is_served(host: str):
    assert ask(f"GET /hello HTTP/1.1\nHost: {host}") == (200, "hello")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil-localhost",
        "10.0.0.1",
        "0.0.0.0",
        "",
        "evil@127.0.0.1",
        "[::1",
    ],
)
def test_a_request_to_any_other_name_is_refused(host: str):
    status, body = ask(f"GET /hello HTTP/1.1\nHost: {host}")

    assert status == 403
    assert json.loads(body)["error"]["status"] == "PERMISSION_DENIED"


@pytest.mark.parametrize(
    ("origin", "expected"),
    [("https://evil.example", 403), ("null", 403), ("http://localhost:3000", 200), ("http://127.0.0.1:9", 200)],
)
def test_a_web_page_may_call_only_if_it_comes_from_this_machine(origin: str, expected: int):
    assert ask(f"GET /hello HTTP/1.1\nHost: localhost\nOrigin: {origin}")[0] == expected


def test_an_unknown_path_is_not_found_in_googles_form():
    status, body = ask("GET /storage/v9/none?x=1 HTTP/1.1\nHost: localhost")

    assert status == 404
    assert json.loads(body)["error"] == {
        "code": 404,
        "message": "'GET /storage/v9/none': Not Found.",
        "status": "NOT_FOUND",
    }


def test_a_method_no_route_knows_is_refused():
    assert ask("DELETE /hello HTTP/1.1\nHost: localhost")[0] == 405


def test_an_error_nobody_thought_of_is_logged_but_not_told(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        status, body = ask("GET /broken HTTP/1.1\nHost: localhost")

    assert status == 500
    assert json.loads(body)["error"]["status"] == "INTERNAL"
    assert "secret" not in body
    assert "the secret of the house" in caplog.text


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_port_that_is_taken_is_said_so(kind: str):
    async def scenario(port: int) -> None:
        with pytest.raises(PortInUse, match=f"{port} .*choose another one or 0"):
            Gateway(**{f"{kind}_port": port})

    with socket.create_server(("127.0.0.1", 0)) as taken:
        asyncio.run(scenario(taken.getsockname()[1]))


def test_two_gateways_do_not_share_a_port():
    async def work(gateway: Gateway) -> None:
        with pytest.raises(PortInUse):
            Gateway(grpc_port=gateway.grpc_port)
        with pytest.raises(PortInUse):
            Gateway(http_port=gateway.http_port)

    with_gateway(work)


def test_only_the_loopback_interface_is_served():
    async def work(gateway: Gateway) -> list[int]:
        results = []
        for port in (gateway.http_port, gateway.grpc_port):
            with socket.socket() as probe:
                results.append(probe.connect_ex(("127.0.0.2", port)))  # any other address of this machine will do
        return results

    assert all(with_gateway(work))


def test_grpc_handlers_are_served_with_large_messages():
    async def length(request: bytes, _: Any) -> bytes:
        return str(len(request)).encode()

    method = grpc.unary_unary_rpc_method_handler(length)
    handler = grpc.method_handlers_generic_handler("test.Service", {"Length": method})

    async def work(gateway: Gateway) -> bytes:
        async with grpc.aio.insecure_channel(gateway.grpc_address) as channel:
            return await channel.unary_unary("/test.Service/Length")(b"x" * 15_000_000)

    assert with_gateway(work, [handler]) == b"15000000"


def test_a_proxied_request_is_served_if_its_host_is_this_machine():
    assert (
        ask("GET http://us-central1-run.localhost:9000/hello HTTP/1.1\nHost: us-central1-run.localhost:9000")[0] == 200
    )
    assert ask("GET http://run.googleapis.com/hello HTTP/1.1\nHost: run.googleapis.com")[0] == 403


def test_no_tunnel_leads_out_of_this_machine():
    assert ask("CONNECT run.googleapis.com:443 HTTP/1.1\nHost: run.googleapis.com:443")[0] == 400
