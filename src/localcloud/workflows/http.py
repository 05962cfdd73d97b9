"""How does a workflow call a URL, and what does it get back?

https://cloud.google.com/workflows/docs/http-requests

Calls reach this machine (loopback addresses and `localhost`), Google's APIs as far as they are served locally
(`https://storage.googleapis.com/...` goes to the local Cloud Storage), and hosts that the operator allows. Anything
else is refused before a name is looked up: a workflow under test must not act on the world by accident.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from localcloud.context import Context
from localcloud.faults import ConnectionLost, Injected
from localcloud.workflows import choices, values
from localcloud.workflows.endpoints import Endpoints
from localcloud.workflows.errors import runtime_error, type_error, value_error
from localcloud.workflows.values import Value

if TYPE_CHECKING:  # a third of a second that a workflow without calls doesn't need
    import aiohttp
    from yarl import URL

DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S = 300.0, 1800.0
MAX_RESPONSE_BYTES = 2 * 1024 * 1024
MAX_REASON = 300  # characters of why a connection broke; a parser's complaint quotes what it got
USER_AGENT = "GoogleCloudWorkflows; (+https://cloud.google.com/workflows/docs)"
# Shorter than the 2 s after which gunicorn closes an idle connection, so that a call rarely meets a closing one.
_KEEP_ALIVE_S = 1.5


@dataclass(frozen=True, slots=True)
class Request:
    """One outgoing call, as it goes on the wire."""

    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes | None
    timeout_s: float


class HttpClient:
    """Outgoing calls of all executions over one pool of connections, opened on the first call."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.endpoints = Endpoints(context)
        self._session: aiohttp.ClientSession | None = None
        self.in_flight = 0  # calls without an answer yet

    async def close(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: Request) -> Value:
        """The response as a map of `body`, `code` and `headers`.

        Raises:
            WorkflowError: HttpError from status 400 on, and for a connection or a time that ran out.
        """
        try:
            async with self._context.faults.around("workflows.http.call", str(request.url)):
                response = await self._exchange(request, self.endpoints.reachable(request.url))
        except Injected as fault:
            response = _injected(fault.http_status)
        except ConnectionLost as fault:
            raise runtime_error("ConnectionError", "connection broken: as ordered") from fault
        return _checked(response)

    async def _exchange(self, request: Request, address: URL) -> dict[str, Value]:
        import aiohttp

        self.in_flight += 1

        try:
            return await self._context.clock.timeout(self._answer(request, address), request.timeout_s)
        except TimeoutError as error:
            raise runtime_error("TimeoutError", "request timed out", prefixed=False) from error
        except aiohttp.ClientConnectorError as error:  # a bad certificate is one too
            raise runtime_error("ConnectionFailedError", f"failed to connect to {_reason(error)}") from error
        except ValueError as error:  # among them aiohttp's invalid URLs and headers
            raise value_error(f"the request cannot be sent: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise runtime_error("ConnectionError", f"connection broken: {reason[:MAX_REASON]}") from error
        finally:
            self.in_flight -= 1

    async def _answer(self, request: Request, address: URL) -> dict[str, Value]:
        async with self._pool().request(
            request.method,
            address,
            headers=request.headers,
            data=request.body,
            allow_redirects=choices.follows_redirects(),
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_RESPONSE_BYTES:
                    raise values.result_size_error(f"the response is larger than {MAX_RESPONSE_BYTES} bytes")
            return {"body": _decoded(bytes(body), response), "code": response.status, "headers": _headers(response)}

    def _pool(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # the clock's timeout is the only one
                skip_auto_headers=("Content-Type", "User-Agent"),
                max_line_size=choices.header_bytes(),
                max_field_size=choices.header_bytes(),
            )
        return self._session


def _injected(status: int) -> dict[str, Value]:
    headers = {"Content-Type": "text/plain"}
    return {"body": f"injected fault: {status}", "code": status, "headers": headers}


def _checked(response: dict[str, Value]) -> Value:
    if response["code"] >= 400:
        message = f"HTTP server responded with error code {response['code']}"
        raise runtime_error("HttpError", message, prefixed=False, **response)
    return response


def _reason(error: aiohttp.ClientConnectorError) -> str:
    """Where a connection was tried, and what the system said."""
    inner = error.os_error
    said = os.strerror(inner.errno) if inner.errno and inner.errno in errno.errorcode else str(inner)
    return f"{error.host}:{error.port}: {said[:MAX_REASON]}"


def _headers(response: aiohttp.ClientResponse) -> dict[str, Value]:
    """Names in canonical case."""
    headers: dict[str, Value] = {}
    for name, value in response.headers.items():
        canonical, text = _canonical(name), values.without_surrogates(value)
        headers[canonical] = choices.repeated_header(headers[canonical], text) if canonical in headers else text
    return headers


def _canonical(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


def _decoded(body: bytes, response: aiohttp.ClientResponse) -> Value:
    """Only `application/json` is decoded."""
    if response.content_type == "application/json" and body:
        try:
            return values.from_json(body)
        except ValueError:
            pass
    try:
        return body.decode(response.charset or "utf-8")
    except (UnicodeDecodeError, LookupError):
        return choices.body_without_text(body)


def text_map(value: Value, what: str) -> dict[str, str]:
    """A map of strings. Raises TypeError as a workflow sees it."""
    if value is None:
        return {}
    if type(value) is not dict or any(type(item) is not str for item in value.values()):
        raise type_error(f"{what} must be a map of strings")
    return dict(value)


def with_query(url: str, query: Value, *, encoded: bool = False) -> URL:
    """The URL with query parameters added. Raises ValueError or TypeError as a workflow sees them."""
    from yarl import URL

    try:
        address = URL(url, encoded=encoded)
    except ValueError as error:
        raise value_error(f"invalid URL {url!r}: {error}") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise value_error(f"invalid URL {url!r}: expected http:// or https:// and a host")
    if query is None:
        return address
    if type(query) is not dict:
        raise type_error("query must be a map")
    pairs = [
        (name, values.to_string(item))
        for name, value in query.items()
        for item in (value if type(value) is list else [value])
    ]
    return address.extend_query(pairs) if pairs else address


def encoded_body(body: Value, headers: dict[str, str]) -> bytes | None:
    """The body's bytes by its type and Content-Type, which is added to `headers` where it is missing."""
    if body is None:
        return None
    content_type = next((value for name, value in headers.items() if name.lower() == "content-type"), None)
    if content_type is None:
        headers["Content-Type"] = (
            "application/octet-stream" if type(body) is bytes else "application/json; charset=utf-8"
        )
        return body if type(body) is bytes else values.to_json(body).encode()
    if type(body) is bytes:
        return body
    media = content_type.partition(";")[0].strip().lower()
    if media == "application/json" or (media.startswith("application/") and media.endswith("+json")):
        if type(body) is str:
            raise type_error(f"a body of Content-Type {media} must be a map, not a string")
        return values.to_json(body).encode()
    if type(body) is not str:
        raise type_error(f"a body of Content-Type {media} must be a string, not a {values.type_name(body)}")
    if media == "application/x-www-form-urlencoded":
        return quote(body, safe="=&+%-._~*").encode()  # given unencoded; what is encoded already stays
    if media.startswith("text/"):
        return body.encode()
    raise value_error(f"Content-Type {content_type!r} is not supported")


def user_agent(headers: dict[str, str]) -> dict[str, str]:
    """The headers with Workflows' User-Agent, behind a given one."""
    given = [name for name in headers if name.lower() == "user-agent"]
    agents = [headers.pop(name) for name in given]
    return {**headers, "User-Agent": " ".join([*agents[:1], USER_AGENT])}


def timeout_of(value: Value, most: float = MAX_TIMEOUT_S) -> float:
    """A timeout argument in seconds."""
    if not values.is_number(value):
        raise type_error(f"timeout must be a number, not a {values.type_name(value)}")
    if not 0 < value <= most:
        raise value_error(f"timeout {value} is not in (0, {most:g}] seconds")
    return float(value)
