"""Who is calling? Identity tokens of the local cloud: JWTs signed with a key that lives as long as the process.

They have the claims of Google's (`aud`, `email`, `email_verified`, `iss`, `iat`, `exp`), so that code which checks an
audience or an email finds them; only the signature is local (HS256).
https://cloud.google.com/run/docs/authenticating/service-to-service
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field

from localcloud.clock import Clock

ISSUER = "https://accounts.google.com"
LIFETIME_S = 3600
_HEADER = b'{"alg":"HS256","typ":"JWT"}'


class InvalidToken(Exception):
    """The token is missing, malformed, expired, forged or meant for another audience; the message says which."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Mints and checks identity tokens."""

    clock: Clock
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def mint(self, audience: str, email: str) -> str:
        """A token by which the service account `email` may call the service at `audience`."""
        now = int(self.clock.time())
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "email": email,
            "email_verified": True,
            "iat": now,
            "exp": now + LIFETIME_S,
        }
        signed = f"{_encode(_HEADER)}.{_encode(json.dumps(claims).encode())}"
        return f"{signed}.{_encode(self._sign(signed))}"

    def verify(self, authorization: str | None, audience: str) -> str:
        """The caller's email from an `Authorization` header meant for `audience`.

        Raises:
            InvalidToken: with the reason.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise InvalidToken(
                "no identity token: send `Authorization: Bearer <token>` (in a workflow: `auth: {type: OIDC}`)"
            )
        try:
            signed, _, signature = token.rpartition(".")
            if not hmac.compare_digest(self._sign(signed), _decode(signature)):
                raise InvalidToken("the identity token's signature is not of this local cloud")
            claims = json.loads(_decode(signed.partition(".")[2]))
        except (ValueError, binascii.Error) as error:
            raise InvalidToken("the identity token is malformed") from error
        if claims["exp"] < self.clock.time():
            raise InvalidToken("the identity token has expired")
        # Cloud Run takes the service's URL, with or without a trailing slash.
        if claims["aud"].rstrip("/") != audience.rstrip("/"):
            raise InvalidToken(f"the identity token is for audience {claims['aud']!r}, not {audience!r}")
        return str(claims["email"])

    def _sign(self, signed: str) -> bytes:
        return hmac.new(self.key, signed.encode(), hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
