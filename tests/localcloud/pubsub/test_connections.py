"""Push requests travel over HTTP/1.1 connections that are kept, and their answers are read as the protocol says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from localcloud.pubsub.connections import Connections, NotAnswered

T = TypeVar("T")
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
CLOSE = b""  # instead of an answer


class Endpoint:
    """Answers request after request with given bytes, and closes the connection where told to."""

    def __init__(self, answers: list[bytes], *, closes: bool) -> None:
        self.requests: list[bytes] = []
        self.accepted = 0
        self._answers = answers
        self._closes = closes

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        while self._answers and (head := await _head(reader)):
            self.requests.append(head + await reader.readexactly(_length(head)))
            answer = self._answers.pop(0)
            writer.write(answer)
            if self._closes or answer == CLOSE:
                break
        await writer.drain()
        writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])


def run(
    work: Callable[[Connections, str], Awaitable[T]], *answers: bytes, closes: bool = False
) -> tuple[T | str, Endpoint]:
    """What `work` returns, or the reason why it was not answered; and the endpoint that it talked to."""

    async def main() -> tuple[T | str, Endpoint]:
        endpoint = Endpoint(list(answers), closes=closes)
        server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
        connections = Connections()
        try:
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return await asyncio.wait_for(work(connections, address), 10), endpoint
        except NotAnswered as reason:
            return str(reason), endpoint
        finally:
            connections.close()
            server.close()

    return asyncio.run(main())


async def once(connections: Connections, address: str) -> int:
    return await connections.post(f"http://{address}/hook", {"From": "us"}, b"body")


async def twice(connections: Connections, address: str) -> list[int]:
    return [await once(connections, address), await once(connections, address)]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok", id="with-a-length"),
        pytest.param(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", id="chunked"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", id="after-100"),
    ],
)
def test_a_connection_is_used_again_after_an_answer_that_says_where_it_ends(answer: bytes) -> None:
    statuses, endpoint = run(twice, answer, answer)

    assert statuses == [201, 201]
    assert endpoint.accepted == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nto the end", id="ends-with-the-connection"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", id="HTTP-1.0"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", id="connection-close"),
    ],
)
def test_an_answer_that_ends_its_connection_counts(answer: bytes) -> None:
    statuses, endpoint = run(twice, answer, answer, closes=True)

    assert statuses == [200, 200]
    assert endpoint.accepted == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (CLOSE, "closed before the answer"),
        (b"HTTP/1.1 204 No", "closed before the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "closed before the answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "closed before the answer"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP"),
    ],
)
def test_what_is_no_whole_answer_is_none(answer: bytes, reason: str) -> None:
    why, _ = run(once, answer, closes=True)

    assert reason in str(why)


def test_102_is_an_answer_and_what_follows_it_is_not_waited_for() -> None:
    statuses, endpoint = run(twice, b"HTTP/1.1 102 Processing\r\n\r\n", NO_CONTENT)

    assert statuses == [102, 204]
    assert endpoint.accepted == 2


def test_a_request_on_a_kept_connection_that_is_closed_instead_of_answered_is_made_once_more() -> None:
    statuses, endpoint = run(twice, NO_CONTENT, CLOSE, NO_CONTENT)

    assert statuses == [204, 204]
    assert (endpoint.accepted, len(endpoint.requests)) == (2, 3)


def test_the_request_is_of_the_path_and_query_with_the_host_and_the_length() -> None:
    async def work(connections: Connections, address: str) -> int:
        return await connections.post(f"http://{address}/a b/ü%20?x=1&y=ß#part", {"From": "us"}, b"body")

    _, endpoint = run(work, NO_CONTENT)

    start, *fields = endpoint.requests[0].partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert start == b"POST /a%20b/%C3%BC%20?x=1&y=%C3%9F HTTP/1.1"
    assert [field.split(b":")[0] for field in fields] == [b"Host", b"From", b"Content-Length"]
    assert endpoint.requests[0].endswith(b"\r\n\r\nbody")


def test_user_and_password_of_a_url_are_basic_authentication() -> None:
    async def work(connections: Connections, address: str) -> int:
        return await connections.post(f"http://ada:l%40ve@{address}/", {}, b"")

    _, endpoint = run(work, NO_CONTENT)

    assert b"\r\nAuthorization: Basic YWRhOmxAdmU=\r\n" in endpoint.requests[0]
    assert b"ada" not in endpoint.requests[0]


def test_a_request_that_is_broken_off_closes_its_connection() -> None:
    async def work(connections: Connections, address: str) -> int:
        waiting = asyncio.ensure_future(once(connections, address))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return await once(connections, address)

    status, _ = run(work, NO_CONTENT, NO_CONTENT)

    assert status == 204


def test_a_header_is_one_line() -> None:
    async def work(connections: Connections, address: str) -> int:
        return await connections.post(f"http://{address}/", {"From": "us\r\nHost: elsewhere"}, b"")

    with pytest.raises(ValueError, match="line break"):
        run(work)
