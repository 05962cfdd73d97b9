"""How fast is a client by itself? A bare server in front of another one: `python -m benchmarks.replaying PORT ORIGIN`.

The first request of its method and URL is passed on; each further one has the same bytes for an answer, at once. What a
client takes here is the least that it takes with any server.
"""

from __future__ import annotations

import asyncio
import http.client
import sys
from typing import Any

import uvloop

_END = b"\r\n\r\n"


class Replayer(asyncio.Protocol):
    """One connection. Bodies have a length."""

    def __init__(self, origin: str, known: dict[bytes, bytes]) -> None:
        self._origin = origin
        self._known = known  # answers by first line
        self._received = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer once the request is complete."""
        self._received += data
        head, ended, body = self._received.partition(_END)
        if not ended or len(body) < _length(head):
            return
        self._received = b""
        first = head.partition(b"\r\n")[0]
        if first not in self._known:
            self._known[first] = ask(self._origin, head, body)
        self._transport.write(self._known[first])


def ask(origin: str, head: bytes, body: bytes) -> bytes:
    """The answer of the server behind, as it is sent."""
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    connection = http.client.HTTPConnection(origin)
    connection.request(method, target, body, dict(line.split(": ", 1) for line in lines))
    answer = connection.getresponse()
    content = answer.read()
    kept = [f"{name}: {value}" for name, value in answer.getheaders() if name not in ("content-length", "connection")]
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}", *kept, f"content-length: {len(content)}"]
    connection.close()
    return "\r\n".join(lines).encode() + _END + content


def _length(head: bytes) -> int:
    lengths = (line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(next(lengths, b"0"))


async def serve(port: int, origin: str) -> None:
    """Answer for good."""
    known: dict[bytes, bytes] = {}
    server = await asyncio.get_running_loop().create_server(lambda: Replayer(origin, known), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
