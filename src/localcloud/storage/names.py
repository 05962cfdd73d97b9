"""Which names may buckets and objects have?

https://cloud.google.com/storage/docs/buckets#naming https://cloud.google.com/storage/docs/objects#naming
"""

from __future__ import annotations

import re

from localcloud.storage.errors import StorageError, invalid, printable, required

MAX_OBJECT_NAME_BYTES = 1024
_BUCKET = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")


def check_bucket(name: str) -> str:
    """The name, if it is legal. Raises StorageError 400."""
    parts = name.split(".")
    legal = (
        _BUCKET.fullmatch(name)
        and 3 <= len(name) <= (222 if len(parts) > 1 else 63)
        and all(1 <= len(part) <= 63 for part in parts)
        and not _ADDRESS.fullmatch(name)
        and not name.startswith("goog")
        and "google" not in name
    )
    if not legal:
        raise invalid(f"Invalid bucket name: {printable(name)}")
    return name


def check_object(name: str) -> str:
    """The name, if it is legal. Raises StorageError 400."""
    if not name:
        raise required("name")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise invalid(f"Invalid object name, not valid Unicode: {printable(name)}") from error
    if size > MAX_OBJECT_NAME_BYTES:
        raise invalid(f"The specified object name is not valid: {size} bytes, more than {MAX_OBJECT_NAME_BYTES}.")
    if "\r" in name or "\n" in name:
        raise _disallowed(name)
    if name in (".", "..") or name.startswith(".well-known/acme-challenge/"):
        raise _disallowed(name)
    return name


def _disallowed(name: str) -> StorageError:
    return invalid(f"Disallowed unicode characters or reserved name in object name: {printable(name)}")
