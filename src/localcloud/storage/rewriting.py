"""How far does a rewrite get in one request?

Within one location and storage class, and without a limit by the caller, to the end. A limit only spreads the answer:
the bytes are taken over at once, by the last request. https://cloud.google.com/storage/docs/json_api/v1/objects/rewrite
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping

import msgspec

from localcloud.storage.errors import StorageError, invalid
from localcloud.storage.preconditions import number
from localcloud.storage.resources import StoredObject, Target
from localcloud.storage.state import Storage

STEP_BYTES = 2**20  # limits are multiples of it
_PARAMETER = "maxBytesRewrittenPerCall"


def progress(storage: Storage, source: StoredObject, target: Target, query: Mapping[str, str]) -> tuple[int, str]:
    """Bytes written after this request, and the token to go on with; none at the end. Raises StorageError 400."""
    limit = number(query, _PARAMETER)
    if limit is not None and (limit == 0 or limit % STEP_BYTES):
        raise invalid(f"Invalid value for {_PARAMETER}: {limit}, expected a multiple of {STEP_BYTES}.")
    token = query.get("rewriteToken")
    written = _written(token, _mark(source, target, limit)) if token else 0
    if limit is None or not _is_slow(storage, source, target) or written + limit >= source.size:
        return source.size, ""
    return written + limit, _encode(written + limit, _mark(source, target, limit))


def _is_slow(storage: Storage, source: StoredObject, target: Target) -> bool:
    """Whether bytes have to move: to another location, or storage of another class."""
    origin, destination = storage.catalog.get(source.bucket), storage.catalog.get(target.bucket)
    storage_class = target.storage_class or destination.storage_class
    return (source.storage_class, origin.location) != (storage_class, destination.location)


def _mark(source: StoredObject, target: Target, limit: int | None) -> str:
    """What must not change from one request to the next."""
    what = msgspec.msgpack.encode((source.key, target.bucket, target.name, limit))
    return hashlib.sha256(what).hexdigest()


def _encode(written: int, mark: str) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode((written, mark))).decode()


def _written(token: str, mark: str) -> int:
    try:
        data = base64.b64decode(token, altchars=b"-_", validate=True)
        written, known = msgspec.msgpack.decode(data, type=tuple[int, str])
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise _unknown(token) from error
    if known != mark or written < 0:
        raise _unknown(token)
    return written


def _unknown(token: str) -> StorageError:
    return invalid(
        f"Invalid rewrite token: {token[:40]!r}; it goes with the same source, destination and limit only.",
        ("parameter", "rewriteToken"),
    )
