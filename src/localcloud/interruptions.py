"""Where do ordered faults meet the calls? At both wires, in one place each, so that every method has its fault point.

HTTP: `interruptible` puts it around the routes of a service. A call is named by the route's own name where that has
dots, else by method and path: `DELETE /v1/projects/{project}/topics/{id}` of the service `pubsub` is
`pubsub.topics.delete` on the resource `<id>`. gRPC: `Interceptor` does so by the name of the method: `DeleteTopic`.

A service whose routes are not Starlette's (storage, and requests to services of Cloud Run) asks by itself, with
`faults.around`; `handlers` turns what that raises into answers.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

import grpc
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localcloud.faults import CUT, ConnectionLost, Cut, Fault, Faults, Injected

CLOSE = "localcloud.close"  # extension of the ASGI scope: closes the connection of a request
_VERBS = {"POST": "create", "PUT": "create", "PATCH": "patch", "DELETE": "delete"}
# Not what a call is about, but where.
_WHERE = frozenset(("projects", "locations", "regions", "zones", "namespaces"))
_SERVICES = {
    "google.pubsub.v1": "pubsub",
    "google.cloud.workflows.v1": "workflows",
    "google.cloud.workflows.executions.v1": "workflows",
    "google.cloud.run.v2": "run",
    "google.cloud.eventarc.v1": "eventarc",
    "google.iam.v1": "pubsub",  # which alone has it over gRPC here
    "google.longrunning": "workflows",  # as above
}
# Where the name of the protocol doesn't say which resource a method is about.
_METHODS = {
    "Acknowledge": "subscriptions.acknowledge",
    "DeleteSchemaRevision": "schemas.deleteRevision",
    "DetachSubscription": "subscriptions.detach",
    "GetIamPolicy": "iam.getIamPolicy",
    "ListSchemaRevisions": "schemas.listRevisions",
    "ListTopicSnapshots": "topics.snapshots.list",
    "ListTopicSubscriptions": "topics.subscriptions.list",
    "ListWorkflowRevisions": "workflows.listRevisions",
    "ModifyAckDeadline": "subscriptions.modifyAckDeadline",
    "ModifyPushConfig": "subscriptions.modifyPushConfig",
    "Publish": "topics.publish",
    "Pull": "subscriptions.pull",
    "Seek": "subscriptions.seek",
    "SetIamPolicy": "iam.setIamPolicy",
    "StreamingPull": "subscriptions.streamingPull",
    "TestIamPermissions": "iam.testIamPermissions",
    "ValidateMessage": "schemas.validateMessage",
}
_NEW = ("workflow_id", "trigger_id", "schema_id", "service_id", "job_id")
_PARAMETER, _VERB = re.compile(r"\{(\w+)"), re.compile(r":(\w+)$")
_NAME_FIELDS = ("name", "topic", "subscription", "snapshot", "workflow", "resource", "parent")

Behavior = Callable[[Any, Any], Any]


def interruptible(faults: Faults, service: str, routes: Sequence[BaseRoute]) -> list[BaseRoute]:
    """The routes of a service, each behind its fault point."""
    for route in routes:
        if isinstance(route, Route):
            route.app = _Point(faults, service, route)
    return list(routes)


class _Point:
    """The fault point of a route."""

    def __init__(self, faults: Faults, service: str, route: Route) -> None:
        self._faults, self._service, self._route, self._app = faults, service, route, route.app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._faults.any_standing:
            await self._app(scope, receive, send)
            return
        name = call_name(self._service, self._route, scope["method"])
        resource = resource_name(self._route, scope["path_params"], scope["query_string"].decode("latin-1"))
        async with self._faults.around(name, resource) as fault:
            await self._app(scope, receive, _unheard if _is_unheard(fault) else send)


def call_name(service: str, route: Route, method: str) -> str:
    """`<service>.<resources>.<verb>` of a route."""
    if "." in route.name:
        return route.name
    own_verb = _VERB.search(route.path)
    parts = route.path.removesuffix(own_verb[0] if own_verb else "").strip("/").split("/")
    *_, collection = (part for part in parts if not part.startswith("{"))
    if own_verb:
        return f"{service}.{collection}.{own_verb[1]}"
    return f"{service}.{collection}.{_VERBS.get(method, 'get' if parts[-1].startswith('{') else 'list')}"


def resource_name(route: Route, parameters: Mapping[str, Any], query: str = "") -> str:
    """What a call is about, by the short names in its path and, if it makes something, its id: `flow/<execution>`."""
    pairs = pairwise(route.path.split("/"))
    named = (_PARAMETER.match(part) for collection, part in pairs if collection not in _WHERE)
    new = (value for name, value in parse_qsl(query) if name.endswith("Id") and name != "requestId")
    return "/".join([*(str(parameters[parameter[1]]) for parameter in named if parameter), *new])


def _is_unheard(fault: Fault | None) -> bool:
    """Whether the answer is not to reach the caller."""
    return fault is not None and (
        fault.action == "fail_after" or (fault.action == "disconnect" and fault.after_bytes is None)
    )


async def _unheard(_: Message) -> None:
    """Send nothing."""


class Cuttable:
    """Around an application: answers can be cut off."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cut = Cut()
        answer = _CutAnswer(cut, scope, receive, send)
        token = CUT.set(cut)

        async def sent(message: Message) -> None:
            if cut.after_bytes is None:
                await send(message)
            else:
                await answer.send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            CUT.reset(token)


