"""What does Compute Engine refuse, and how does it say so?

https://cloud.google.com/compute/docs/reference/rest/v1#common-error-codes
"""

from __future__ import annotations

from typing import Any

_REASONS = {
    400: "invalid",
    403: "forbidden",
    404: "notFound",
    409: "alreadyExists",
    412: "conditionNotMet",
    501: "notImplemented",
}


class ComputeError(Exception):
    """A refusal with its HTTP status; `reason` is the word by which clients tell refusals apart."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason or _REASONS.get(status, "backendError")

    def body(self) -> dict[str, Any]:
        """As JSON."""
        one = {"message": self.message, "domain": "global", "reason": self.reason}
        return {"error": {"code": self.status, "message": self.message, "errors": [one]}}


def not_found(path: str) -> ComputeError:
    """There is no such resource."""
    return ComputeError(404, f"The resource '{path:.300}' was not found")


def exists(path: str) -> ComputeError:
    """There is one of that name already."""
    return ComputeError(409, f"The resource '{path:.300}' already exists")


def invalid(field: str, value: object, expected: str) -> ComputeError:
    """A field of the request is wrong."""
    return ComputeError(400, f"Invalid value for field '{field}': '{value!s:.80}'. {expected}")
