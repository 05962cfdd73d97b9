"""As whom does a workflow call? Tokens of its service account, from the local cloud's identity.

https://cloud.google.com/workflows/docs/authenticate-from-workflow
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from localcloud.workflows.errors import WorkflowError, runtime_error
from localcloud.workflows.functions import expect
from localcloud.workflows.values import Value

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
_FIELDS = {"OIDC": {"type", "audience"}, "OAuth2": {"type", "scope", "scopes"}}


class Tokens(Protocol):
    """What a service account can get."""

    def identity(self, audience: str) -> str:
        """An OpenID Connect token for an audience."""

    def access(self, scopes: Sequence[str]) -> str:
        """An OAuth 2.0 access token for scopes."""


def authorization(tokens: Tokens, auth: Value, url: str) -> str:
    """The Authorization header that an `auth` argument asks for.

    Raises:
        WorkflowError: TypeError, or AuthError for what no token can be made for.
    """
    fields = expect(auth, dict, "auth")
    kind = fields.get("type")
    if kind not in _FIELDS:
        raise auth_error(f"auth type {kind!r} is not OIDC or OAuth2")
    if unknown := sorted(set(fields) - _FIELDS[kind]):
        raise auth_error(f"auth of type {kind} has an unknown field {unknown[0]!r}")
    if kind == "OIDC":
        return f"Bearer {tokens.identity(expect(fields.get('audience') or url, str, 'audience'))}"
    return f"Bearer {tokens.access(scopes_of(fields.get('scope'), fields.get('scopes')))}"


def scopes_of(*given: Value) -> list[str]:
    """The scopes of arguments that are each a list, or a string with commas or spaces between them."""
    found: list[str] = []
    for value in given:
        for text in value if type(value) is list else [] if value is None else [value]:
            found += re.split(r"[\s,]+", expect(text, str, "scope").strip())
    return [scope for scope in found if scope] or [CLOUD_PLATFORM]


def auth_error(message: str) -> WorkflowError:
    """No credentials can be made."""
    return runtime_error("AuthError", message)
