"""How is Pub/Sub called? Its gRPC services, and the same methods over REST.

One function a method, from request to response; the two wires only translate.
https://cloud.google.com/pubsub/docs/reference/rpc
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from localcloud.pubsub.errors import Injected, InvalidArgument, PubSubError, shown
from localcloud.pubsub.resources import PublishedMessage, short_name
from localcloud.pubsub.state import PubSub
from localcloud.pubsub.streaming import Stream

# The largest publish request has 10 MB of messages: a gRPC server needs this as its grpc.max_receive_message_length.
MAX_REQUEST_BYTES = 20 * 2**20
PULL_WAIT_S = 20.0  # of real time, as the caller's own deadline is
_SHORTEST_WAIT_S = 0.05
_MAX_PAGE, _MAX_PULL = 1000, 1000

Method = Callable[[Any, Any], Awaitable[Any]]  # request, seconds the caller still waits (None: for ever)


class Methods:
    """The unary methods of both services, by the names of the protocol."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub

    async def CreateTopic(self, request: Any, _: float | None) -> Any:
        return self._pubsub.insert_topic(request)

    async def UpdateTopic(self, request: Any, _: float | None) -> Any:
        return self._pubsub.update_topic(request.topic, request.update_mask.paths)

    async def GetTopic(self, request: Any, _: float | None) -> Any:
        return self._pubsub.topic(request.topic)

    async def ListTopics(self, request: Any, _: float | None) -> Any:
        topics = {topic.name: topic for topic in self._pubsub.topics(request.project)}
        names, token = _page(list(topics), request)
        return types.ListTopicsResponse.pb()(topics=[topics[name] for name in names], next_page_token=token)

    async def ListTopicSubscriptions(self, request: Any, _: float | None) -> Any:
        names, token = _page(self._pubsub.subscriptions_of(request.topic), request)
        return types.ListTopicSubscriptionsResponse.pb()(subscriptions=names, next_page_token=token)

    async def DeleteTopic(self, request: Any, _: float | None) -> Any:
        self._pubsub.delete_topic(request.topic)
        return Empty()

    async def Publish(self, request: Any, _: float | None) -> Any:
        context = self._pubsub.context
        fault = context.faults.take("pubsub.topics.publish", short_name(request.topic))
        if fault is not None and fault.action == "delay":
            await context.clock.sleep(fault.delay_s)
        if fault is not None and fault.action == "fail":
            raise Injected(fault.status)
        messages = [PublishedMessage(each.data, each.attributes, each.ordering_key) for each in request.messages]
        ids = self._pubsub.publish(request.topic, messages)
        if fault is not None and fault.action == "fail_after":
            raise Injected(fault.status)
        return types.PublishResponse.pb()(message_ids=ids)

    async def DetachSubscription(self, request: Any, _: float | None) -> Any:
        self._pubsub.detach(request.subscription)
        return types.DetachSubscriptionResponse.pb()()

    async def CreateSubscription(self, request: Any, _: float | None) -> Any:
        return self._pubsub.insert_subscription(request)

    async def GetSubscription(self, request: Any, _: float | None) -> Any:
        return self._pubsub.subscription(request.subscription).resource

    async def UpdateSubscription(self, request: Any, _: float | None) -> Any:
        return self._pubsub.update_subscription(request.subscription, request.update_mask.paths)

    async def ListSubscriptions(self, request: Any, _: float | None) -> Any:
        subscriptions = {each.name: each for each in self._pubsub.subscriptions(request.project)}
        names, token = _page(list(subscriptions), request)
        return types.ListSubscriptionsResponse.pb()(
            subscriptions=[subscriptions[name] for name in names], next_page_token=token
        )

    async def DeleteSubscription(self, request: Any, _: float | None) -> Any:
        self._pubsub.delete_subscription(request.subscription)
        return Empty()

    async def ModifyPushConfig(self, request: Any, _: float | None) -> Any:
        changed = types.Subscription.pb()(name=request.subscription, push_config=request.push_config)
        self._pubsub.update_subscription(changed, ["push_config"])
        return Empty()

    async def ModifyAckDeadline(self, request: Any, _: float | None) -> Any:
        if not 0 <= request.ack_deadline_seconds <= 600:
            raise InvalidArgument(f"ack_deadline_seconds is {request.ack_deadline_seconds}; expected 0 to 600")
        self._pubsub.pullable(request.subscription).extend(request.ack_ids, request.ack_deadline_seconds)
        return Empty()

    async def Acknowledge(self, request: Any, _: float | None) -> Any:
        if not request.ack_ids:
            raise InvalidArgument("ack_ids is empty; expected at least one")
        self._pubsub.pullable(request.subscription).acknowledge(request.ack_ids)
        return Empty()

    async def Pull(self, request: Any, patience_s: float | None) -> Any:
        if request.max_messages < 1:
            raise InvalidArgument(f"max_messages is {request.max_messages}; expected at least 1")
        stream = Stream(self._pubsub.pullable(request.subscription))
        limit = min(request.max_messages, _MAX_PULL)
        # Answer before the caller gives up: messages leased to nobody would wait for their lease to end.
        wait_s = PULL_WAIT_S if patience_s is None else min(PULL_WAIT_S, 0.9 * patience_s)
        with stream.listening():
            received = stream.take(limit)
            loop = asyncio.get_running_loop()
            end = loop.time() + (0 if request.return_immediately else wait_s)
            while not received and (left := end - loop.time()) > _SHORTEST_WAIT_S and not stream.closed:
                await stream.changed(left)
                received = stream.take(limit)
        return types.PullResponse.pb()(received_messages=received)

    async def Seek(self, request: Any, _: float | None) -> Any:
        if request.WhichOneof("target") != "time":
            raise InvalidArgument("target is no time; snapshots are not supported here")
        subscription = self._pubsub.subscription(request.subscription)
        subscription.purge(request.time.ToNanoseconds() / 1e9)
        subscription.notify()
        return types.SeekResponse.pb()()


