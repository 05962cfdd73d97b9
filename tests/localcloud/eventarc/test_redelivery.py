"""An event whose receiver dies under it reaches the next instance, after the backoff and not before."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from localcloud.cloud import CloudConfig, Deployment, running
from localcloud.eventarc.state import Trigger
from localcloud.faults import Fault
from localcloud.run.state import ServiceSpec
from localcloud.storage.payloads import Payload
from localcloud.storage.resources import Target
from tests.localcloud.pubsub.pubsub_cloud import wait_until

BACKOFF_S = 10.0
RECEIVER = textwrap.dedent("""
    import os
    from http.server import BaseHTTPRequestHandler, HTTPServer
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            with open("seen", "a") as seen:
                print(self.headers["ce-id"], file=seen)
            self.send_response(200)
            self.end_headers()
        def log_message(self, *args): pass
    HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
""")


def test_an_event_survives_the_kill_of_its_receiver(tmp_path: Path) -> None:
    trigger = Trigger(
        "on-upload",
        "google.cloud.storage.object.v1.finalized",
        {"bucket": "uploads"},
        "receiver",
        backoff_s=(BACKOFF_S, 600.0),
    )
    service = ServiceSpec("receiver", (sys.executable, "-S", "-c", RECEIVER), cwd=tmp_path)
    deployment = Deployment(buckets=("uploads",), triggers=(trigger,), services=(service,))
    with running(CloudConfig(frozen_clock=True), lambda _: deployment) as cloud:
        name = f"projects/local/subscriptions/{cloud.eventarc.subscription(trigger)}"
        queue = cloud.call(lambda: cloud.pubsub.subscription(name).queue)
        cloud.faults.add(Fault("run.services.invoke", "receiver*", action="kill"))
        cloud.call(cloud.storage.insert, Target("uploads", "a.txt"), Payload(1, "", None, b"x", None))

        wait_until(
            lambda: (
                cloud.call(lambda: [(each.attempts, each.state.value) for each in queue.entries()]) == [(1, "delayed")]
            )
        )
        wait_s = cloud.call(queue.next_due) - cloud.clock.time()
        cloud.clock.advance(seconds=BACKOFF_S)
        wait_until(cloud.is_idle)
        starts = len(cloud.run.events)

    ids = (tmp_path / "seen").read_text().split()
    assert (round(wait_s, 3), starts) == (BACKOFF_S, 2)
    assert 1 <= len(ids) <= 2  # the killed one may have come to its note
    assert len(set(ids)) == 1
