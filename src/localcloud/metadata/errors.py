"""When does the metadata server refuse, and how?"""

from __future__ import annotations


class MetadataError(Exception):
    """A refusal with its HTTP status; the body is text."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


def not_found(path: str) -> MetadataError:
    """There is no such value."""
    return MetadataError(404, f"404 page not found: {path!r:.200}\n")
