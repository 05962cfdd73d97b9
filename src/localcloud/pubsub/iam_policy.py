"""What can be asked about permissions? The methods of IAM's own service, on Pub/Sub's resources.

https://cloud.google.com/pubsub/docs/reference/rpc/google.iam.v1
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localcloud.pubsub.errors import InvalidArgument, shown
from localcloud.pubsub.methods import Table
from localcloud.pubsub.state import PubSub


def _request(name: str) -> Any:
    from google.iam.v1 import iam_policy_pb2

    return getattr(iam_policy_pb2, name)


TABLE = Table("google.iam.v1.IAMPolicy", _request)


@TABLE.method("iam.getIamPolicy", "GET /v1/{resource=projects/*/*/*}:getIamPolicy", "GetIamPolicyRequest")
async def _get_iam_policy(pubsub: PubSub, request: Any, _: float | None) -> Any:
    _check_exists(pubsub, request.resource)
    return pubsub.policies.get(request.resource)


@TABLE.method("iam.setIamPolicy", "POST /v1/{resource=projects/*/*/*}:setIamPolicy", "SetIamPolicyRequest")
async def _set_iam_policy(pubsub: PubSub, request: Any, _: float | None) -> Any:
    _check_exists(pubsub, request.resource)
    return pubsub.policies.set(request.resource, request.policy)


@TABLE.method(
    "iam.testIamPermissions",
    "POST /v1/{resource=projects/*/*/*}:testIamPermissions",
    "TestIamPermissionsRequest",
)
async def _test_iam_permissions(pubsub: PubSub, request: Any, _: float | None) -> Any:
    return pubsub.policies.allowed(request.permissions)


def _check_exists(pubsub: PubSub, name: str) -> None:
    """Raises NotFound for a resource that is not there, InvalidArgument for what has no policy."""
    find: dict[str, Callable[[str], object]] = {
        "topics": pubsub.topic,
        "subscriptions": pubsub.subscription,
        "snapshots": pubsub.snapshots.get,
        "schemas": pubsub.schemas.get,
    }
    kind = name.split("/")[2] if name.count("/") == 3 else ""
    if kind not in find:
        raise InvalidArgument(f"resource is {shown(name)}; expected a topic, subscription, snapshot or schema")
    find[kind](name)
