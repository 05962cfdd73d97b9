"""What can be asked of topics? The methods of the Publisher.

https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#publisher
"""

from __future__ import annotations

from typing import Any

from localcloud.pubsub import checks
from localcloud.pubsub.methods import Table, empty, page
from localcloud.pubsub.resources import PublishedMessage, message_type
from localcloud.pubsub.state import PubSub

TABLE = Table("google.pubsub.v1.Publisher")


@TABLE.method("topics.create", "PUT /v1/{name=projects/*/topics/*}", "Topic")
async def _create_topic(pubsub: PubSub, request: Any, _: float | None) -> Any:
    return pubsub.insert_topic(request)


@TABLE.method("topics.patch", "PATCH /v1/{topic.name=projects/*/topics/*}", "UpdateTopicRequest")
async def _update_topic(pubsub: PubSub, request: Any, _: float | None) -> Any:
    return pubsub.update_topic(request.topic, request.update_mask.paths)


@TABLE.method("topics.get", "GET /v1/{topic=projects/*/topics/*}", "GetTopicRequest")
async def _get_topic(pubsub: PubSub, request: Any, _: float | None) -> Any:
    return pubsub.topic(request.topic)


@TABLE.method("topics.list", "GET /v1/{project=projects/*}/topics", "ListTopicsRequest")
async def _list_topics(pubsub: PubSub, request: Any, _: float | None) -> Any:
    checks.check_project(request.project)
    topics, token = page(pubsub.topics(request.project), request)
    return message_type("ListTopicsResponse")(topics=topics, next_page_token=token)


@TABLE.method(
    "topics.subscriptions.list",
    "GET /v1/{topic=projects/*/topics/*}/subscriptions",
    "ListTopicSubscriptionsRequest",
)
async def _list_topic_subscriptions(pubsub: PubSub, request: Any, _: float | None) -> Any:
    names, token = page(pubsub.subscriptions_of(request.topic), request)
    return message_type("ListTopicSubscriptionsResponse")(subscriptions=names, next_page_token=token)


@TABLE.method("topics.snapshots.list", "GET /v1/{topic=projects/*/topics/*}/snapshots", "ListTopicSnapshotsRequest")
async def _list_topic_snapshots(pubsub: PubSub, request: Any, _: float | None) -> Any:
    pubsub.topic(request.topic)
    names, token = page(pubsub.snapshots.of_topic(request.topic), request)
    return message_type("ListTopicSnapshotsResponse")(snapshots=names, next_page_token=token)


@TABLE.method("topics.delete", "DELETE /v1/{topic=projects/*/topics/*}", "DeleteTopicRequest")
async def _delete_topic(pubsub: PubSub, request: Any, _: float | None) -> Any:
    pubsub.delete_topic(request.topic)
    return empty()


@TABLE.method("topics.publish", "POST /v1/{topic=projects/*/topics/*}:publish", "PublishRequest")
async def _publish(pubsub: PubSub, request: Any, _: float | None) -> Any:
    messages = [PublishedMessage(each.data, each.attributes, each.ordering_key) for each in request.messages]
    return message_type("PublishResponse")(message_ids=pubsub.publish(request.topic, messages))


@TABLE.method(
    "subscriptions.detach",
    "POST /v1/{subscription=projects/*/subscriptions/*}:detach",
    "DetachSubscriptionRequest",
)
async def _detach_subscription(pubsub: PubSub, request: Any, _: float | None) -> Any:
    pubsub.detach(request.subscription)
    return message_type("DetachSubscriptionResponse")()
