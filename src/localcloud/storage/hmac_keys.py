"""Which HMAC keys may sign requests in the name of a service account?

https://cloud.google.com/storage/docs/authentication/hmackeys
"""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Callable
from typing import Any

import msgspec

from localcloud.storage.errors import StorageError, condition_not_met, invalid, printable
from localcloud.storage.resources import etag
from localcloud.storage.times import timestamp
from localcloud.store import Store

ACTIVE, INACTIVE, DELETED = "ACTIVE", "INACTIVE", "DELETED"
_TABLE = "storage.hmacKeys"
_encode = msgspec.json.Encoder().encode


class HmacKey(msgspec.Struct, frozen=True):
    """A key. Times are microseconds since the epoch."""

    access_id: str
    secret: str
    email: str
    project: str
    created: int
    updated: int
    state: str = ACTIVE

    @property
    def etag(self) -> str:
        """Changes with the key."""
        return etag(self.updated)

    def resource(self, base: str) -> dict[str, Any]:
        """The key as JSON, without its secret."""
        path = f"projects/{self.project}/hmacKeys/{self.access_id}"
        return {
            "kind": "storage#hmacKeyMetadata",
            "id": f"{self.project}/{self.access_id}",
            "selfLink": f"{base}/storage/v1/{path}",
            "accessId": self.access_id,
            "projectId": self.project,
            "serviceAccountEmail": self.email,
            "state": self.state,
            "timeCreated": timestamp(self.created),
            "updated": timestamp(self.updated),
            "etag": self.etag,
        }


_decode = msgspec.json.Decoder(HmacKey).decode


class HmacKeys:
    """All keys; the deleted ones are remembered, and can be listed."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        self._store = store
        self._now = now  # microseconds

    def create(self, project: str, email: str) -> HmacKey:
        """A new key of a service account."""
        now = self._now()
        access_id = "GOOG1E" + "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(55))
        secret = base64.b64encode(secrets.token_bytes(30)).decode()
        return self._save(HmacKey(access_id, secret, email, project, created=now, updated=now))

    def list(self, project: str, email: str | None = None, *, deleted: bool = False) -> list[HmacKey]:
        """The keys of a project by access id, of one account where `email` is given."""
        keys = [_decode(value) for _, value in self._store.items(_TABLE)]
        return [
            key
            for key in keys
            if key.project == project and email in (None, key.email) and (deleted or key.state != DELETED)
        ]

    def get(self, project: str, access_id: str) -> HmacKey:
        """A key. Raises StorageError 404."""
        value = self._store.get(_TABLE, access_id)
        key = None if value is None else _decode(value)
        if key is None or key.project != project:
            raise StorageError(404, f"Access ID not found in project {project}: {printable(access_id)}")
        return key

    def secret(self, access_id: str) -> str | None:
        """The secret of a key that may sign, or None."""
        value = self._store.get(_TABLE, access_id)
        key = None if value is None else _decode(value)
        return key.secret if key is not None and key.state == ACTIVE else None

    def update(self, project: str, access_id: str, state: object, known_etag: object) -> HmacKey:
        """A key with another state. Raises StorageError 400, 404, 412."""
        key = self.get(project, access_id)
        if key.state == DELETED or state not in (ACTIVE, INACTIVE):
            raise invalid(
                f"Invalid state: {state!r:.40} of a key that is {key.state}, expected {ACTIVE} or {INACTIVE}."
            )
        if known_etag not in (None, key.etag):
            raise condition_not_met("If-Match")
        return self._save(msgspec.structs.replace(key, state=state, updated=self._now()))

    def delete(self, project: str, access_id: str) -> None:
        """End a key that is inactive. Raises StorageError 400, 404."""
        key = self.get(project, access_id)
        if key.state != INACTIVE:
            raise invalid(f"Cannot delete a key that is {key.state}; it must be {INACTIVE}.")
        self._save(msgspec.structs.replace(key, state=DELETED, updated=self._now()))

    def _save(self, key: HmacKey) -> HmacKey:
        self._store.put(_TABLE, key.access_id, _encode(key))
        return key
