"""Does the caller have the key that an object was encrypted with?

Customer-supplied keys are checked as on the real service, by their SHA-256; the bytes are stored as they are. Keys of
Cloud KMS are only named. https://cloud.google.com/storage/docs/encryption/customer-supplied-keys
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping

from localcloud.storage.buckets import Bucket
from localcloud.storage.errors import StorageError
from localcloud.storage.resources import StoredObject, Target
from localcloud.storage.wire import Call

ALGORITHM = "AES256"
KEY_BYTES = 32


def key_of(call: Call, infix: bytes = b"") -> str:
    """SHA-256 (base64) of the key in a request's headers, "" without one. Raises StorageError 400.

    With `infix` `copy-source-` the key of the object that is copied.
    """
    algorithm, key, sent_hash = (
        call.header(b"x-goog-" + infix + b"encryption-" + name) for name in (b"algorithm", b"key", b"key-sha256")
    )
    if algorithm is key is sent_hash is None:
        return ""
    if algorithm != ALGORITHM:
        raise _refused("customerEncryptionAlgorithmIsInvalid", f"The encryption algorithm is not {ALGORITHM}.")
    try:
        data = base64.b64decode(key or "", validate=True)
    except binascii.Error:
        data = b""
    if len(data) != KEY_BYTES:
        raise _refused("customerEncryptionKeyFormatIsInvalid", f"The key is not base64 of {KEY_BYTES} bytes.")
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    if sent_hash != digest:
        raise _refused("customerEncryptionKeySha256IsInvalid", "The SHA-256 hash is not that of the key.")
    return digest


def check(item: StoredObject, key: str) -> None:
    """Whether a caller with this key (its SHA-256, "" for none) may read the object. Raises StorageError 400."""
    if item.key_sha256 and not key:
        raise _refused(
            "resourceIsEncryptedWithCustomerEncryptionKey",
            "The target object is encrypted by a customer-supplied encryption key.",
        )
    if key and not item.key_sha256:
        raise _refused(
            "resourceNotEncryptedWithCustomerEncryptionKey",
            "The target object is not encrypted by a customer-supplied encryption key.",
        )
    if item.key_sha256 != key:
        raise _refused("customerEncryptionKeyIsIncorrect", "The provided encryption key is incorrect.")


def kms_key_of(target: Target, bucket: Bucket, query: Mapping[str, str]) -> str:
    """The name of the KMS key that a new object is said to be encrypted with."""
    if target.key_sha256:
        return ""
    named = query.get("destinationKmsKeyName") or query.get("kmsKeyName")
    return str(named or (bucket.fields.get("encryption") or {}).get("defaultKmsKeyName") or "")


def _refused(reason: str, message: str) -> StorageError:
    return StorageError(400, message, reason=reason)
