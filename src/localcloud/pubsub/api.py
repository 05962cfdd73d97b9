"""How is Pub/Sub called? Its gRPC services, and the same methods over REST.

Both wires translate to and from the methods of one table. https://cloud.google.com/pubsub/docs/reference/rpc
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from starlette.routing import BaseRoute

from localcloud.pubsub import iam_policy, publisher, rest, schema_service, subscriber
from localcloud.pubsub.errors import DOMAIN, PubSubError
from localcloud.pubsub.methods import Method
from localcloud.pubsub.resources import message_type
from localcloud.pubsub.state import PubSub
from localcloud.pubsub.streaming import Stream

# The largest publish request has 10 MB of messages: a gRPC server needs this as its grpc.max_receive_message_length.
MAX_REQUEST_BYTES = rest.MAX_REQUEST_BYTES
METHODS = (*publisher.TABLE, *subscriber.TABLE, *schema_service.TABLE, *iam_policy.TABLE)


def routes(pubsub: PubSub) -> list[BaseRoute]:
    """All of Pub/Sub over HTTP."""
    return rest.routes(pubsub, METHODS)


def grpc_handlers(pubsub: PubSub) -> list[grpc.GenericRpcHandler]:
    """What a grpc.aio server needs to be Pub/Sub; give it grpc.max_receive_message_length of MAX_REQUEST_BYTES."""
    services: dict[str, dict[str, grpc.RpcMethodHandler]] = {}
    for method in METHODS:
        services.setdefault(method.service, {})[method.name] = _unary(pubsub, method)
    services[subscriber.SERVICE]["StreamingPull"] = grpc.stream_stream_rpc_method_handler(
        _streaming_pull(pubsub),
        request_deserializer=partial(_parsed, partial(message_type, "StreamingPullRequest")),
        response_serializer=_serialized,
    )
    return [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]


def _unary(pubsub: PubSub, method: Method) -> grpc.RpcMethodHandler:
    async def handler(request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await method.call(pubsub, request, context.time_remaining())
        except PubSubError as error:
            return await _abort(context, error)

    return grpc.unary_unary_rpc_method_handler(
        handler, request_deserializer=partial(_parsed, method.request), response_serializer=_serialized
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


def _parsed(kind: Callable[[], Any], data: bytes) -> Any:
    return kind().FromString(data)


def _serialized(message: Any) -> bytes:
    return bytes(message.SerializeToString())


async def _abort(context: grpc.aio.ServicerContext, error: PubSubError) -> None:
    code = grpc.StatusCode[error.status]
    if error.reason:
        from google.rpc.error_details_pb2 import ErrorInfo
        from google.rpc.status_pb2 import Status

        status = Status(code=code.value[0], message=str(error))
        status.details.add().Pack(ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(code, str(error))
