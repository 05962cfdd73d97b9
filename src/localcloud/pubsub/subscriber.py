"""What can be asked of subscriptions and snapshots? The methods of the Subscriber, but for StreamingPull.

https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#subscriber
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from localcloud.pubsub import checks
from localcloud.pubsub.errors import InvalidAckIds, InvalidArgument
from localcloud.pubsub.methods import Table, empty, page
from localcloud.pubsub.resources import ACK_DEADLINE_S, message_type
from localcloud.pubsub.state import PubSub
from localcloud.pubsub.streaming import Stream
from localcloud.pubsub.subscription import Subscription

SERVICE = "google.pubsub.v1.Subscriber"
PULL_WAIT_S = 20.0  # of real time, as the caller's own deadline is
_SHORTEST_WAIT_S = 0.05
_MAX_PULL = 1000

TABLE = Table(SERVICE)


@TABLE.method("subscriptions.create", "PUT /v1/{name=projects/*/subscriptions/*}", "Subscription")
async def _create_subscription(pubsub: PubSub, request: Any, _: float | None) -> Any:
    return pubsub.insert_subscription(request)


@TABLE.method("subscriptions.get", "GET /v1/{subscription=projects/*/subscriptions/*}", "GetSubscriptionRequest")
async def _get_subscription(pubsub: PubSub, request: Any, _: float | None) -> Any:
    return pubsub.subscription(request.subscription).resource


@TABLE.method(
    "subscriptions.patch",
    "PATCH /v1/{subscription.name=projects/*/subscriptions/*}",
    "UpdateSubscriptionRequest",
)
async def _update_subscription(pubsub: PubSub, request: Any, _: float | None) -> Any:
    return pubsub.update_subscription(request.subscription, request.update_mask.paths)


@TABLE.method("subscriptions.list", "GET /v1/{project=projects/*}/subscriptions", "ListSubscriptionsRequest")
async def _list_subscriptions(pubsub: PubSub, request: Any, _: float | None) -> Any:
    checks.check_project(request.project)
    subscriptions, token = page(pubsub.subscriptions(request.project), request)
    return message_type("ListSubscriptionsResponse")(subscriptions=subscriptions, next_page_token=token)


@TABLE.method(
    "subscriptions.delete",
    "DELETE /v1/{subscription=projects/*/subscriptions/*}",
    "DeleteSubscriptionRequest",
)
async def _delete_subscription(pubsub: PubSub, request: Any, _: float | None) -> Any:
    pubsub.delete_subscription(request.subscription)
    return empty()


@TABLE.method(
    "subscriptions.modifyPushConfig",
    "POST /v1/{subscription=projects/*/subscriptions/*}:modifyPushConfig",
    "ModifyPushConfigRequest",
)
async def _modify_push_config(pubsub: PubSub, request: Any, _: float | None) -> Any:
    changed = message_type("Subscription")(name=request.subscription, push_config=request.push_config)
    pubsub.update_subscription(changed, ["push_config"])
    return empty()


@TABLE.method(
    "subscriptions.modifyAckDeadline",
    "POST /v1/{subscription=projects/*/subscriptions/*}:modifyAckDeadline",
    "ModifyAckDeadlineRequest",
)
async def _modify_ack_deadline(pubsub: PubSub, request: Any, _: float | None) -> Any:
    if not 0 <= request.ack_deadline_seconds <= ACK_DEADLINE_S[1]:
        raise InvalidArgument(f"ack_deadline_seconds is {request.ack_deadline_seconds}; expected 0 to 600")
    checks.check_ack_ids(request.ack_ids)
    subscription = pubsub.pullable(request.subscription)
    _confirm(subscription, subscription.extend(request.ack_ids, request.ack_deadline_seconds))
    return empty()


@TABLE.method(
    "subscriptions.acknowledge",
    "POST /v1/{subscription=projects/*/subscriptions/*}:acknowledge",
    "AcknowledgeRequest",
)
async def _acknowledge(pubsub: PubSub, request: Any, _: float | None) -> Any:
    checks.check_ack_ids(request.ack_ids)
    subscription = pubsub.pullable(request.subscription)
    _confirm(subscription, subscription.acknowledge(request.ack_ids))
    return empty()


def _confirm(subscription: Subscription, invalid: Sequence[str]) -> None:
    """Ack ids that are not valid are told about where delivery is exactly-once, and elsewhere ignored."""
    if invalid and subscription.is_exactly_once:
        raise InvalidAckIds(invalid)


@TABLE.method("subscriptions.pull", "POST /v1/{subscription=projects/*/subscriptions/*}:pull", "PullRequest")
async def _pull(pubsub: PubSub, request: Any, patience_s: float | None) -> Any:
    if request.max_messages < 1:
        raise InvalidArgument(f"max_messages is {request.max_messages}; expected at least 1")
    limit = min(request.max_messages, _MAX_PULL)
    # Answer before the caller gives up: messages leased to nobody would wait for their lease to end.
    wait_s = PULL_WAIT_S if patience_s is None else min(PULL_WAIT_S, 0.9 * patience_s)
    stream = Stream(pubsub.pullable(request.subscription))
    response = message_type("PullResponse")()
    with stream.listening():
        stream.take(limit, response.received_messages)
        loop = asyncio.get_running_loop()
        end = loop.time() + (0 if request.return_immediately else wait_s)
        while not response.received_messages and (left := end - loop.time()) > _SHORTEST_WAIT_S and not stream.closed:
            await stream.changed(left)
            stream.take(limit, response.received_messages)
    return response


@TABLE.method("subscriptions.seek", "POST /v1/{subscription=projects/*/subscriptions/*}:seek", "SeekRequest")
async def _seek(pubsub: PubSub, request: Any, _: float | None) -> Any:
    match request.WhichOneof("target"):
        case "time":
            pubsub.seek(request.subscription, request.time.ToNanoseconds() / 1e9)
        case "snapshot":
            pubsub.seek_to_snapshot(request.subscription, request.snapshot)
        case _:
            raise InvalidArgument("target is not set; expected a time or a snapshot")
    return message_type("SeekResponse")()


# Snapshots


@TABLE.method("snapshots.create", "PUT /v1/{name=projects/*/snapshots/*}", "CreateSnapshotRequest")
async def _create_snapshot(pubsub: PubSub, request: Any, _: float | None) -> Any:
    return pubsub.create_snapshot(request.name, request.subscription, dict(request.labels))


@TABLE.method("snapshots.get", "GET /v1/{snapshot=projects/*/snapshots/*}", "GetSnapshotRequest")
async def _get_snapshot(pubsub: PubSub, request: Any, _: float | None) -> Any:
    return pubsub.snapshots.get(request.snapshot)


@TABLE.method("snapshots.list", "GET /v1/{project=projects/*}/snapshots", "ListSnapshotsRequest")
async def _list_snapshots(pubsub: PubSub, request: Any, _: float | None) -> Any:
    checks.check_project(request.project)
    snapshots, token = page(pubsub.snapshots.below(request.project), request)
    return message_type("ListSnapshotsResponse")(snapshots=snapshots, next_page_token=token)


@TABLE.method("snapshots.patch", "PATCH /v1/{snapshot.name=projects/*/snapshots/*}", "UpdateSnapshotRequest")
async def _update_snapshot(pubsub: PubSub, request: Any, _: float | None) -> Any:
    return pubsub.snapshots.update(request.snapshot, request.update_mask.paths)


@TABLE.method("snapshots.delete", "DELETE /v1/{snapshot=projects/*/snapshots/*}", "DeleteSnapshotRequest")
async def _delete_snapshot(pubsub: PubSub, request: Any, _: float | None) -> Any:
    pubsub.snapshots.delete(request.snapshot)
    pubsub.policies.delete(request.snapshot)
    return empty()
