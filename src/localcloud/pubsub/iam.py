"""Who may do what? Policies are kept and shown, and nobody is refused anything.

https://cloud.google.com/pubsub/docs/reference/rpc/google.iam.v1
"""

from __future__ import annotations

import hashlib
from typing import Any

from localcloud.context import Context
from localcloud.pubsub.errors import Aborted

POLICIES = "pubsub.policies"


class Policies:
    """The IAM policies of topics, subscriptions, snapshots and schemas, by full name."""

    def __init__(self, context: Context) -> None:
        self._store = context.store

    def get(self, resource: str) -> Any:
        """The policy of a resource; an empty one where none was set."""
        from google.iam.v1 import policy_pb2

        row = self._store.get(POLICIES, resource)
        policy = policy_pb2.Policy(version=1) if row is None else policy_pb2.Policy.FromString(row)
        policy.etag = _etag(policy)
        return policy

    def set(self, resource: str, policy: Any) -> Any:
        """Keep a policy. Raises Aborted when its etag is not that of the policy it replaces."""
        if policy.etag and policy.etag != self.get(resource).etag:
            raise Aborted("policy.etag is not that of the policy there is; get it again")
        kept = type(policy)(version=policy.version or 1, bindings=policy.bindings)
        self._store.put(POLICIES, resource, kept.SerializeToString())
        return self.get(resource)

    def delete(self, resource: str) -> None:
        """The resource is gone, and its policy with it."""
        self._store.delete(POLICIES, resource)

    @staticmethod
    def allowed(permissions: Any) -> Any:
        """All permissions asked for: there is nobody here who has not."""
        from google.iam.v1 import iam_policy_pb2

        return iam_policy_pb2.TestIamPermissionsResponse(permissions=permissions)


def _etag(policy: Any) -> bytes:
    bindings = type(policy)(version=policy.version, bindings=policy.bindings)
    return hashlib.sha256(bindings.SerializeToString(deterministic=True)).digest()[:8]
