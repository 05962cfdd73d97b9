"""What is a bucket, as kept and as shown, and which settings may it have?

https://cloud.google.com/storage/docs/json_api/v1/buckets#resource
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from localcloud.storage import lifecycle
from localcloud.storage.errors import StorageError, invalid
from localcloud.storage.resources import STORAGE_CLASSES, etag, merged
from localcloud.storage.times import DAY_US, microseconds_of, timestamp

MAX_RETENTION_S = 100 * 365 * 24 * 3600
SOFT_DELETE_S = (7 * 24 * 3600, 90 * 24 * 3600)  # besides 0, which is off
MAX_LABELS = 64
UNIFORM_ACCESS_US = 90 * DAY_US  # for so long it can be turned off again
PROJECT_NUMBER = "1"
_SETTINGS = frozenset(
    {
        "autoclass",
        "billing",
        "cors",
        "customPlacementConfig",
        "defaultEventBasedHold",
        "encryption",
        "hierarchicalNamespace",
        "iamConfiguration",
        "ipFilter",
        "labels",
        "lifecycle",
        "logging",
        "retentionPolicy",
        "rpo",
        "softDeletePolicy",
        "storageClass",
        "versioning",
        "website",
    }
)
_OBJECTS = _SETTINGS - {"cors", "defaultEventBasedHold", "rpo", "storageClass"}  # JSON objects, that is
_TERMINAL_CLASSES = ("NEARLINE", "ARCHIVE")
_RESTRICTIONS = ("NotRestricted", "FullyRestricted")
_ENFORCEMENTS = frozenset(
    {
        "googleManagedEncryptionEnforcementConfig",
        "customerManagedEncryptionEnforcementConfig",
        "customerSuppliedEncryptionEnforcementConfig",
    }
)
_MULTI_REGIONS = frozenset({"US", "EU", "ASIA"})
_DUAL_REGIONS = frozenset({"ASIA1", "EUR4", "EUR5", "EUR7", "EUR8", "NAM4"})


class Bucket(msgspec.Struct, frozen=True, omit_defaults=True):
    """A bucket. Times are microseconds since the epoch; `fields` is what the owner may set, as JSON."""

    name: str
    location: str
    created: int
    updated: int
    fields: dict[str, Any]
    generation: int = 0  # of the bucket itself; no condition refers to it
    metageneration: int = 1
    acl: list[dict[str, Any]] | None = None  # entity and role of each entry; None: what a new bucket has
    default_object_acl: list[dict[str, Any]] | None = None
    policy: dict[str, Any] | None = None  # IAM
    soft_deleted: int | None = None  # when it was deleted, to be restored within its own time
    hard_delete: int | None = None  # when that time ends

    @property
    def versioned(self) -> bool:
        """Whether replaced and deleted objects are kept as noncurrent versions."""
        return bool((self.fields.get("versioning") or {}).get("enabled"))

    @property
    def storage_class(self) -> str:
        """Of objects that name none."""
        return str(self.fields.get("storageClass", "STANDARD"))

    @property
    def retention_s(self) -> int:
        """How long an object is kept at least, in seconds; 0 without a retention policy."""
        return int((self.fields.get("retentionPolicy") or {}).get("retentionPeriod") or 0)

    @property
    def soft_delete_s(self) -> int:
        """How long a deleted object can be restored, in seconds; 0 where it is gone at once."""
        return int((self.fields.get("softDeletePolicy") or {}).get("retentionDurationSeconds") or 0)

    @property
    def has_uniform_access(self) -> bool:
        """Whether IAM alone grants access, and ACLs are refused."""
        configuration = self.fields.get("iamConfiguration") or {}
        return bool((configuration.get("uniformBucketLevelAccess") or {}).get("enabled"))

    @property
    def location_type(self) -> str:
        """`region`, `dual-region` or `multi-region`."""
        if self.location in _DUAL_REGIONS or "customPlacementConfig" in self.fields:
            return "dual-region"
        return "multi-region" if self.location in _MULTI_REGIONS else "region"

    def resource(self, base: str) -> dict[str, Any]:
        """The bucket as JSON, without its ACLs; `base` is the API's address."""
        shown = {
            "kind": "storage#bucket",
            "selfLink": f"{base}/storage/v1/b/{self.name}",
            "id": self.name,
            "name": self.name,
            "projectNumber": PROJECT_NUMBER,
            "generation": str(self.created),
            "metageneration": str(self.metageneration),
            "location": self.location,
            "locationType": self.location_type,
            "storageClass": self.storage_class,
            "etag": etag(self.metageneration),
            "timeCreated": timestamp(self.created),
            "updated": timestamp(self.updated),
            **self.fields,
            "iamConfiguration": _access_shown(self.fields.get("iamConfiguration") or {}),
        }
        if self.location_type != "region":
            shown.setdefault("rpo", "DEFAULT")
        if self.soft_deleted is not None:
            shown["softDeleteTime"] = timestamp(self.soft_deleted)
            shown["hardDeleteTime"] = timestamp(self.hard_delete or 0)
        return shown


