"""Why is a token, or a request for one, refused?"""

from __future__ import annotations

import msgspec


class InvalidToken(Exception):
    """The token is missing, malformed, expired, forged or meant for another audience; the message says which."""


class InvalidGrant(Exception):
    """The token endpoint refuses: https://www.rfc-editor.org/rfc/rfc6749#section-5.2"""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error

    def body(self) -> bytes:
        """The error as JSON."""
        return msgspec.json.encode({"error": self.error, "error_description": str(self)})
