"""What handlers say to others, over Pub/Sub. Its client takes 0.3 s to import, so only a call that publishes does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from zeroidle.contracts import codec, names
from zeroidle.contracts.machines import Provisioning
from zeroidle.contracts.messages import Assignment, Heartbeat, Meta
from zeroidle.errors import PermanentError, TemporaryError, printable

if TYPE_CHECKING:
    from google.pubsub_v1 import PublisherClient

ASSIGNED, HEARTBEATS, META, TICK = "jobs-assigned", "jobs-heartbeats", "jobs-meta", "jobs-tick"
TIMEOUT_S = 20.0


class GooglePublisher:
    """`zeroidle.ports.Publisher`, and what workers report, on the topics of a project.

    `address` is the host:port of a local Pub/Sub API (plain gRPC); None: Google's.
    """

    def __init__(self, project: str, address: str | None = None) -> None:
        self._project = project
        self._address = address

    def assign(self, cluster: str, provisioning: Provisioning, job_id: str, attempt: int) -> None:
        """Tell the workers of a cluster that an attempt waits."""
        body = codec.encode(Assignment(schema=1, job_id=job_id, attempt=attempt))
        routed = {"cluster": cluster, "provisioning": provisioning.value, "job_id": job_id, "attempt": str(attempt)}
        self._publish(ASSIGNED, body, routed)

    def tick(self, shard: str) -> None:
        """Have the marked jobs of a shard looked after by a call of its own."""
        self._publish(TICK, b"", {"shard": shard})

    def beat(self, beat: Heartbeat) -> None:
        """How an attempt is doing."""
        self._publish(HEARTBEATS, codec.encode(beat), {"job_id": beat.job_id, "attempt": str(beat.attempt)})

    def meta(self, meta: Meta) -> None:
        """Something worth keeping about a job."""
        self._publish(META, codec.encode(meta), {"job_id": meta.job_id, "attempt": str(meta.attempt)})

    @cached_property
    def _client(self) -> PublisherClient:
        """The plain client: the one that batches answers later, from a thread of its own."""
        from google.pubsub_v1 import PublisherClient

        if self._address is None:
            return PublisherClient()
        import grpc
        from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

        return PublisherClient(transport=PublisherGrpcTransport(channel=grpc.insecure_channel(self._address)))

    def _publish(self, topic: str, body: bytes, attributes: Mapping[str, str]) -> None:
        from google.api_core import exceptions as api

        message: Any = {"data": body, "attributes": dict(attributes)}
        try:
            self._client.publish(topic=names.topic_path(self._project, topic), messages=[message], timeout=TIMEOUT_S)
        except (api.TooManyRequests, api.Aborted, api.ServerError, api.RetryError, api.DeadlineExceeded) as error:
            raise TemporaryError(f"topic {topic} takes no message now: {printable(str(error), 300)}") from error
        except api.GoogleAPICallError as error:
            raise PermanentError(
                f"topic {topic} refused a message: {printable(str(error), 300)}",
                code="REFUSED",
                hint="Check that the topic exists and that this service account may publish to it.",
            ) from error
