"""What are a bucket and an object, as kept and as shown?

https://cloud.google.com/storage/docs/json_api/v1/objects#resource https://cloud.google.com/storage/docs/json_api/v1/buckets#resource
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from localcloud.storage.errors import StorageError, invalid
from localcloud.storage.preconditions import NONE, Preconditions

MAX_METADATA_BYTES = 8 * 1024
_TEXT_FIELDS = (
    "contentType",
    "contentEncoding",
    "contentDisposition",
    "contentLanguage",
    "cacheControl",
    "customTime",
)
_FLAG_FIELDS = ("temporaryHold", "eventBasedHold")
_BUCKET_FIELDS = frozenset(
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
        "objectRetention",
        "retentionPolicy",
        "rpo",
        "softDeletePolicy",
        "storageClass",
        "versioning",
        "website",
    }
)
_MULTI_REGIONS = frozenset({"US", "EU", "ASIA"})


class Bucket(msgspec.Struct, frozen=True, omit_defaults=True):
    """A bucket. Times are microseconds since the epoch; `fields` is what the owner may set, as JSON."""

    name: str
    location: str
    created: int
    updated: int
    fields: dict[str, Any]
    generation: int = 0  # of the bucket itself; no condition refers to it
    metageneration: int = 1

    @property
    def versioned(self) -> bool:
        """Whether replaced and deleted objects are kept as noncurrent versions."""
        return bool((self.fields.get("versioning") or {}).get("enabled"))

    @property
    def storage_class(self) -> str:
        """Of objects that name none."""
        return str(self.fields.get("storageClass", "STANDARD"))

    def resource(self, base: str) -> dict[str, Any]:
        """The bucket as JSON; `base` is the API's address."""
        return {
            "kind": "storage#bucket",
            "selfLink": f"{base}/storage/v1/b/{self.name}",
            "id": self.name,
            "name": self.name,
            "projectNumber": "1",
            "metageneration": str(self.metageneration),
            "location": self.location.upper(),
            "locationType": "multi-region" if self.location.upper() in _MULTI_REGIONS else "region",
            "storageClass": self.storage_class,
            "etag": etag(self.metageneration),
            "timeCreated": timestamp(self.created),
            "updated": timestamp(self.updated),
            **self.fields,
        }


class StoredObject(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of an object. Times are microseconds since the epoch; `fields` is what the owner may set, as JSON."""

    bucket: str
    name: str
    generation: int
    size: int
    crc32c: str
    created: int
    updated: int
    storage_class: str
    fields: dict[str, Any]
    md5: str | None = None  # composite objects have none
    metageneration: int = 1
    components: int | None = None
    file: str = ""  # name of the payload's file; without one the payload is a row
    deleted: int | None = None  # when it became noncurrent

    @property
    def key(self) -> str:
        """Of its rows. A generation has as many digits for the next 250 years, so keys sort like the listing."""
        return f"{self.bucket}/{self.name}/{self.generation:016d}"

    @property
    def etag(self) -> str:
        """Changes with the content and with the metadata."""
        return etag(self.generation, self.metageneration)

    @property
    def is_held(self) -> bool:
        """Whether a hold forbids to delete or replace it."""
        return bool(self.fields.get("temporaryHold") or self.fields.get("eventBasedHold"))

    def resource(self, base: str) -> dict[str, Any]:
        """The object as JSON; `base` is the API's address."""
        path = f"storage/v1/b/{self.bucket}/o/{quote(self.name, safe='')}"
        created = timestamp(self.created)
        shown: dict[str, Any] = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": f"{base}/{path}",
            "mediaLink": f"{base}/download/{path}?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "storageClass": self.storage_class,
            "size": str(self.size),
            "crc32c": self.crc32c,
            "etag": self.etag,
            "timeCreated": created,
            "updated": timestamp(self.updated),
            "timeStorageClassUpdated": created,
            "timeFinalized": created,
        }
        if self.md5 is not None:
            shown["md5Hash"] = self.md5
        if self.components is not None:
            shown["componentCount"] = self.components
        if self.deleted is not None:
            shown["timeDeleted"] = timestamp(self.deleted)
        shown.update(self.fields)
        return shown


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be written: where, as what, on which conditions; `checksums` (`crc32c`, `md5`) are the client's."""

    bucket: str
    name: str
    fields: dict[str, Any] = {}
    storage_class: str | None = None
    conditions: Preconditions = NONE
    checksums: dict[str, str] = {}


