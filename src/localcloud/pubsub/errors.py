"""What does Pub/Sub answer when it refuses a call? Each error knows its gRPC status and its HTTP status.

https://cloud.google.com/pubsub/docs/reference/error-codes
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

DOMAIN = "pubsub.googleapis.com"
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_SHOWN = 80


class PubSubError(Exception):
    """Base of all refusals. `status` is the canonical name of the gRPC code, `http_status` its number over REST."""

    status = "INTERNAL"
    http_status = 500
    reason = ""  # of the ErrorInfo that goes with it; "": none does
    metadata: Mapping[str, str] = MappingProxyType({})

    def body(self) -> dict[str, dict[str, object]]:
        """The error as JSON over REST: https://cloud.google.com/apis/design/errors#http_mapping"""
        error: dict[str, object] = {"code": self.http_status, "message": str(self), "status": self.status}
        if self.reason:
            info = {"@type": ERROR_INFO, "reason": self.reason, "domain": DOMAIN, "metadata": dict(self.metadata)}
            error["details"] = [info]
        return {"error": error}


class InvalidArgument(PubSubError):
    """A field of the request breaks its rules; the message names the field, its value and what would be right."""

    status = "INVALID_ARGUMENT"
    http_status = 400


class FailedPrecondition(PubSubError):
    """The request is fine, the resource is not in a state for it."""

    status = "FAILED_PRECONDITION"
    http_status = 400


class InvalidAckIds(InvalidArgument):
    """Of an exactly-once subscription: these ack ids acknowledge or extend nothing (any more).

    The others of the request had their effect. Clients read the ErrorInfo, id by id.
    https://cloud.google.com/pubsub/docs/exactly-once-delivery#handle_failures
    """

    reason = "EXACTLY_ONCE_ACKID_FAILURE"

    def __init__(self, ack_ids: Iterable[str]) -> None:
        super().__init__(
            "Some acknowledgement ids in the request were invalid. This could be because the acknowledgement ids"
            " have expired or the acknowledgement ids were malformed."
        )
        self.metadata = dict.fromkeys(ack_ids, "PERMANENT_FAILURE_INVALID_ACK_ID")


class ResourceExhausted(PubSubError):
    """A project has as many of these resources as it may have."""

    status = "RESOURCE_EXHAUSTED"
    http_status = 429


class Unimplemented(PubSubError):
    """The service can do this, this emulator cannot."""

    status = "UNIMPLEMENTED"
    http_status = 501


class NotFound(PubSubError):
    """There is no such resource."""

    status = "NOT_FOUND"
    http_status = 404


class AlreadyExists(PubSubError):
    """The resource exists."""

    status = "ALREADY_EXISTS"
    http_status = 409


class Aborted(PubSubError):
    """Somebody else was faster: read again, then try again."""

    status = "ABORTED"
    http_status = 409


def shown(value: object) -> str:
    """A value as it may stand in an error: quoted, control characters escaped, cut."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
