"""Until when may a version not be removed, and why?

Holds, the retention policy of a bucket, and the retention of a single object.
https://cloud.google.com/storage/docs/bucket-lock https://cloud.google.com/storage/docs/object-lock
https://cloud.google.com/storage/docs/object-holds
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.storage.buckets import Bucket
from localcloud.storage.errors import StorageError, invalid
from localcloud.storage.resources import StoredObject
from localcloud.storage.times import microseconds_of, timestamp

SECOND_US = 1_000_000


def expiration(item: StoredObject, bucket: Bucket) -> int | None:
    """When the bucket's policy lets go of the version, in microseconds since the epoch; None: it doesn't hold it."""
    period = bucket.retention_s
    if not period or item.fields.get("eventBasedHold"):
        return None  # the period of an event-based hold begins with its release
    return (item.released or item.created) + period * SECOND_US


def check_removal(item: StoredObject, bucket: Bucket, now: int) -> None:
    """Whether the version may be deleted or replaced. Raises StorageError 403."""
    where = f"{item.bucket}/{item.name}"
    if item.fields.get("temporaryHold") or item.fields.get("eventBasedHold"):
        raise StorageError(
            403, f"Object '{where}' is under active hold and cannot be deleted or overwritten.", reason="forbidden"
        )
    policy = expiration(item, bucket)
    if policy is not None and policy > now:
        raise StorageError(
            403,
            f"Object '{where}' is subject to bucket's retention policy and cannot be deleted or overwritten until"
            f" {timestamp(policy)}",
            reason="retentionPolicyNotMet",
        )
    until = retained_until(item)
    if until > now:
        raise StorageError(
            403,
            f"Object '{where}' is subject to object retention and cannot be deleted or overwritten until"
            f" {timestamp(until)}",
            reason="retentionPolicyNotMet",
        )


def check_change(item: StoredObject, wanted: Any, bucket: Bucket, now: int, *, override: bool) -> None:
    """Whether the retention of an object may become `wanted`. Raises StorageError 400, 403.

    A locked one only grows; an unlocked one shrinks or ends only where the caller overrides it.
    """
    check_retention(wanted, bucket, now)
    until = retained_until(item)
    if until <= now:
        return
    shorter = not wanted or microseconds_of(wanted["retainUntilTime"], "retention.retainUntilTime") < until
    if item.fields["retention"]["mode"] == "Locked":
        if shorter or wanted["mode"] != "Locked":
            raise StorageError(403, f"Object '{item.bucket}/{item.name}' has locked retention, which only grows.")
    elif (shorter or wanted["mode"] == "Locked") and not override:
        raise StorageError(
            403,
            f"Object '{item.bucket}/{item.name}' has unlocked retention: reducing, removing or locking it needs"
            " overrideUnlockedRetention=true.",
        )


def check_retention(wanted: Any, bucket: Bucket, now: int) -> None:
    """Whether an object may have this retention (None: none). Raises StorageError 400."""
    if wanted is None:
        return
    if not bucket.fields.get("objectRetention"):
        raise invalid("Object retention cannot be configured: it is not enabled for this bucket.")
    if not isinstance(wanted, Mapping) or wanted.get("mode") not in ("Locked", "Unlocked"):
        raise invalid(f"Invalid value for retention: {wanted!r:.60}, expected mode Locked or Unlocked and a time.")
    if microseconds_of(wanted.get("retainUntilTime"), "retention.retainUntilTime") <= now:
        raise invalid(f"Invalid value for retention.retainUntilTime: {wanted['retainUntilTime']!r} has passed.")


def retained_until(item: StoredObject) -> int:
    """When the object's own retention ends, in microseconds since the epoch; 0 without one."""
    retention = item.fields.get("retention")
    return microseconds_of(retention["retainUntilTime"], "retention.retainUntilTime") if retention else 0