def settings(resource: Mapping[str, Any]) -> dict[str, Any]:
    """What an owner may set of a bucket, checked; None stands for "remove". Raises StorageError 400."""
    fields = {name: value for name, value in resource.items() if name in _SETTINGS}
    for name, value in fields.items():
        if name in _OBJECTS and not (value is None or isinstance(value, dict)):
            raise invalid(f"Invalid value for {name}: {value!r:.40}, expected an object.")
    if fields.get("storageClass") not in (None, *STORAGE_CLASSES):
        raise invalid(f"Invalid storage class: {fields['storageClass']!r:.40}, expected one of {_listed()}.")
    if not isinstance(fields.get("defaultEventBasedHold") or False, bool):
        raise invalid(f"Invalid value for defaultEventBasedHold: {fields['defaultEventBasedHold']!r:.40}.")
    if not isinstance(fields.get("cors") or [], list):
        raise invalid(f"Invalid value for cors: {fields['cors']!r:.40}, expected a list.")
    _check_labels(fields.get("labels") or {})
    lifecycle.check(fields.get("lifecycle"))
    return fields


def changed(bucket: Bucket, changes: Mapping[str, Any], now: int, *, replace: bool = False) -> Bucket:
    """The bucket after `changes` (of `settings`) are merged into its settings, or replace them all.

    Raises StorageError 400, 403.
    """
    fields = merged({} if replace else bucket.fields, changes)
    if kept := bucket.fields.get("objectRetention"):
        fields["objectRetention"] = kept  # set once, when the bucket is made
    _settle_access(bucket, fields, now)
    _settle_retention(bucket, fields, now)
    _settle_soft_delete(bucket, fields, now)
    _settle_autoclass(bucket, fields, now)
    _settle_encryption(bucket, fields, now)
    return msgspec.structs.replace(bucket, fields=fields, updated=now, metageneration=bucket.metageneration + 1)


def locked(bucket: Bucket, now: int) -> Bucket:
    """The bucket with its retention policy locked for good. Raises StorageError 400."""
    policy = bucket.fields.get("retentionPolicy")
    if not policy:
        raise invalid("The bucket has no retention policy to lock.")
    fields = {**bucket.fields, "retentionPolicy": {**policy, "isLocked": True}}
    return msgspec.structs.replace(bucket, fields=fields, updated=now, metageneration=bucket.metageneration + 1)


def _settle_access(bucket: Bucket, fields: dict[str, Any], now: int) -> None:
    """Bring the two names of uniform access together; once on, it can be turned off for 90 days."""
    configuration = fields.get("iamConfiguration")
    if not configuration:
        return
    uniform = configuration.get("uniformBucketLevelAccess") or configuration.get("bucketPolicyOnly") or {}
    fields["iamConfiguration"] = {name: value for name, value in configuration.items() if name != "bucketPolicyOnly"}
    before = (bucket.fields.get("iamConfiguration") or {}).get("uniformBucketLevelAccess") or {}
    if uniform.get("enabled"):
        locked_from = before.get("lockedTime") or timestamp(now + UNIFORM_ACCESS_US)
        fields["iamConfiguration"]["uniformBucketLevelAccess"] = {"enabled": True, "lockedTime": locked_from}
    elif before.get("enabled") and microseconds_of(before["lockedTime"], "lockedTime") <= now:
        raise invalid("Cannot disable uniform bucket-level access: it has been enabled for more than 90 days.")
    else:
        fields["iamConfiguration"]["uniformBucketLevelAccess"] = {"enabled": False}


def _settle_retention(bucket: Bucket, fields: dict[str, Any], now: int) -> None:
    """Check the retention policy in `fields` against the one that stands, and add what the server says of it."""
    before = bucket.fields.get("retentionPolicy") or {}
    policy = fields.get("retentionPolicy") or {}
    period = _seconds(policy.get("retentionPeriod"), "retentionPolicy.retentionPeriod", MAX_RETENTION_S)
    if before.get("isLocked") and period < bucket.retention_s:
        raise StorageError(403, "Cannot reduce or remove the retention policy of the bucket: it is locked.")
    if not period:
        fields.pop("retentionPolicy", None)
        return
    since = before.get("effectiveTime") if period == bucket.retention_s else None
    fields["retentionPolicy"] = {"retentionPeriod": str(period), "effectiveTime": since or timestamp(now)}
    if before.get("isLocked"):
        fields["retentionPolicy"]["isLocked"] = True


