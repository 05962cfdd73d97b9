"""What is an object, as kept and as shown?

https://cloud.google.com/storage/docs/json_api/v1/objects#resource
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from localcloud.storage.errors import invalid
from localcloud.storage.preconditions import NONE, Preconditions
from localcloud.storage.times import microseconds_of, timestamp

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
STORAGE_CLASSES = frozenset(
    {
        "STANDARD",
        "NEARLINE",
        "COLDLINE",
        "ARCHIVE",
        "MULTI_REGIONAL",
        "REGIONAL",
        "DURABLE_REDUCED_AVAILABILITY",
    }
)
_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*")
# Not copied with an object: each says something about one object only.
_PERSONAL_FIELDS = frozenset({*_FLAG_FIELDS, "retention"})


class StoredObject(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
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
    released: int | None = None  # when its event-based hold ended
    reclassified: int | None = None  # when its storage class last changed
    soft_deleted: int | None = None  # when it was deleted in a bucket that keeps such objects for a time
    hard_delete: int | None = None  # when that time ends
    acl: list[dict[str, Any]] | None = None  # entity and role of each entry; None: what a new object has
    policy: dict[str, Any] | None = None  # IAM
    key_sha256: str = ""  # of the customer's key that it is encrypted with, base64
    kms_key: str = ""  # name of the KMS key that it is said to be encrypted with

    @property
    def key(self) -> str:
        """Of its rows. A generation has as many digits for the next 250 years, so keys sort like the listing."""
        return f"{self.bucket}/{self.name}/{self.generation:016d}"

    @property
    def etag(self) -> str:
        """Changes with the content and with the metadata."""
        return etag(self.generation, self.metageneration)

    @property
    def copied_fields(self) -> dict[str, Any]:
        """What a copy without metadata of its own takes over."""
        return {name: value for name, value in self.fields.items() if name not in _PERSONAL_FIELDS}

    def resource(self, base: str) -> dict[str, Any]:
        """The object as JSON, without its ACL; `base` is the API's address."""
        path = f"storage/v1/b/{self.bucket}/o/{_quoted(self.name)}"
        created = timestamp(self.created)
        generation = str(self.generation)
        shown: dict[str, Any] = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{generation}",
            "selfLink": f"{base}/{path}",
            "mediaLink": f"{base}/download/{path}?generation={generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": generation,
            "metageneration": str(self.metageneration),
            "storageClass": self.storage_class,
            "size": str(self.size),
            "crc32c": self.crc32c,
            "etag": self.etag,
            "timeCreated": created,
            "updated": created if self.updated == self.created else timestamp(self.updated),
            "timeStorageClassUpdated": timestamp(self.reclassified) if self.reclassified else created,
            "timeFinalized": created,
        }
        if self.md5 is not None:
            shown["md5Hash"] = self.md5
        if self.components is not None:
            shown["componentCount"] = self.components
        if self.deleted is not None:
            shown["timeDeleted"] = timestamp(self.deleted)
        if self.soft_deleted is not None:
            shown["softDeleteTime"] = timestamp(self.soft_deleted)
            shown["hardDeleteTime"] = timestamp(self.hard_delete or 0)
        if self.key_sha256:
            shown["customerEncryption"] = {"encryptionAlgorithm": "AES256", "keySha256": self.key_sha256}
        if self.kms_key:
            shown["kmsKeyName"] = f"{self.kms_key}/cryptoKeyVersions/1"
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
    acl: list[dict[str, Any]] | None = None
    key_sha256: str = ""
    kms_key: str = ""


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
    if fields.get("customTime") is not None:
        microseconds_of(fields["customTime"], "customTime")
    if resource.get("contexts"):
        raise invalid("Object contexts are not emulated.")
    if "retention" in resource:
        fields["retention"] = resource["retention"]
    return fields


def storage_class_of(resource: Mapping[str, Any]) -> str | None:
    """The storage class a new object is to have, None for the bucket's. Raises StorageError 400."""
    storage_class = resource.get("storageClass")
    if storage_class is not None and storage_class not in STORAGE_CLASSES:
        known = ", ".join(sorted(STORAGE_CLASSES))
        raise invalid(f"Invalid storage class: {storage_class!r:.40}, expected one of {known}.")
    return storage_class


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


def _quoted(name: str) -> str:
    """A name as one part of a path. Most need nothing but their slashes quoted, which is ten times as fast alone."""
    return name.replace("/", "%2F") if _PLAIN.fullmatch(name) else quote(name, safe="")


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
