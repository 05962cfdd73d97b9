"""How does a command say something to the functions? By a message on a job topic, as any other program would."""

from __future__ import annotations

from zeroidle.contracts import codec, names
from zeroidle.contracts.messages import Start, Stop
from zeroidle.errors import TemporaryError
from zeroidle_cli.connection import Connection

START, STOP = "jobs-start", "jobs-stop"
PUBLISH_S = 30.0
HEARD_S = 10.0  # for a function to write what it was told into the record
POLL_S = 0.15


def publish(connection: Connection, topic: str, message: Start | Stop) -> None:
    """Return once Pub/Sub has stored the message. Raises TemporaryError."""
    from google.cloud.pubsub_v1 import PublisherClient  # takes a third of a second to import

    path = names.topic_path(connection.project.project_id, topic)
    try:
        PublisherClient().publish(path, codec.encode(message), job_id=message.job_id).result(PUBLISH_S)
    except TimeoutError as error:
        told = f"Pub/Sub did not take the message about {message.job_id} on {topic} within {PUBLISH_S:g} s"
        raise TemporaryError(told) from error
