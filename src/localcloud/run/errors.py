"""What does Cloud Run answer when a request does not get an answer from the service?

https://cloud.google.com/run/docs/troubleshooting
"""

from __future__ import annotations

import msgspec


class RunError(Exception):
    """Base of all refusals, answered as Google's JSON error. `hint` says what to do next."""

    code = 500
    status = "INTERNAL"

    def __init__(self, message: str, *, hint: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.headers = headers or {}

    def body(self, *, with_hint: bool = True) -> bytes:
        """The error as JSON."""
        error: dict[str, object] = {"code": self.code, "message": self.message, "status": self.status}
        if self.hint and with_hint:
            error["hint"] = self.hint
        return msgspec.json.encode({"error": error})


class Unauthenticated(RunError):
    """The identity token is not valid for this service."""

    code, status = 401, "UNAUTHENTICATED"


class Forbidden(RunError):
    """The service is private and the request carries no identity."""

    code, status = 403, "PERMISSION_DENIED"


class InvalidArgument(RunError):
    """A field of the request breaks its rules; the message names it and says what would be right."""

    code, status = 400, "INVALID_ARGUMENT"


class FailedPrecondition(RunError):
    """The request is fine, the resource is not in a state for it."""

    code, status = 400, "FAILED_PRECONDITION"


class NotFound(RunError):
    """There is no such resource."""

    code, status = 404, "NOT_FOUND"


class AlreadyExists(RunError):
    """There is one of this name."""

    code, status = 409, "ALREADY_EXISTS"


class Conflict(RunError):
    """Somebody else changed the resource meanwhile."""

    code, status = 409, "ABORTED"

    def __init__(self, name: str, specified: str, current: str) -> None:
        message = f"Conflict for resource {name!r}: version {specified!r:.80} was specified but current version is"
        super().__init__(f"{message} {current!r}.")


class NoSuchService(NotFound):
    """Nothing is deployed under this name."""


class RequestTooLarge(RunError):
    """The body is larger than Cloud Run accepts."""

    code, status = 413, "INVALID_ARGUMENT"


class NoInstance(RunError):
    """All instances are full, no more may start, and the queue is full."""

    code, status = 429, "RESOURCE_EXHAUSTED"


class InstanceFailed(RunError):
    """The instance did not start, or died with the request."""

    code, status = 503, "UNAVAILABLE"


class RequestTimeout(RunError):
    """The service took longer than its request time limit."""

    code, status = 504, "DEADLINE_EXCEEDED"


class Injected(RunError):
    """A fault ordered through `localcloud.faults`."""

    status = "UNAVAILABLE"

    def __init__(self, code: int) -> None:
        super().__init__(f"injected fault: {code}")
        self.code = code
