"""What went wrong, and should the caller try again?

ZeroidleError
├── PermanentError      the same request will never succeed: record it, acknowledge it
│   ├── InvalidMessage  a message or request that breaks its contract
│   └── MissingObject   a referenced object does not exist
├── Conflict            somebody else wrote first: read again and decide again
└── TemporaryError      worth trying again: answer 503, let it be redelivered
"""

from __future__ import annotations

from collections.abc import Mapping


class ZeroidleError(Exception):
    """Base of all errors raised on purpose. `code` is stable and upper case; `hint` says what to do next."""

    code = "INTERNAL"

    def __init__(
        self, message: str, *, code: str = "", hint: str = "", details: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.hint = hint
        self.details = dict(details or {})


class PermanentError(ZeroidleError):
    """Trying again gives the same error."""

    code = "INVALID_INPUT"


class InvalidMessage(PermanentError):
    """A message or request that breaks its contract; the message names the field, its value and what would be right."""

    code = "INVALID_MESSAGE"


class MissingObject(PermanentError):
    """A referenced object (or that generation of it) does not exist."""

    code = "MISSING_OBJECT"


class Conflict(ZeroidleError):
    """A compare-and-set lost: the object is not at the generation the caller read."""

    code = "CONFLICT"


class TemporaryError(ZeroidleError):
    """Worth trying again after `retry_after_s` seconds."""

    code = "UNAVAILABLE"

    def __init__(self, message: str, *, code: str = "", hint: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retry_after_s = retry_after_s


def printable(value: object, limit: int = 80) -> str:
    """A value as it may stand in a message or a log line: control characters escaped, cut to `limit` characters."""
    text = value if isinstance(value, str) else repr(value)
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
