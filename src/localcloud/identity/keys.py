"""With which keys are tokens signed, and how do others get to see the public halves?

The cloud has one key, each service account another. They are made when first needed and live in the state; those of
temporary states are made once per process, as making one takes longer than starting such a cloud.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from localcloud.identity.errors import InvalidToken
from localcloud.store import Store

if TYPE_CHECKING:  # a tenth of a start-up, for those who sign
    from cryptography.hazmat.primitives.asymmetric import rsa

TABLE = "identity.keys"
KEY_BITS = 2048
CLOUD = "cloud"  # the name of the cloud's own key; accounts' are their emails
_FIRST, _LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class _Document(msgspec.Struct):
    id: str
    pem: str


class Header(msgspec.Struct):
    """Of a JSON Web Token: https://www.rfc-editor.org/rfc/rfc7515#section-4.1"""

    alg: str
    kid: str = ""


@dataclass(frozen=True)
class Key:
    """An RSA key. `id` is what tokens name it by."""

    id: str
    private: rsa.RSAPrivateKey = field(repr=False)

    @cached_property
    def public(self) -> rsa.RSAPublicKey:
        """The half that may be shown."""
        return self.private.public_key()

    @cached_property
    def pem(self) -> str:
        """The private key as PKCS #8."""
        from cryptography.hazmat.primitives import serialization

        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    @cached_property
    def certificate(self) -> str:
        """The public key as a certificate that never ends, for those who take no bare key."""
        from cryptography import x509  # most of what signing imports, and only certificates need it
        from cryptography.hazmat.primitives import hashes, serialization

        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localcloud")])
        builder = x509.CertificateBuilder(name, name, self.public, int(self.id[:38], 16), _FIRST, _LAST)
        return builder.sign(self.private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    @cached_property
    def jwk(self) -> dict[str, str]:
        """The public key as a JSON Web Key: https://www.rfc-editor.org/rfc/rfc7517"""
        numbers = self.public.public_numbers()
        return {
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "kid": self.id,
            "n": _uint(numbers.n),
            "e": _uint(numbers.e),
        }

    def sign(self, message: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256, which JWTs call RS256 and signed URLs GOOG4-RSA-SHA256."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        return self.private.sign(message, padding.PKCS1v15(), hashes.SHA256())

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's of `message`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        try:
            self.public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True

    def encode(self, claims: dict[str, Any]) -> str:
        """A JWT with these claims."""
        header = msgspec.json.encode({"alg": "RS256", "kid": self.id, "typ": "JWT"})
        message = f"{to_base64url(header)}.{to_base64url(msgspec.json.encode(claims))}"
        return f"{message}.{to_base64url(self.sign(message.encode()))}"

    def decode(self, token: str) -> bytes:
        """The payload of a JWT that this key has signed. Raises InvalidToken."""
        try:
            message, _, signature = token.rpartition(".")
            header, _, payload = message.partition(".")
            named = msgspec.json.decode(from_base64url(header), type=Header)
            is_mine = named.alg == "RS256" and named.kid == self.id
            if not (is_mine and self.signed(message.encode(), from_base64url(signature))):
                raise InvalidToken("its signature is not of this local cloud")
            return from_base64url(payload)
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise InvalidToken("it is malformed") from error


class Keys:
    """The keys of one local cloud, by name. Without a store they end with the process."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = None if store is None or store.is_temporary else store
        self._known: dict[str, Key] = {}

    def get(self, name: str) -> Key:
        """The key of this name, made now if there is none."""
        key = self.find(name)
        if key is None:
            # An id of its own even where the key is shared, so that no other cloud takes a token signed with it.
            key = Key(secrets.token_hex(20), _new_key() if self._store else _process_key(name))
            if self._store is not None:
                self._store.put(TABLE, name, msgspec.json.encode(_Document(key.id, key.pem)))
            self._known[name] = key
        return key

    def find(self, name: str) -> Key | None:
        """The key of this name, if it has been made."""
        if name not in self._known and self._store is not None:
            stored = self._store.get(TABLE, name)
            if stored is not None:
                document = msgspec.json.decode(stored, type=_Document)
                self._known[name] = Key(document.id, _private_key(document.pem))
        return self._known.get(name)


@lru_cache(maxsize=256)
def _process_key(_name: str) -> rsa.RSAPrivateKey:
    return _new_key()


def _private_key(pem: str) -> rsa.RSAPrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)  # noqa: S101  # we put it there
    return private


def _new_key() -> rsa.RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def to_base64url(data: bytes) -> str:
    """Without padding, as in JWTs."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Raises ValueError at a character that doesn't belong there."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _uint(number: int) -> str:
    return to_base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))
