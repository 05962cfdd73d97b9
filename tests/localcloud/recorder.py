"""Checks what passes the gateway in tests: each request and answer against its discovery document.

A conftest that imports `checked_against_discovery` and `recorded_gateway` has it done for all tests below it. What a
request may hold is judged only where it was accepted: tests send wrong ones on purpose.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.localcloud import discovery

MOST_BYTES = 4 * 2**20  # of a body that is looked at
_METADATA_BYTES = 256 * 1024  # of an upload, in which the object's metadata comes first
_JSON = re.compile(r"application/json\b")
_EVENT = "google.cloud.storage.object.v1."


@dataclass
class Exchange:
    """One request and its answer, as far as they are looked at."""

    method: str
    path: str
    query: str
    content_type: str = ""
    event_type: str = ""
    request: bytes = b""
    status: int = 0
    answer_type: str = ""
    answer: bytes = b""
    is_whole: bool = False

    def problems(self) -> Iterator[str]:
        """What is wrong with it. Exceptions are left out."""
        if not self.is_whole or len(self.answer) > MOST_BYTES:
            return
        for problem in self._problems():
            if not discovery.is_exception(problem):
                yield problem

    def _problems(self) -> Iterator[str]:
        if self.path.startswith("/run/"):
            yield from self._event_problems()
        elif self.path.startswith("/batch/"):
            yield from self._batch_problems()
        elif self.status >= 400:
            yield from self._error_problems()
        elif discovery.is_api(self.path):
            found = discovery.methods(self.method, self.path)
            if not found:
                yield f"{self.method} {self.path}: no document has such a method, but the answer is {self.status}"
            # An operation of one API looks like that of another: the one that fits counts.
            yield from min((list(self._method_problems(method)) for method in found), key=len, default=[])

    def _method_problems(self, method: discovery.Method) -> Iterator[str]:
        yield from method.query_problems(self.query)
        lenient = "enum-encoding%3Dint" in self.query or "enum-encoding=int" in self.query
        sent = self._sent()
        if sent is not None:
            yield from method.body_problems(method.request, sent, is_request=True, lenient_enums=lenient)
        if _JSON.match(self.answer_type) and "alt=media" not in self.query:
            given = _decoded(self.answer)
            yield from method.body_problems(method.response, given, is_request=False, lenient_enums=lenient)

    def _sent(self) -> Any:
        """The JSON of the request; of an upload the object's metadata."""
        if self.path.startswith(("/upload/", "/resumable/")):
            if "uploadType=multipart" in self.query:
                return _decoded(_parts(self.request, self.content_type)[0])
            if "uploadType=resumable" not in self.query or self.method != "POST":
                return None
        return _decoded(self.request) if self.request.strip() else None

    def _error_problems(self) -> Iterator[str]:
        if not (_JSON.match(self.answer_type) and discovery.is_api(self.path)):
            return
        where, body = f"{self.method} {self.path}", _decoded(self.answer)
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict):
            yield f"{where}: an error without `error`: {self.answer[:80]!r}"
            return
        if error.get("code") != self.status:
            yield f"{where}: error.code is {error.get('code')!r}; expected {self.status}"
        if not isinstance(error.get("message"), str):
            yield f"{where}: error.message is {error.get('message')!r}; expected a string"
        if unknown := error.keys() - {"code", "message", "status", "errors", "details"}:
            yield f"{where}: error has unknown members: {', '.join(sorted(unknown))}"

    def _event_problems(self) -> Iterator[str]:
        if self.event_type.startswith(_EVENT):
            yield from discovery.problems(_decoded(self.request), "storage.v1", "Object")

    def _batch_problems(self) -> Iterator[str]:
        """Of each call in a batch as of a call alone."""
        if self.status != 200:
            return
        calls, answers = _parts(self.request, self.content_type), _parts(self.answer, self.answer_type)
        if len(calls) != len(answers):
            yield f"a batch of {len(calls)} calls got {len(answers)} answers"
            return
        for call, answer in zip(calls, answers, strict=True):
            (line, headers, body), (status, answered, content) = _http(call), _http(answer)
            method, target, *_ = line.split()
            path, _, query = re.sub(r"^https?://[^/]+", "", target).partition("?")
            inner = Exchange(method, path, query, headers.get("content-type", ""), request=body, is_whole=True)
            inner.status, inner.answer = int(status.split()[1]), content
            inner.answer_type = answered.get("content-type", "")
            yield from inner._problems()


