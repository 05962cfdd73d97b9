"""How does a program get a token, and check one? The endpoints of Google's authorization server and of IAM.

GET  /oauth2/v1/certs, /oauth2/v3/certs            the cloud's certificates; its keys
GET  /.well-known/openid-configuration             where these are
GET  /robot/v1/metadata/x509/<email>               a service account's certificates
POST /token                                        a service account key's assertion for a token
POST /v1/projects/-/serviceAccounts/<email>:<verb> IAM Credentials: generateAccessToken, generateIdToken, signBlob, ...
POST /v1/projects/-/serviceAccounts/<email>/keys   IAM: make a service account key

https://developers.google.com/identity/protocols/oauth2/service-account
https://cloud.google.com/iam/docs/reference/credentials/rest
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from localcloud.gateway import error, read_body
from localcloud.identity.errors import InvalidGrant, InvalidToken
from localcloud.identity.keys import CLOUD, Key, from_base64url
from localcloud.identity.tokens import ISSUER, LIFETIME_S, Identity

if TYPE_CHECKING:
    from localcloud.context import Context

MAX_BODY_BYTES = 1 << 20
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# What google-auth names as the audience of an assertion, whatever the key says of the endpoint.
_GOOGLES_ENDPOINT = "https://oauth2.googleapis.com/token"
_SKEW_S = 300
_ACCOUNT = "/v1/projects/{project}/serviceAccounts/{account}"


class _Assertion(msgspec.Struct):
    iss: str
    aud: str
    iat: float
    exp: float
    scope: str = ""
    target_audience: str = ""


class _AccessTokenRequest(msgspec.Struct):
    scope: list[str]
    lifetime: str = f"{LIFETIME_S}s"


class _IdTokenRequest(msgspec.Struct, rename="camel"):
    audience: str
    include_email: bool = False


class _Payload(msgspec.Struct):
    payload: str


def routes(context: Context) -> list[BaseRoute]:
    """All of it."""
    identity = context.identity

    async def certificates(_: Request) -> Response:
        return _json(_certificates(identity.keys.get(CLOUD)))

    async def keys(_: Request) -> Response:
        return _json({"keys": [identity.keys.get(CLOUD).jwk]})

    async def account_certificates(request: Request) -> Response:
        key = identity.keys.find(request.path_params["account"])
        return error(404, "Not found; Gaia id not found for this email") if key is None else _json(_certificates(key))

    async def configuration(_: Request) -> Response:
        return _json(
            {
                "issuer": ISSUER,
                "token_endpoint": f"{identity.http_url}/token",
                "jwks_uri": f"{identity.http_url}/oauth2/v3/certs",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def token(request: Request) -> Response:
        try:
            form = parse_qs((await read_body(request, MAX_BODY_BYTES)).decode("latin-1"))
            return _json(_grant(identity, form, time.time()))  # real time, as the assertion is of the caller's clock
        except InvalidGrant as refusal:
            return Response(refusal.body(), 400, media_type="application/json")

    return [
        Route("/oauth2/v1/certs", certificates, methods=["GET"]),
        Route("/oauth2/v3/certs", keys, methods=["GET"]),
        Route("/robot/v1/metadata/x509/{account}", account_certificates, methods=["GET"]),
        Route("/.well-known/openid-configuration", configuration, methods=["GET"]),
        Route("/token", token, methods=["POST"]),
        *_iam(context),
    ]


def _certificates(key: Key) -> dict[str, str]:
    return {key.id: key.certificate}


def _grant(identity: Identity, form: dict[str, list[str]], now: float) -> dict[str, Any]:
    """The answer to a request for a token. Raises InvalidGrant."""
    kind, assertion = (form.get(name, [""])[0] for name in ("grant_type", "assertion"))
    if kind != JWT_BEARER:
        raise InvalidGrant("unsupported_grant_type", f"Invalid grant_type: {kind!r:.200}; expected {JWT_BEARER}")
    asked = _checked(identity, assertion, now)
    if asked.target_audience:
        return {"id_token": identity.mint(asked.target_audience, asked.iss)}
    if not asked.scope:
        raise InvalidGrant("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
    token = identity.mint_access_token(asked.iss, asked.scope.split())
    return {"access_token": token, "expires_in": LIFETIME_S - 1, "token_type": "Bearer"}


def _checked(identity: Identity, assertion: str, now: float) -> _Assertion:
    try:
        payload = from_base64url(assertion.partition(".")[2].partition(".")[0])
        claimed = msgspec.json.decode(payload, type=_Assertion)
    except (ValueError, RecursionError, msgspec.MsgspecError) as problem:
        raise InvalidGrant("invalid_grant", f"Invalid JWT: {problem}"[:300]) from problem
    key = identity.keys.find(claimed.iss)
    if key is None:
        raise InvalidGrant("invalid_grant", "Invalid grant: account not found")
    try:
        key.decode(assertion)
    except InvalidToken as problem:
        raise InvalidGrant("invalid_grant", "Invalid JWT Signature.") from problem
    if claimed.aud not in (_GOOGLES_ENDPOINT, f"{identity.http_url}/token"):
        raise InvalidGrant("invalid_grant", f"Invalid JWT: the audience is {claimed.aud!r:.200}")
    if not (claimed.iat - _SKEW_S <= now <= claimed.exp <= claimed.iat + LIFETIME_S):
        raise InvalidGrant(
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
            " Check your iat and exp values in the JWT claim.",
        )
    return claimed


Verb = Callable[[str, bytes], dict[str, Any]]  # account and body of the request to what is answered


def _iam(context: Context) -> list[BaseRoute]:
    identity = context.identity

    def access_token(account: str, body: bytes) -> dict[str, Any]:
        asked = msgspec.json.decode(body, type=_AccessTokenRequest)
        seconds = _seconds(asked.lifetime)
        expires = context.clock.now() + timedelta(seconds=seconds)
        return {
            "accessToken": identity.mint_access_token(account, asked.scope, seconds),
            "expireTime": expires.replace(microsecond=0).isoformat().replace("+00:00", "Z"),
        }

    def id_token(account: str, body: bytes) -> dict[str, Any]:
        asked = msgspec.json.decode(body, type=_IdTokenRequest)
        if not asked.audience:
            raise ValueError("audience is empty; expected whom the token is for")
        return {"token": identity.mint(asked.audience, account, include_email=asked.include_email)}

    def sign_blob(account: str, body: bytes) -> dict[str, Any]:
        key, payload = identity.keys.get(account), msgspec.json.decode(body, type=_Payload).payload
        try:
            blob = base64.b64decode(payload, validate=True)
        except binascii.Error as problem:
            raise ValueError(f"payload is no base64: {problem}") from problem
        return {"keyId": key.id, "signedBlob": base64.b64encode(key.sign(blob)).decode()}

    def sign_jwt(account: str, body: bytes) -> dict[str, Any]:
        key, payload = identity.keys.get(account), msgspec.json.decode(body, type=_Payload).payload
        return {"keyId": key.id, "signedJwt": key.encode(msgspec.json.decode(payload, type=dict[str, Any]))}

    def create_key(account: str, _: bytes) -> dict[str, Any]:
        credential = identity.service_account_key(account)
        name = f"projects/{credential['project_id']}/serviceAccounts/{account}/keys/{credential['private_key_id']}"
        return {
            "name": name,
            "privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE",
            "privateKeyData": base64.b64encode(json.dumps(credential, indent=2).encode()).decode(),
            "keyAlgorithm": "KEY_ALG_RSA_2048",
            "keyOrigin": "GOOGLE_PROVIDED",
            "keyType": "USER_MANAGED",
        }

    verbs: dict[str, Verb] = {
        ":generateAccessToken": access_token,
        ":generateIdToken": id_token,
        ":signBlob": sign_blob,
        ":signJwt": sign_jwt,
        "/keys": create_key,
    }
    return [Route(_ACCOUNT + suffix, _answering(verb), methods=["POST"]) for suffix, verb in verbs.items()]


def _answering(verb: Verb) -> Callable[[Request], Awaitable[Response]]:
    async def answered(request: Request) -> Response:
        account = request.path_params["account"]
        try:
            if "@" not in account:
                raise ValueError(f"the service account is {account!r:.80}; expected its email")
            return _json(verb(account, await read_body(request, MAX_BODY_BYTES)))
        except (ValueError, RecursionError, msgspec.MsgspecError) as problem:
            return error(400, f"{problem}"[:500])

    return answered


def _seconds(text: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = 0.0
    if not (text.endswith("s") and 0 < seconds <= 12 * LIFETIME_S):
        raise ValueError(f"lifetime is {text!r:.80}; expected seconds up to 43200s, as in 3600s")
    return seconds


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json; charset=UTF-8")