def object_fields(resource: Mapping[str, Any]) -> dict[str, Any]:
    """What an owner may set of an object, checked; None stands for "remove". Raises StorageError 400."""
    fields: dict[str, Any] = {}
    for name in _TEXT_FIELDS:
        if name in resource:
            fields[name] = _text(name, resource[name])
    for name in _FLAG_FIELDS:
        if name in resource:
            value = resource[name]
            if not (value is None or isinstance(value, bool)):
                raise invalid(f"Invalid value for {name}: {value!r:.40}, expected true or false.")
            fields[name] = value
    if "metadata" in resource:
        fields["metadata"] = _metadata(resource["metadata"])
    return fields


def bucket_fields(resource: Mapping[str, Any]) -> dict[str, Any]:
    """What an owner may set of a bucket; None stands for "remove". Raises StorageError 400."""
    versioning = resource.get("versioning")
    if not (versioning is None or isinstance(versioning, dict)):
        raise invalid(f"Invalid value for versioning: {versioning!r:.40}, expected an object.")
    return {name: value for name, value in resource.items() if name in _BUCKET_FIELDS}


def merged(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` after a patch: members that are None go, objects merge. https://datatracker.ietf.org/doc/html/rfc7386"""
    result = dict(fields)
    for name, change in changes.items():
        if change is None:
            result.pop(name, None)
        elif isinstance(change, dict):
            before = result.get(name)
            result[name] = merged(before if isinstance(before, dict) else {}, change)
        else:
            result[name] = change
    return result


def checked(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of an object about to be stored. Raises StorageError 400 when its metadata is too large."""
    metadata = fields.get("metadata")
    if metadata:
        size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
        if size > MAX_METADATA_BYTES:
            raise invalid(f"The metadata of the object has {size} bytes, more than {MAX_METADATA_BYTES}.")
    elif metadata is not None:
        del fields["metadata"]
    return fields


def timestamp(microseconds: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(microseconds // 1_000_000, UTC)
    # Not strftime, which is slower: a page of a listing has thousands of these.
    return f"{moment.isoformat()[:19]}.{microseconds // 1000 % 1000:03d}Z"


def etag(*numbers: int) -> str:
    """Cloud Storage's own form: base64 of a protocol buffer whose fields 1, 2, ... are these numbers."""
    encoded = bytearray()
    for field, number in enumerate(numbers, 1):
        encoded.append(field << 3)
        while number > 0x7F:
            encoded.append(number & 0x7F | 0x80)
            number >>= 7
        encoded.append(number)
    return base64.b64encode(encoded).decode()


def _text(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise invalid(f"Invalid value for {name}: {value!r:.40}, expected a string.")
    # Becomes a response header: a line break would start another one.
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise invalid(f"Invalid value for {name}: {value!r:.40} has control characters.")
    return value


def _metadata(value: object) -> dict[str, str | None] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise invalid(f"Invalid value for metadata: {value!r:.40}, expected an object of strings.")
    for key, text in value.items():
        if not (text is None or isinstance(text, str)):
            raise invalid(f"Invalid value for metadata.{key!s:.40}: {text!r:.40}, expected a string.")
    return value


def held(item: StoredObject) -> StorageError:
    """403: a hold forbids to remove this version."""
    return StorageError(
        403, f"Object '{item.bucket}/{item.name}' is under active hold and cannot be deleted or overwritten."
    )