class _CutAnswer:
    """An answer that ends early. A whole one would be no accident: its last byte is kept back in any case."""

    def __init__(self, cut: Cut, scope: Scope, receive: Receive, send: Send) -> None:
        self._cut, self._scope, self._receive, self._send = cut, scope, receive, send
        self._head: Message | None = None
        self._last = b""
        self._sent = 0
        self._closed = False

    async def send(self, message: Message) -> None:
        if self._closed:
            return
        if message["type"] == "http.response.start":
            self._head = message
            return
        left = (self._cut.after_bytes or 0) - self._sent
        data = self._last + message.get("body", b"")
        part, self._last = data[: min(left, len(data) - 1)] if data else b"", data[-1:]
        if part:
            await self._pass_on(part)
        if len(part) == left or not message.get("more_body", False):
            self._closed = True
            await close(self._scope, self._receive)

    async def _pass_on(self, part: bytes) -> None:
        if self._head is not None:
            await self._send(self._head)
            self._head = None
        await self._send({"type": "http.response.body", "body": part, "more_body": True})
        self._sent += len(part)


async def close(scope: Scope, receive: Receive) -> None:
    """Close the connection of a request, after what has been sent."""
    scope["extensions"][CLOSE]()
    while (await receive())["type"] != "http.disconnect":
        pass


async def injected(_: Request, error: Exception) -> Response:
    """The answer to a call that fails as ordered, as of Google's JSON APIs."""
    assert isinstance(error, Injected)  # noqa: S101  # registered for this type only
    body = {"error": {"code": error.http_status, "message": str(error), "status": error.grpc_code}}
    return Response(msgspec.json.encode(body), error.http_status, media_type="application/json")


async def connection_lost(_: Request, __: Exception) -> Response:
    """No answer."""
    return _Closed()


class _Closed(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await close(scope, receive)


HANDLERS: Mapping[type[Exception], Callable[[Request, Exception], Any]] = {
    Injected: injected,
    ConnectionLost: connection_lost,
}


class Interceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc publishes no types
    """Puts a fault point around each method of a gRPC server."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._made: dict[str, tuple[Any, Any]] = {}  # by method: its handler, and that with the fault point

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """The handler of a call."""
        handler = await continuation(details)
        known = self._made.get(details.method)
        if known is None or known[0] is not handler:
            known = self._made[details.method] = (handler, self._with_point(handler, method_name(details.method)))
        return known[1]

    def _with_point(self, handler: Any, name: str) -> Any:
        if handler is None:
            return None
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream(handler.stream_stream, name), **codec)
        if handler.request_streaming or handler.response_streaming:
            raise NotImplementedError(f"{name} streams in one direction only")
        return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary, name), **codec)

    def _unary(self, behavior: Behavior, name: str) -> Behavior:
        async def answered(request: Any, context: Any) -> Any:
            if not self._faults.any_standing:
                return await behavior(request, context)
            try:
                async with self._faults.around(name, message_resource(request)):
                    return await behavior(request, context)
            except (Injected, ConnectionLost) as error:
                return await _abort(context, error)

        return answered

    def _stream(self, behavior: Behavior, name: str) -> Behavior:
        async def answered(requests: AsyncIterator[Any], context: Any) -> None:
            if not self._faults.any_standing:
                await behavior(requests, context)
                return
            first = await anext(aiter(requests), None)
            token = CUT.set(cut := Cut())
            try:
                async with self._faults.around(name, "" if first is None else message_resource(first)):
                    await behavior(_chained(first, requests), _CuttableContext(context, cut))
            except (Injected, ConnectionLost) as error:
                await _abort(context, error)
            finally:
                CUT.reset(token)

        return answered


class _CuttableContext:
    """The context of a stream that breaks once so many bytes of answers have been sent."""

    def __init__(self, context: Any, cut: Cut) -> None:
        self._context, self._cut = context, cut

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, message: Any) -> None:
        if self._cut.after_bytes is not None:
            self._cut.after_bytes -= message.ByteSize()
            if self._cut.after_bytes < 0:
                raise ConnectionLost
        await self._context.write(message)


async def _chained(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    if first is not None:
        yield first
        async for each in rest:
            yield each


async def _abort(context: Any, error: Injected | ConnectionLost) -> Any:
    if isinstance(error, Injected):
        return await context.abort(grpc.StatusCode[error.grpc_code], str(error))
    # A server in the same process can't close the connection of one call; this is what a client sees of it.
    return await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")


def method_name(method: str) -> str:
    """`pubsub.topics.delete` of `/google.pubsub.v1.Publisher/DeleteTopic`."""
    _, service, name = method.split("/")
    package = service.rpartition(".")[0]
    prefix = _SERVICES.get(package, package.removeprefix("google.").partition(".")[0])
    if name in _METHODS:
        return f"{prefix}.{_METHODS[name]}"
    verb, *nouns = re.findall(r"[A-Z][a-z0-9]*", name)
    resource = "".join(nouns)
    if resource and not resource.endswith("s"):
        resource = resource.removesuffix("y") + "ies" if resource.endswith("y") else resource + "s"
    return f"{prefix}.{resource[:1].lower()}{resource[1:]}.{'patch' if verb == 'Update' else verb.lower()}"


def message_resource(request: Any) -> str:
    """What a request is about: the short names of the resource it names and, if it makes something, its id."""
    names = (getattr(request, field, "") for field in _NAME_FIELDS)
    name = next((each for each in (getattr(name, "name", name) for name in names) if each), "")
    parts = str(name).split("/")
    found = [id_ for kind, id_ in zip(parts[::2], parts[1::2], strict=False) if kind not in _WHERE]
    new = (getattr(request, field, "") for field in _NEW)
    return "/".join([*found, *filter(None, new)])
