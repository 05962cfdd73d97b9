"""The local cloud as a process, for the test that kills it again and again."""

from __future__ import annotations

import threading
from multiprocessing.connection import Connection
from pathlib import Path

from localcloud.cloud import CloudConfig, Deployment, running
from localcloud.pubsub.resources import SubscriptionSpec

BUCKET, TOPIC, SUBSCRIPTION = "kept", "kept", "kept"


def serve(state: Path, told: Connection) -> None:
    """Run until killed; says where it listens."""
    deployment = Deployment(
        buckets=(BUCKET,),
        topics=(TOPIC,),
        subscriptions=(SubscriptionSpec(SUBSCRIPTION, TOPIC, ack_deadline_s=600),),
    )
    with running(CloudConfig(state=state), lambda _: deployment) as cloud:
        told.send((cloud.http_url, cloud.grpc_address))
        threading.Event().wait()
