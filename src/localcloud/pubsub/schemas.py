"""Which schemas are there, and which of their revisions does a topic's message fit?

https://cloud.google.com/pubsub/docs/schemas
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from localcloud.context import Context
from localcloud.pubsub import checks, definitions
from localcloud.pubsub.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    shown,
)
from localcloud.pubsub.resources import BASIC, FULL, JSON, PublishedMessage, message_type, short_name

SCHEMAS, COMPILED = "pubsub.schemas", "pubsub.compiled-schemas"
MAX_REVISIONS = 20


class Schemas:
    """All schemas; each is its revisions, oldest first. Names may end with `@<revision>` where one is looked at.

    What is compiled is passed in, made by `definitions.compiled`: that may take a process.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._schemas: dict[str, list[Any]] = {}
        for _, row in context.store.items(SCHEMAS):
            revision = message_type("Schema").FromString(row)
            self._schemas.setdefault(revision.name, []).append(revision)

    def create(self, name: str, schema: Any, compiled: bytes) -> Any:
        """Create a schema of one revision. Raises InvalidArgument, AlreadyExists, ResourceExhausted."""
        checks.check_name(name, "schemas")
        if name in self._schemas:
            raise AlreadyExists(f"Resource already exists in the project (resource={short_name(name)}).")
        checks.check_room("schemas", name, self._schemas)
        return self._add(name, schema, compiled)

    def commit(self, name: str, schema: Any, compiled: bytes) -> Any:
        """Add a revision. Raises NotFound, InvalidArgument, ResourceExhausted."""
        latest = self.get(name)
        if schema.name not in ("", name):
            raise InvalidArgument(f"schema.name is {shown(schema.name)}; expected {name}")
        if schema.type_ != latest.type_:
            raise InvalidArgument("schema.type differs from that of the other revisions")
        return self._add(latest.name, schema, compiled)

    def rollback(self, name: str, revision_id: str) -> Any:
        """Add a revision that is like an earlier one. Raises NotFound, ResourceExhausted."""
        earlier = self.get(f"{name}@{revision_id}")
        return self._add(earlier.name, earlier, self._compiled(earlier))

    def get(self, name: str, view: int = FULL) -> Any:
        """The latest revision, or the one that the name asks for. Raises NotFound."""
        base, _, revision_id = name.partition("@")
        revisions = self._schemas.get(base, [])
        for revision in reversed(revisions):
            if revision_id in ("", revision.revision_id):
                return _seen(revision, view)
        raise NotFound(f"Resource not found (resource={short_name(name)}).")

    def below(self, project: str, view: int) -> list[Any]:
        """The latest revisions of the schemas of `projects/<id>`."""
        return [_seen(each[-1], view) for name, each in self._schemas.items() if name.startswith(f"{project}/")]

    def revisions(self, name: str, view: int) -> list[Any]:
        """The revisions of a schema, latest first. Raises NotFound."""
        self.get(name)
        return [_seen(revision, view) for revision in reversed(self._schemas[name])]

    def delete(self, name: str) -> None:
        """Remove a schema. Raises NotFound."""
        self.get(name)
        with self._context.store.transaction():
            for table in (SCHEMAS, COMPILED):
                self._context.store.delete_all(table, f"{name}@")
        del self._schemas[name]

    def delete_revision(self, name: str) -> Any:
        """Remove the revision that the name ends with; the latest one left.

        Raises:
            NotFound, InvalidArgument
            FailedPrecondition: it is the only one.
        """
        base, _, revision_id = name.partition("@")
        if not revision_id:
            raise InvalidArgument(f"name is {shown(name)}; expected one that ends with @<revision>")
        revision = self.get(name)
        if len(self._schemas[base]) == 1:
            raise FailedPrecondition(f"{name} is the only revision of its schema; delete the schema instead")
        with self._context.store.transaction():
            for table in (SCHEMAS, COMPILED):
                self._context.store.delete(table, _key(revision))
        self._schemas[base].remove(revision)
        return self.get(base)

    def fits(self, schema: Any, data: bytes, encoding: int) -> bool:
        """Is this a message of that revision?"""
        return definitions.validator(schema.type_, self._compiled(schema))(data, encoding)

    def checked(self, settings: Any, messages: Sequence[PublishedMessage]) -> list[PublishedMessage]:
        """The messages of a topic with these schema settings, each with the revision that it fits as attributes.

        Raises:
            InvalidArgument: one fits none.
        """
        revisions = self._allowed(settings)
        return [self._checked(settings, revisions, message) for message in messages]

    def _checked(self, settings: Any, revisions: Sequence[Any], message: PublishedMessage) -> PublishedMessage:
        for revision in revisions:
            if self.fits(revision, message.data, settings.encoding):
                attributes = {
                    "googclient_schemaencoding": "JSON" if settings.encoding == JSON else "BINARY",
                    "googclient_schemaname": revision.name,
                    "googclient_schemarevisionid": revision.revision_id,
                }
                return replace(message, attributes={**message.attributes, **attributes})
        raise InvalidArgument("Invalid data in message: Message failed schema validation.")

    def _allowed(self, settings: Any) -> list[Any]:
        """The revisions that a topic takes, latest first: that is the order in which they are tried."""
        revisions = self._schemas.get(settings.schema, [])
        ids = [revision.revision_id for revision in revisions]
        first, last = settings.first_revision_id, settings.last_revision_id
        begin = ids.index(first) if first in ids else 0
        end = ids.index(last) + 1 if last in ids else len(ids)
        return revisions[begin:end][::-1]

    def _add(self, name: str, schema: Any, compiled: bytes) -> Any:
        revisions = self._schemas.get(name, [])
        if len(revisions) >= MAX_REVISIONS:
            raise ResourceExhausted(f"{name} has {MAX_REVISIONS} revisions; delete one first")
        created_us = int(self._context.clock.time() * 1e6)
        if revisions:  # on a stopped clock, too, they sort by their time
            created_us = max(created_us, revisions[-1].revision_create_time.ToMicroseconds() + 1)
        revision_id = hashlib.sha256(f"{name}@{created_us}".encode()).hexdigest()[:8]
        revision = message_type("Schema")(
            name=name, type_=schema.type_, definition=schema.definition, revision_id=revision_id
        )
        revision.revision_create_time.FromMicroseconds(created_us)
        with self._context.store.transaction():
            self._context.store.put(SCHEMAS, _key(revision), revision.SerializeToString())
            self._context.store.put(COMPILED, _key(revision), compiled)
        self._schemas.setdefault(name, []).append(revision)
        return revision

    def _compiled(self, revision: Any) -> bytes:
        compiled = self._context.store.get(COMPILED, _key(revision))
        assert compiled is not None  # noqa: S101  # written with the revision
        return compiled


def _key(revision: Any) -> str:
    return f"{revision.name}@{revision.revision_create_time.ToMicroseconds():020d}"


def _seen(revision: Any, view: int) -> Any:
    if view != BASIC:
        return revision
    return message_type("Schema")(
        name=revision.name,
        type_=revision.type_,
        revision_id=revision.revision_id,
        revision_create_time=revision.revision_create_time,
    )
