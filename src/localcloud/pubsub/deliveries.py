"""What goes out to a subscriber, and which ack id stands for it?"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from localcloud.pubsub.errors import InvalidArgument, shown
from localcloud.pubsub.queue import Entry
from localcloud.pubsub.resources import message_type

# Message, lease, and for a second delivery of one lease its number.
_ACK_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})(?:-2)?")


@dataclass(slots=True)
class Delivery:
    """One message on its way to a subscriber."""

    payload: bytes  # a PubsubMessage, serialized
    ack_id: str
    attempt: int  # 0 without a dead-letter policy
    size: int
    response_lost: bool = False  # an injected fault: whatever the subscriber answers does not arrive

    @property
    def message(self) -> Any:
        """The PubsubMessage, parsed anew."""
        return message_type("PubsubMessage").FromString(self.payload)


def ack_id(entry: Entry) -> str:
    """The ack id of a message's latest lease; with `-2` behind it one for a second delivery."""
    return f"{entry.id}-{entry.serial}"


def leased(ack_id: str) -> tuple[int, int] | None:
    """The number of the message and the serial of the lease that an ack id names; None: it is malformed."""
    match = _ACK_ID.fullmatch(ack_id)
    return None if match is None else (int(match[1]), int(match[2]))


def check_formed(ack_ids: Iterable[str]) -> None:
    """Raises InvalidArgument for ack ids of which one is malformed.

    https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#streamingpullrequest
    """
    for each in ack_ids:
        if leased(each) is None:
            raise InvalidArgument(f"You have passed an invalid ack ID to the service (ack_id={shown(each)}).")
