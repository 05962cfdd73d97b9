"""What does a token say, and does it open this door?

Identity tokens have the claims that Google gives to those of service accounts (`iss`, `aud`, `azp`, `sub`, `email`,
`email_verified`, `iat`, `exp`). Access tokens are opaque to everybody but the local cloud.
https://cloud.google.com/run/docs/authenticating/service-to-service
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from localcloud.clock import Clock
from localcloud.identity.errors import InvalidToken
from localcloud.identity.keys import CLOUD, Keys
from localcloud.store import Store

ISSUER = "https://accounts.google.com"
LIFETIME_S = 3600
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
_REUSE_S = 300  # a token is handed out again for this long, as signing one takes a millisecond
_REUSED = 1024
_ACCESS = "ya29.c."  # what Google's access tokens start with


class _Claims(msgspec.Struct, kw_only=True):
    exp: float


class _IdClaims(_Claims, kw_only=True):
    iss: str
    aud: str
    sub: str
    email: str = ""


class _AccessClaims(_Claims, kw_only=True):
    email: str
    scope: str


_T = TypeVar("_T", bound=_Claims)


class Identity:
    """Mints and checks tokens. Use it on the loop of the local cloud: keys may have to be read from its store."""

    def __init__(self, clock: Clock, store: Store | None = None, http_url: str = "http://127.0.0.1") -> None:
        """`http_url` is where the token endpoint is, as service account keys name it."""
        self.http_url = http_url
        self.keys = Keys(store)
        self._clock = clock
        # The last argument only ends a token's reuse.
        self._minted = lru_cache(_REUSED)(
            lambda audience, email, with_email, _: self._mint(audience, email, with_email)
        )

    def mint(self, audience: str, email: str, *, include_email: bool = True) -> str:
        """A token by which the service account `email` may call the service at `audience`."""
        return self._minted(audience, email, include_email, self._clock.time() // _REUSE_S)

    def verify(self, authorization: str | None, audience: str) -> str:
        """The caller's email from an `Authorization` header meant for `audience`; if not told, the account's number.

        Raises:
            InvalidToken: with the reason.
        """
        what = "identity token"
        token = _bearer(authorization, what)
        claims = self._claims(token, _IdClaims, what)
        if claims.iss != ISSUER:
            raise InvalidToken(f"the identity token is of issuer {claims.iss!r:.200}, not {ISSUER!r}")
        # Cloud Run takes the service's URL, with or without a trailing slash.
        if claims.aud.rstrip("/") != audience.rstrip("/"):
            raise InvalidToken(f"the identity token is for audience {claims.aud!r:.200}, not {audience!r}")
        return claims.email or claims.sub

    def mint_access_token(
        self, email: str, scopes: Sequence[str] = (CLOUD_PLATFORM,), lifetime_s: float = LIFETIME_S
    ) -> str:
        """A token by which the service account `email` may call Google's APIs."""
        claims = {"email": email, "scope": " ".join(scopes), "exp": self._clock.time() + lifetime_s}
        return _ACCESS + self.keys.get(CLOUD).encode(claims)

    def verify_access_token(self, authorization: str | None) -> str:
        """The caller's email from an `Authorization` header that carries an access token.

        Raises:
            InvalidToken: with the reason.
        """
        what = "access token"
        token = _bearer(authorization, what)
        if not token.startswith(_ACCESS):
            raise InvalidToken("the access token is malformed")
        return self._claims(token.removeprefix(_ACCESS), _AccessClaims, what).email

    def service_account_key(self, email: str) -> dict[str, str]:
        """The JSON credential of a service account, as `google.oauth2.service_account` takes it."""
        key = self.keys.get(email)
        return {
            "type": "service_account",
            "project_id": email.partition("@")[2].partition(".")[0],
            "private_key_id": key.id,
            "private_key": key.pem,
            "client_email": email,
            "client_id": unique_id(email),
            "auth_uri": f"{self.http_url}/o/oauth2/auth",
            "token_uri": f"{self.http_url}/token",
            "auth_provider_x509_cert_url": f"{self.http_url}/oauth2/v1/certs",
            "client_x509_cert_url": f"{self.http_url}/robot/v1/metadata/x509/{email}",
            "universe_domain": "googleapis.com",
        }

    def is_signed_by(self, email: str, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is of `message`, with the key of this service account (RSA, SHA-256, PKCS #1 v1.5)."""
        key = self.keys.find(email)
        return key is not None and key.signed(message, signature)

    def _mint(self, audience: str, email: str, with_email: bool) -> str:
        now = int(self._clock.time())
        number = unique_id(email)
        claims: dict[str, Any] = {"iss": ISSUER, "aud": audience, "azp": number, "sub": number}
        if with_email:
            claims.update(email=email, email_verified=True)
        return self.keys.get(CLOUD).encode({**claims, "iat": now, "exp": now + LIFETIME_S})

    def _claims(self, token: str, kind: type[_T], what: str) -> _T:
        try:
            claims = msgspec.json.decode(self.keys.get(CLOUD).decode(token), type=kind)
        except InvalidToken as error:
            raise InvalidToken(f"the {what} was refused: {error}") from error
        except msgspec.MsgspecError as error:  # signed by us, so it is of another kind
            raise InvalidToken(f"the token is no {what}") from error
        if claims.exp < self._clock.time():
            raise InvalidToken(f"the {what} has expired")
        return claims


def unique_id(email: str) -> str:
    """The number by which Google knows a service account; here it follows from the email."""
    return f"1{int.from_bytes(hashlib.sha256(email.encode()).digest()[:8], 'big') % 10**20:020d}"


def _bearer(authorization: str | None, what: str) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise InvalidToken(f"no {what}: send `Authorization: Bearer <token>` (in a workflow: `auth: {{type: OIDC}}`)")
    return token
