"""Was this request signed by one who may sign it, for what it does, and is it in time?

V4 signatures in the query string (signed URLs) and in a form (policy documents), made with the RSA key of a service
account of the local cloud or with an HMAC key.
https://cloud.google.com/storage/docs/authentication/canonical-requests
https://cloud.google.com/storage/docs/authentication/signatures
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import msgspec

from localcloud.storage.errors import StorageError
from localcloud.storage.wire import Call

RSA, HMAC = "GOOG4-RSA-SHA256", "GOOG4-HMAC-SHA256"
MAX_EXPIRES_S = 7 * 24 * 3600
SKEW = timedelta(minutes=15)  # so far may the signer's clock be ahead
_SIGNATURE = "X-Goog-Signature"
_REQUIRED = ("X-Goog-Credential", "X-Goog-Date", "X-Goog-Expires", "X-Goog-SignedHeaders", _SIGNATURE)
_SCOPE = re.compile(r"(?P<who>.+)/(?P<scope>(?P<day>\d{8})/(?P<region>[^/]+)/storage/goog4_request)")
_UNSIGNED = "UNSIGNED-PAYLOAD"


class Signers(msgspec.Struct, frozen=True):
    """Who may sign: service accounts by their key, HMAC keys by their secret; and what time it is."""

    is_signed_by: Callable[[str, bytes, bytes], bool]  # email, message, signature
    secret: Callable[[str], str | None]  # by access id
    now: Callable[[], datetime]

    def check(self, algorithm: str, credential: str, message: bytes, signature: str) -> None:
        """Whether `signature` (hexadecimal) is of `message`. Raises StorageError 400, 403."""
        scope = _scope(credential)
        try:
            given = bytes.fromhex(signature)
        except ValueError as error:
            raise malformed("signature", "Signature was not hexadecimal.") from error
        if algorithm == RSA:
            signed = self.is_signed_by(scope["who"], message, given)
        else:
            secret = self.secret(scope["who"])
            if secret is None:
                raise StorageError(403, "The provided security credentials are not valid.", xml_code="InvalidSecurity")
            signed = hmac.compare_digest(_hmac(_signing_key(secret, scope), message), given)
        if not signed:
            raise StorageError(
                403,
                "Access denied.",
                xml_code="SignatureDoesNotMatch",
                details={
                    "Details": "The request signature we calculated does not match the signature you provided. Check"
                    " your Google secret key and signing method.",
                    "StringToSign": message.decode("utf-8", "replace"),
                },
            )


def is_signed(query: Mapping[str, str]) -> bool:
    """Whether a request claims to be signed in its query string."""
    return "X-Goog-Algorithm" in query or _SIGNATURE in query


def check_url(call: Call, signers: Signers) -> None:
    """Whether the signature in the query string covers this request. Raises StorageError 400, 403."""
    query = call.query
    algorithm = query.get("X-Goog-Algorithm", "")
    if algorithm not in (RSA, HMAC):
        raise malformed("X-Goog-Algorithm", f"Expected {RSA} or {HMAC}.")
    for name in _REQUIRED:
        if not query.get(name):
            raise malformed(name, "The parameter is missing or empty.")
    scope, begins = _scope(query["X-Goog-Credential"]), date_of(query["X-Goog-Date"])
    if not query["X-Goog-Date"].startswith(scope["day"]):
        raise malformed("X-Goog-Credential", "Its date is not that of X-Goog-Date.")
    _check_time(begins, query["X-Goog-Expires"], signers.now())
    canonical = _canonical_request(call)
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    message = f"{algorithm}\n{query['X-Goog-Date']}\n{scope['scope']}\n{digest}".encode()
    try:
        signers.check(algorithm, query["X-Goog-Credential"], message, query[_SIGNATURE])
    except StorageError as error:
        if error.xml_code == "SignatureDoesNotMatch":
            error.details["CanonicalRequest"] = canonical
        raise


def date_of(text: str) -> datetime:
    """A moment as signatures write it, 20261124T120000Z. Raises StorageError 400."""
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise malformed("X-Goog-Date", "Expected a time in UTC such as 20261124T120000Z.") from error


def expired(at: datetime) -> StorageError:
    """400: the signature was good until then."""
    return StorageError(
        400,
        "The provided token has expired.",
        xml_code="ExpiredToken",
        details={"Details": f"Request signature expired at: {at.isoformat(timespec='seconds')}"},
    )


def malformed(name: str, details: str) -> StorageError:
    """400: a part of the signature is not what it should be."""
    return StorageError(
        400,
        "Your request has a malformed header.",
        xml_code="MalformedSecurityHeader",
        details={"ParameterName": name, "Details": details},
    )


def _scope(credential: str) -> re.Match[str]:
    match = _SCOPE.fullmatch(credential)
    if match is None:
        raise malformed("X-Goog-Credential", "Expected <who>/<date>/<region>/storage/goog4_request.")
    return match


def _check_time(begins: datetime, expires: str, now: datetime) -> None:
    if not (expires.isascii() and expires.isdigit() and 1 <= len(expires) <= 6 and int(expires) <= MAX_EXPIRES_S):
        raise malformed("X-Goog-Expires", f"Expected seconds, {MAX_EXPIRES_S} (seven days) at most.")
    ends = begins + timedelta(seconds=int(expires))
    if ends < now:
        raise expired(ends)
    if begins > now + SKEW:
        raise StorageError(
            403,
            "Access denied.",
            xml_code="AccessDenied",
            details={"Details": f"Request is not valid before: {begins.isoformat(timespec='seconds')}"},
        )


def _canonical_request(call: Call) -> str:
    signed = call.query["X-Goog-SignedHeaders"].split(";")
    if "host" not in signed:
        raise malformed("X-Goog-SignedHeaders", "The header host must be signed.")
    lines = []
    for name in signed:
        value = call.header(name.encode("utf-8", "replace"))
        if value is None:
            raise malformed(name, "Header was included in signedheaders, but not in the request.")
        lines.append(f"{name}:{' '.join(value.split())}\n")
    for raw in call.headers:
        name = raw.decode("latin-1")
        if name.startswith("x-goog-") and name not in signed:
            raise malformed(name, "Header was included in the request, but not in signedheaders.")
    payload = call.header(b"x-goog-content-sha256") if "x-goog-content-sha256" in signed else _UNSIGNED
    return "\n".join(
        [
            call.method,
            quote(unquote_to_bytes(call.raw_path), safe="/~"),
            _canonical_query(call.raw_query),
            "".join(lines),
            ";".join(signed),
            payload or _UNSIGNED,
        ]
    )


def _canonical_query(raw: bytes) -> str:
    pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="surrogateescape")
    encoded = [
        f"{quote(name, safe='~', errors='surrogateescape')}={quote(value, safe='~', errors='surrogateescape')}"
        for name, value in pairs
        if name != _SIGNATURE
    ]
    return "&".join(sorted(encoded))


def _signing_key(secret: str, scope: re.Match[str]) -> bytes:
    key = f"GOOG4{secret}".encode()
    for part in (scope["day"], scope["region"], "storage", "goog4_request"):
        key = _hmac(key, part.encode())
    return key


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()