def _settle_soft_delete(bucket: Bucket, fields: dict[str, Any], now: int) -> None:
    policy = fields.get("softDeletePolicy")
    if not policy:
        fields.pop("softDeletePolicy", None)
        return
    name = "softDeletePolicy.retentionDurationSeconds"
    seconds = _seconds(policy.get("retentionDurationSeconds"), name, SOFT_DELETE_S[1])
    if seconds and seconds < SOFT_DELETE_S[0]:
        raise invalid(f"Invalid value for {name}: {seconds}, expected 0 or {SOFT_DELETE_S[0]} to {SOFT_DELETE_S[1]}.")
    before = bucket.fields.get("softDeletePolicy") or {}
    since = before.get("effectiveTime") if seconds == bucket.soft_delete_s else None
    fields["softDeletePolicy"] = {"retentionDurationSeconds": str(seconds), "effectiveTime": since or timestamp(now)}


def _settle_autoclass(bucket: Bucket, fields: dict[str, Any], now: int) -> None:
    """Say since when. https://cloud.google.com/storage/docs/json_api/v1/buckets#autoclass"""
    autoclass = fields.get("autoclass")
    if not autoclass:
        return
    before = bucket.fields.get("autoclass") or {}
    enabled, was_enabled = bool(autoclass.get("enabled")), bool(before.get("enabled"))
    toggled = before.get("toggleTime") if enabled == was_enabled else None
    fields["autoclass"] = {"enabled": enabled, "toggleTime": toggled or timestamp(now)}
    if not enabled:
        return
    coldest = autoclass.get("terminalStorageClass") or _TERMINAL_CLASSES[0]
    if coldest not in _TERMINAL_CLASSES:
        raise invalid(
            f"Invalid value for autoclass.terminalStorageClass: {coldest!r:.40},"
            f" expected {' or '.join(_TERMINAL_CLASSES)}."
        )
    changed_at = before.get("terminalStorageClassUpdateTime") if coldest == before.get("terminalStorageClass") else None
    fields["autoclass"] |= {
        "terminalStorageClass": coldest,
        "terminalStorageClassUpdateTime": changed_at or timestamp(now),
    }


def _settle_encryption(bucket: Bucket, fields: dict[str, Any], now: int) -> None:
    """Say since when each kind of encryption is refused or not; nothing is."""
    encryption = fields.get("encryption")
    if not encryption:
        return
    fields["encryption"] = encryption = dict(encryption)
    for name in _ENFORCEMENTS & encryption.keys():
        mode = encryption[name].get("restrictionMode") if isinstance(encryption[name], dict) else encryption[name]
        if mode not in _RESTRICTIONS:
            raise invalid(
                f"Invalid value for encryption.{name}.restrictionMode: {mode!r:.40},"
                f" expected {' or '.join(_RESTRICTIONS)}."
            )
        before = (bucket.fields.get("encryption") or {}).get(name) or {}
        since = before.get("effectiveTime") if mode == before.get("restrictionMode") else None
        encryption[name] = {"restrictionMode": mode, "effectiveTime": since or timestamp(now)}


def _seconds(value: object, name: str, most: int) -> int:
    text = str(0 if value is None else value)
    if not (text.isascii() and text.isdigit()) or len(text) > 12 or int(text) > most:
        raise invalid(f"Invalid value for {name}: {text[:40]!r}, expected seconds up to {most}.")
    return int(text)


def _check_labels(labels: Mapping[str, Any]) -> None:
    if len(labels) > MAX_LABELS:
        raise invalid(f"The bucket would have {len(labels)} labels, more than {MAX_LABELS}.")
    for key, value in labels.items():
        if not (value is None or isinstance(value, str)) or len(key) > 63 or len(value or "") > 63:
            raise invalid(f"Invalid value for labels.{key!s:.63}: {value!r:.40}, expected up to 63 characters.")


def _access_shown(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Both names of uniform access, and what holds where the owner has set nothing."""
    uniform = configuration.get("uniformBucketLevelAccess") or {"enabled": False}
    return {
        "bucketPolicyOnly": uniform,
        "uniformBucketLevelAccess": uniform,
        "publicAccessPrevention": configuration.get("publicAccessPrevention") or "inherited",
    }


def _listed() -> str:
    return ", ".join(sorted(STORAGE_CLASSES))
