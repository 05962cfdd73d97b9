"""How do the local cloud's own endpoints (admin API, console) answer? JSON; a refusal names the problem.

What changes something is taken from programs and from our own page, not from pages of another origin. A browser tells
where a request comes from (`Origin`, `Sec-Fetch-Site`) and lets no page forge it; a program sends neither.
https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from localcloud.gateway import error, read_body
from localcloud.pubsub.errors import PubSubError
from localcloud.run.errors import RunError
from localcloud.storage.errors import StorageError
from localcloud.workflows.errors import ApiError

MAX_BODY_BYTES = 20 * 2**20  # of a message to publish, in base64
MAX_MESSAGE = 500
# Nobody reads our answers as anything but what they are, and no page of another origin embeds them.
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Endpoint = Callable[[Request], Awaitable[Response]]
_T = TypeVar("_T")


def route(path: str, endpoint: Endpoint, *methods: str) -> Route:
    """A route whose refusals are Google's JSON errors."""

    async def answered(request: Request) -> Response:
        if request.method not in ("GET", "HEAD") and _is_foreign(request.headers):
            return error(403, "A page of another origin may not change anything here.")
        try:
            return await endpoint(request)
        except (StorageError, PubSubError, RunError, ApiError) as problem:
            return error(_status(problem), str(problem)[:MAX_MESSAGE])
        except (ValueError, OverflowError, msgspec.MsgspecError) as problem:
            return error(400, str(problem)[:MAX_MESSAGE])

    return Route(path, answered, methods=list(methods))


def reply(value: object) -> Response:
    """A value as JSON."""
    return Response(msgspec.json.encode(value), media_type="application/json", headers=HEADERS)


async def body(request: Request, kind: type[_T], most: int = MAX_BODY_BYTES) -> _T:
    """The body, which is JSON of that type. Raises ValueError, msgspec.MsgspecError."""
    return msgspec.json.decode(await read_body(request, most), type=kind)


def parameter(request: Request, name: str) -> str:
    """A parameter of the query that must be there. Raises ValueError."""
    value = request.query_params.get(name, "")
    if not value:
        raise ValueError(f"{name} is missing in the query")
    return value


def whole_number(request: Request, name: str, default: int, most: int) -> int:
    """A parameter of the query that counts something, 1 to `most`. Raises ValueError."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and 1 <= int(text) <= most):
        raise ValueError(f"{name} is {text[:40]!r}; expected a number from 1 to {most}")
    return int(text)


def _is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a page sent this that is not ours: another port of this machine is another origin."""
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site", "none")
    return site not in ("same-origin", "none") or origin not in (None, f"http://{headers.get('host')}")


def _status(problem: StorageError | PubSubError | RunError | ApiError) -> int:
    match problem:
        case StorageError():
            return problem.status
        case RunError():
            return problem.code
        case _:
            return problem.http_status
