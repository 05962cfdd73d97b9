"""What is a method of Pub/Sub? A name, a request, its rule over HTTP, a fault point, and what it does.

One table of them serves both wires. https://cloud.google.com/pubsub/docs/reference/rpc
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from localcloud.pubsub.errors import InvalidArgument
from localcloud.pubsub.resources import message_type
from localcloud.pubsub.state import PubSub

_MAX_PAGE = 1000

Call = Callable[[PubSub, Any, float | None], Awaitable[Any]]  # request, seconds the caller still waits (None: for ever)


@dataclass(frozen=True, slots=True)
class Method:
    """One unary method, and its rule over HTTP: `GET /v1/{topic=projects/*/topics/*}`; `body` is a field, * or nothing.

    `point` is what faults call it, `pubsub.<resource>.<verb>`.
    """

    service: str
    name: str
    request: Callable[[], Any]  # the class of its message
    call: Call
    point: str
    http: str
    body: str


class Table(list[Method]):
    """The methods of one service; `messages` finds the class of a request by its name."""

    def __init__(self, service: str, messages: Callable[[str], Any] = message_type) -> None:
        super().__init__()
        self._service = service
        self._messages = messages

    def method(self, point: str, http: str, request: str, body: str = "") -> Callable[[Call], Call]:
        """Enter a function in the table; `_get_topic` is the protocol's GetTopic."""
        verb = http.partition(" ")[0]
        body = body or ("" if verb in ("GET", "DELETE") else "*")

        def enter(call: Call) -> Call:
            name = "".join(word.title() for word in call.__name__.split("_"))
            self.append(
                Method(self._service, name, partial(self._messages, request), call, f"pubsub.{point}", http, body)
            )
            return call

        return enter


def empty() -> Any:
    """The answer that says nothing."""
    from google.protobuf.empty_pb2 import Empty

    return Empty()


def page(items: Sequence[Any], request: Any) -> tuple[list[Any], str]:
    """The page of a list request, by name, and the token of the next one: the last name of this."""
    named = sorted((item if isinstance(item, str) else item.name, item) for item in items) if items else []
    size = page_size(request)
    rest = [(name, item) for name, item in named if name > request.page_token]
    return [item for _, item in rest[:size]], rest[size - 1][0] if len(rest) > size else ""


def page_size(request: Any) -> int:
    if request.page_size < 0:
        raise InvalidArgument(f"page_size is {request.page_size}; expected at least 0")
    return min(request.page_size or _MAX_PAGE, _MAX_PAGE)