_PUBLISHER = {
    "CreateTopic": types.Topic,
    "UpdateTopic": types.UpdateTopicRequest,
    "GetTopic": types.GetTopicRequest,
    "ListTopics": types.ListTopicsRequest,
    "ListTopicSubscriptions": types.ListTopicSubscriptionsRequest,
    "DeleteTopic": types.DeleteTopicRequest,
    "Publish": types.PublishRequest,
    "DetachSubscription": types.DetachSubscriptionRequest,
}
_SUBSCRIBER = {
    "CreateSubscription": types.Subscription,
    "GetSubscription": types.GetSubscriptionRequest,
    "UpdateSubscription": types.UpdateSubscriptionRequest,
    "ListSubscriptions": types.ListSubscriptionsRequest,
    "DeleteSubscription": types.DeleteSubscriptionRequest,
    "ModifyPushConfig": types.ModifyPushConfigRequest,
    "ModifyAckDeadline": types.ModifyAckDeadlineRequest,
    "Acknowledge": types.AcknowledgeRequest,
    "Pull": types.PullRequest,
    "Seek": types.SeekRequest,
}


def grpc_handlers(pubsub: PubSub) -> list[grpc.GenericRpcHandler]:
    """What a grpc.aio server needs to be Pub/Sub; give it grpc.max_receive_message_length of MAX_REQUEST_BYTES."""
    methods = Methods(pubsub)
    publisher = {name: _unary(getattr(methods, name), kind) for name, kind in _PUBLISHER.items()}
    subscriber = {name: _unary(getattr(methods, name), kind) for name, kind in _SUBSCRIBER.items()}
    subscriber["StreamingPull"] = grpc.stream_stream_rpc_method_handler(
        _streaming_pull(pubsub),
        request_deserializer=types.StreamingPullRequest.pb().FromString,
        response_serializer=_serialized,
    )
    return [
        grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", publisher),
        grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", subscriber),
    ]


