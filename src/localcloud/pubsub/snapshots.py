"""What did a subscription have to acknowledge at a moment of the past?

A snapshot holds what was unacknowledged when it was made, and whatever is published to its topic from then on.
https://cloud.google.com/pubsub/docs/replay-overview
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from localcloud.context import Context
from localcloud.pubsub import checks
from localcloud.pubsub.errors import AlreadyExists, FailedPrecondition, NotFound
from localcloud.pubsub.masks import merged
from localcloud.pubsub.resources import DAY_S, DELETED_TOPIC, message_type, short_name
from localcloud.pubsub.retained import Retained, Row
from localcloud.pubsub.subscription import Subscription

SNAPSHOTS = "pubsub.snapshots"
LIFETIME_S = 7 * DAY_S
SHORTEST_LIFETIME_S = 3600


class Snapshots:
    """All snapshots. One that has expired is gone at the next look."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._snapshots: dict[str, Any] = {
            name: message_type("Snapshot").FromString(row) for name, row in context.store.items(SNAPSHOTS)
        }

    def create(self, name: str, subscription: Subscription, labels: dict[str, str]) -> Any:
        """Hold what a subscription has to acknowledge now.

        Raises:
            InvalidArgument, AlreadyExists, ResourceExhausted
            FailedPrecondition: it would expire within the hour, so old is the backlog.
        """
        self._drop_expired()
        checks.check_name(name, "snapshots")
        checks.check_labels(labels)
        if name in self._snapshots:
            raise AlreadyExists(f"Resource already exists in the project (resource={short_name(name)}).")
        checks.check_room("snapshots", name, self._snapshots)
        now = self._context.clock.time()
        oldest = subscription.backlog.oldest()
        lifetime_s = LIFETIME_S - (0 if oldest is None else now - oldest)
        if lifetime_s < SHORTEST_LIFETIME_S:
            raise FailedPrecondition(
                f"the snapshot would expire in {lifetime_s:.0f} s, 7 days after the oldest unacknowledged message;"
                f" at least {SHORTEST_LIFETIME_S} s are needed"
            )
        snapshot = message_type("Snapshot")(name=name, topic=subscription.resource.topic, labels=labels)
        snapshot.expire_time.FromMicroseconds(int((now + lifetime_s) * 1e6))
        held = self._held(name)
        with self._context.store.transaction():
            self._save(snapshot)
            for row in subscription.backlog.rows():
                held.put(row)
        return snapshot

    def get(self, name: str) -> Any:
        """A snapshot's resource. Raises NotFound."""
        self._drop_expired()
        try:
            return self._snapshots[name]
        except KeyError:
            raise NotFound(f"Resource not found (resource={short_name(name)}).") from None

    def below(self, project: str) -> list[Any]:
        """The snapshots of `projects/<id>`."""
        self._drop_expired()
        return [each for name, each in self._snapshots.items() if name.startswith(f"{project}/")]

    def of_topic(self, topic: str) -> list[str]:
        """The names of a topic's snapshots."""
        self._drop_expired()
        return [name for name, each in self._snapshots.items() if each.topic == topic]

    def update(self, resource: Any, paths: list[str]) -> Any:
        """Change the fields named by an update mask. Raises NotFound, InvalidArgument."""
        changed = merged(self.get(resource.name), resource, paths, fixed=("name", "topic"))
        checks.check_labels(changed.labels)
        self._save(changed)
        return changed

    def delete(self, name: str) -> None:
        """Remove a snapshot and what it holds. Raises NotFound."""
        self.get(name)
        self._drop(name)

    def rows(self, name: str) -> Iterator[Row]:
        """The messages that a snapshot holds. Raises NotFound."""
        self.get(name)
        return self._held(name).rows()

    def hold(self, topic: str, row: Row) -> None:
        """A message was published: keep it for the topic's snapshots, in the transaction that is open."""
        if self._snapshots:
            for name in self.of_topic(topic):
                self._held(name).put(row)

    def topic_deleted(self, topic: str) -> None:
        """The snapshots of a topic outlive it."""
        for name in self.of_topic(topic):
            self._snapshots[name].topic = DELETED_TOPIC
            self._save(self._snapshots[name])

    def _drop_expired(self) -> None:
        if not self._snapshots:
            return
        now = self._context.clock.time()
        for name in [name for name, each in self._snapshots.items() if each.expire_time.ToNanoseconds() / 1e9 <= now]:
            self._drop(name)

    def _drop(self, name: str) -> None:
        with self._context.store.transaction():
            self._context.store.delete(SNAPSHOTS, name)
            self._held(name).clear()
        del self._snapshots[name]

    def _held(self, name: str) -> Retained:
        return Retained(self._context.store, name)

    def _save(self, snapshot: Any) -> None:
        self._context.store.put(SNAPSHOTS, snapshot.name, snapshot.SerializeToString())
        self._snapshots[snapshot.name] = snapshot
