"""What does Pub/Sub answer when it refuses a call? Each error knows its gRPC status and its HTTP status.

https://cloud.google.com/pubsub/docs/reference/error-codes
"""

from __future__ import annotations

_SHOWN = 80


class PubSubError(Exception):
    """Base of all refusals. `status` is the canonical name of the gRPC code, `http_status` its number over REST."""

    status = "INTERNAL"
    http_status = 500

    def body(self) -> dict[str, dict[str, object]]:
        """The error as JSON over REST: https://cloud.google.com/apis/design/errors#http_mapping"""
        return {"error": {"code": self.http_status, "message": str(self), "status": self.status}}


class InvalidArgument(PubSubError):
    """A field of the request breaks its rules; the message names the field, its value and what would be right."""

    status = "INVALID_ARGUMENT"
    http_status = 400


class FailedPrecondition(PubSubError):
    """The request is fine, the resource is not in a state for it."""

    status = "FAILED_PRECONDITION"
    http_status = 400


class NotFound(PubSubError):
    """There is no such topic or subscription."""

    status = "NOT_FOUND"
    http_status = 404


class AlreadyExists(PubSubError):
    """The topic or subscription exists."""

    status = "ALREADY_EXISTS"
    http_status = 409


class Injected(PubSubError):
    """A fault ordered through `localcloud.faults`, answered with its HTTP status."""

    def __init__(self, http_status: int) -> None:
        super().__init__(f"injected fault: {http_status}")
        self.http_status = http_status
        self.status = _STATUS_OF_HTTP.get(http_status, "UNAVAILABLE" if http_status >= 500 else "FAILED_PRECONDITION")


# https://cloud.google.com/apis/design/errors#handling_errors
_STATUS_OF_HTTP = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def shown(value: object) -> str:
    """A value as it may stand in an error: quoted, control characters escaped, cut."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