def _unary(method: Method, kind: Any) -> grpc.RpcMethodHandler:
    async def handler(request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await method(request, context.time_remaining())
        except PubSubError as error:
            return await _abort(context, error)

    return grpc.unary_unary_rpc_method_handler(
        handler, request_deserializer=kind.pb().FromString, response_serializer=_serialized
    )


def _streaming_pull(pubsub: PubSub) -> Callable[[AsyncIterator[Any], Any], Awaitable[None]]:
    async def handler(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> None:
        try:
            first = await anext(aiter(requests), None)
            if first is None:
                return
            stream = Stream(pubsub.pullable(first.subscription))
            stream.configure(first)
            await stream.run(requests, context.write)
            pubsub.pullable(first.subscription)  # raises why the stream ended, if it was not the client
        except PubSubError as error:
            await _abort(context, error)

    return handler


def _serialized(message: Any) -> bytes:
    return bytes(message.SerializeToString())


async def _abort(context: grpc.aio.ServicerContext, error: PubSubError) -> None:
    await context.abort(grpc.StatusCode[error.status], str(error))


def _page(names: Sequence[str], request: Any) -> tuple[list[str], str]:
    """The page of a list request, and the token of the next one: the last name of this."""
    if request.page_size < 0:
        raise InvalidArgument(f"page_size is {request.page_size}; expected at least 0")
    size = min(request.page_size or _MAX_PAGE, _MAX_PAGE)
    rest = [name for name in names if name > request.page_token]
    return rest[:size], rest[size - 1] if len(rest) > size else ""


# Verb, path, method, and the request's field that takes the name in the path.
_TOPIC, _SUBSCRIPTION = "/v1/projects/{project}/topics/{id}", "/v1/projects/{project}/subscriptions/{id}"
_REST = (
    ("POST", f"{_TOPIC}:publish", "Publish", "topic"),
    ("GET", f"{_TOPIC}/subscriptions", "ListTopicSubscriptions", "topic"),
    ("PUT", _TOPIC, "CreateTopic", "name"),
    ("GET", _TOPIC, "GetTopic", "topic"),
    ("DELETE", _TOPIC, "DeleteTopic", "topic"),
    ("GET", "/v1/projects/{project}/topics", "ListTopics", "project"),
    ("POST", f"{_SUBSCRIPTION}:pull", "Pull", "subscription"),
    ("POST", f"{_SUBSCRIPTION}:acknowledge", "Acknowledge", "subscription"),
    ("POST", f"{_SUBSCRIPTION}:modifyAckDeadline", "ModifyAckDeadline", "subscription"),
    ("PUT", _SUBSCRIPTION, "CreateSubscription", "name"),
    ("GET", _SUBSCRIPTION, "GetSubscription", "subscription"),
    ("DELETE", _SUBSCRIPTION, "DeleteSubscription", "subscription"),
    ("GET", "/v1/projects/{project}/subscriptions", "ListSubscriptions", "project"),
)


def routes(pubsub: PubSub) -> list[BaseRoute]:
    """The REST form of the methods that people and thin clients use."""
    methods = Methods(pubsub)
    kinds = {**_PUBLISHER, **_SUBSCRIBER}
    return [
        Route(path, _rest(getattr(methods, name), kinds[name], field), methods=[verb])
        for verb, path, name, field in _REST
    ]


def _rest(method: Method, kind: Any, name_field: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            message = await _request_message(request, kind, name_field)
            response = await method(message, None)
        except PubSubError as error:
            return JSONResponse(error.body(), error.http_status)
        return JSONResponse(json_format.MessageToDict(response))

    return endpoint


async def _request_message(request: Request, kind: Any, name_field: str) -> Any:
    message = kind.pb()()
    try:
        if request.method in ("POST", "PUT"):
            json_format.Parse(await _body(request) or b"{}", message)
        else:
            fields = {key: value for key, value in request.query_params.items() if not key.startswith("$")}
            json_format.ParseDict(fields, message, ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the request does not parse: {shown(str(error))}") from error
    setattr(message, name_field, _resource_name(request))
    return message


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_REQUEST_BYTES:
            raise InvalidArgument(f"the request is larger than {MAX_REQUEST_BYTES} bytes")
    return bytes(body)


def _resource_name(request: Request) -> str:
    project = f"projects/{request.path_params['project']}"
    if "id" not in request.path_params:
        return project
    kind = request.url.path.split("/")[4]
    return f"{project}/{kind}/{request.path_params['id']}"