class Recorder:
    """An ASGI application around another, which hears of each exchange once it is over."""

    def __init__(self, app: ASGIApp, hear: Callable[[Exchange], None]) -> None:
        self._app, self._hear = app, hear

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_looked_at(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        exchange = Exchange(
            scope["method"],
            scope["raw_path"].decode("latin-1"),
            scope["query_string"].decode("latin-1"),
            headers.get(b"content-type", b"").decode("latin-1"),
            headers.get(b"ce-type", b"").decode("latin-1"),
        )
        most = _METADATA_BYTES if exchange.path.startswith("/upload/") else MOST_BYTES

        async def received() -> Message:
            message = await receive()
            if len(exchange.request) < most:
                exchange.request += message.get("body", b"")
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                kinds = [value for name, value in message["headers"] if name.lower() == b"content-type"]
                exchange.answer_type = b"".join(kinds).decode("latin-1")
            elif message["type"] == "http.response.body":
                if len(exchange.answer) <= MOST_BYTES and exchange.answer_type.startswith(
                    ("application/", "multipart/")
                ):
                    exchange.answer += message.get("body", b"")
                exchange.is_whole = not message.get("more_body", False)
            await send(message)

        await self._app(scope, received, sent)
        self._hear(exchange)


@dataclass
class Heard:
    """What was wrong with what passed the gateways of this session, until somebody asks."""

    problems: list[str] = field(default_factory=list)

    def hear(self, exchange: Exchange) -> None:
        try:
            self.problems.extend(exchange.problems())
        except Exception as error:  # noqa: BLE001  # a body that is not even JSON, say
            self.problems.append(f"{exchange.method} {exchange.path}: {type(error).__name__}: {error}")

    def take(self) -> list[str]:
        taken, self.problems = self.problems, []
        return taken


@cache
def heard() -> Heard:
    """What passes every gateway that starts in this process from the first call on."""
    from localcloud import gateway

    all_heard, made = Heard(), gateway.application
    gateway.application = lambda *given, **named: Recorder(made(*given, **named), all_heard.hear)
    return all_heard


@pytest.fixture(autouse=True, scope="session")
def recorded_gateway() -> Iterator[None]:
    """Listens before any local cloud starts, whatever its scope."""
    heard()
    yield
    assert not heard().take()


@pytest.fixture(autouse=True)
def checked_against_discovery() -> Iterator[None]:
    """Fails a test in which a body or a query is not what Google's API has."""
    yield
    problems = dict.fromkeys(heard().take())
    if problems:
        pytest.fail("not as in the discovery documents:\n" + "\n".join(problems), pytrace=False)


def _is_looked_at(path: str) -> bool:
    return path.startswith(("/batch/", "/run/")) or discovery.is_api(path)


def _decoded(data: bytes) -> Any:
    return msgspec.json.decode(data)


def _parts(body: bytes, content_type: str) -> list[bytes]:
    """The parts of a multipart body, each without its own headers."""
    boundary = re.search(r"boundary=[\"']?([^\"';]+)", content_type)  # gcloud takes single quotes
    assert boundary is not None, f"{content_type!r} has no boundary"
    parts = re.split(rb"(?:^|\r?\n)--" + re.escape(boundary[1].encode()) + rb"(?:--)?[ \t]*(?:\r?\n|$)", body)
    return [re.split(rb"\r?\n\r?\n", part, maxsplit=1)[-1] for part in parts if part.strip()]


def _http(part: bytes) -> tuple[str, dict[str, str], bytes]:
    """First line, headers and body of an HTTP message."""
    head, _, body = part.replace(b"\r\n", b"\n").partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return first, headers, body
