"""Which assignment comes next? The filtered subscription of this VM's cluster, by streaming pull.

One message at a time: the client extends its lease until the agent has settled it, and what has arrived when the agent
ends goes back to the others.
"""

from __future__ import annotations

import queue
from contextlib import suppress
from typing import Any

from zeroidle.contracts import codec
from zeroidle.contracts.messages import Assignment
from zeroidle.errors import InvalidMessage, TemporaryError

CLOSE_S = 10.0


class PulledAssignment:
    """`worker.ports.Assigned`: a message of the subscription."""

    def __init__(self, message: Any, assignment: Assignment) -> None:
        self._message, self._assignment = message, assignment

    @property
    def job_id(self) -> str:
        """Whose attempt waits."""
        return self._assignment.job_id

    @property
    def attempt(self) -> int:
        """Which one."""
        return self._assignment.attempt

    def settle(self) -> None:
        """It needs nobody any more."""
        self._message.ack()

    def give_back(self) -> None:
        """Somebody else may have it."""
        self._message.nack()


class Subscription:
    """`worker.ports.Assignments` of the subscription with the full name `name`."""

    def __init__(self, client: Any, name: str) -> None:
        """`client` is google-cloud-pubsub's SubscriberClient."""
        from google.cloud.pubsub_v1.types import FlowControl

        self._arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._pull = client.subscribe(name, callback=self._arrived.put, flow_control=FlowControl(max_messages=1))

    def take(self) -> PulledAssignment | None:
        """One that has arrived, or None. What is no assignment is dropped."""
        if self._pull.done():
            error = self._pull.exception()
            raise TemporaryError(f"the subscription takes no pull: {error}")
        while True:
            try:
                message = self._arrived.get_nowait()
            except queue.Empty:
                return None
            try:
                return PulledAssignment(message, codec.decode(message.data, Assignment, what="assignment"))
            except InvalidMessage:
                message.ack()

    def close(self) -> None:
        """Take no more; what has arrived and was not taken goes back. Returns once the service has heard of it, and of
        all that was settled before: what it does not hear of waits for the end of its lease."""
        self._give_back()
        self._pull.cancel()
        self._give_back()  # what came in between
        with suppress(Exception):  # whatever ended the pull, this VM goes
            self._pull.result(CLOSE_S)

    def _give_back(self) -> None:
        while True:
            try:
                self._arrived.get_nowait().nack()
            except queue.Empty:
                return
