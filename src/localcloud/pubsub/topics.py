"""Which topics are there, and what do they keep?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from localcloud.context import Context
from localcloud.pubsub import checks
from localcloud.pubsub.errors import AlreadyExists, NotFound
from localcloud.pubsub.masks import merged
from localcloud.pubsub.resources import DELETED_SCHEMA, message_type, seconds, short_name
from localcloud.pubsub.retained import Retained, Row

TOPICS = "pubsub.topics"
_FIXED_FIELDS = ("name", "satisfies_pzs", "state", "tags")


class Topics:
    """The topics by full name, and the messages that they keep for replay."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._topics: dict[str, Any] = {}
        self._kept: dict[str, Retained] = {}  # of the topics with a retention of their own
        for _, row in context.store.items(TOPICS):
            self._know(message_type("Topic").FromString(row))

    def __contains__(self, name: str) -> bool:
        return name in self._topics

    def create(self, resource: Any) -> Any:
        """Create a topic. Raises InvalidArgument, AlreadyExists, ResourceExhausted, Unimplemented."""
        checks.check_topic(resource)
        if resource.name in self._topics:
            raise AlreadyExists(f"Resource already exists in the project (resource={short_name(resource.name)}).")
        checks.check_room("topics", resource.name, self._topics)
        return self._save(resource)

    def get(self, name: str) -> Any:
        """A topic's resource. Raises NotFound."""
        try:
            return self._topics[name]
        except KeyError:
            raise NotFound(f"Resource not found (resource={short_name(name)}).") from None

    def below(self, project: str) -> list[Any]:
        """The topics of `projects/<id>` by name."""
        return [self._topics[name] for name in sorted(self._topics) if name.startswith(f"{project}/")]

    def changed(self, resource: Any, paths: Sequence[str]) -> Any:
        """What an update mask makes of a topic; `replace` keeps it. Raises NotFound, InvalidArgument, Unimplemented."""
        changed = merged(self.get(resource.name), resource, paths, fixed=_FIXED_FIELDS)
        checks.check_topic(changed)
        return changed

    def replace(self, resource: Any) -> Any:
        """Give a topic other settings."""
        with self._context.store.transaction():
            if not resource.HasField("message_retention_duration"):
                Retained(self._context.store, resource.name).clear()
            return self._save(resource)

    def delete(self, name: str) -> None:
        """Remove a topic and what it kept. Raises NotFound."""
        self.get(name)
        with self._context.store.transaction():
            self._context.store.delete(TOPICS, name)
            Retained(self._context.store, name).clear()
        del self._topics[name]
        self._kept.pop(name, None)
        self._context.activity.emit("pubsub", short_name(name), "topic deleted")

    def schema_deleted(self, schema: str) -> None:
        """The topics that used a schema refuse whatever is published."""
        for topic in list(self._topics.values()):
            if topic.schema_settings.schema == schema:
                topic.schema_settings.schema = DELETED_SCHEMA
                self._save(topic)

    def keep(self, name: str, row: Row) -> None:
        """A message was published: keep it for as long as the topic says, in the transaction that is open."""
        kept = self._kept.get(name)
        if kept is not None:
            kept.put(row)
            kept.trim(self._oldest(name))

    def kept(self, name: str) -> Iterator[Row]:
        """What a topic keeps, in publish order; nothing for one that is gone or keeps nothing."""
        kept = self._kept.get(name)
        if kept is not None:
            oldest = self._oldest(name)
            yield from (row for row in kept.rows() if row.published > oldest)

    def _oldest(self, name: str) -> float:
        return self._context.clock.time() - seconds(self._topics[name].message_retention_duration)

    def _save(self, resource: Any) -> Any:
        self._context.store.put(TOPICS, resource.name, resource.SerializeToString())
        self._know(resource)
        self._context.activity.emit("pubsub", short_name(resource.name), "topic saved")
        return resource

    def _know(self, resource: Any) -> None:
        self._topics[resource.name] = resource
        if resource.HasField("message_retention_duration"):
            self._kept.setdefault(resource.name, Retained(self._context.store, resource.name))
        else:
            self._kept.pop(resource.name, None)
