"""Do Google's own libraries get tokens here, and find them genuine?"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import google.auth.jwt
import pytest
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import MalformedError, RefreshError
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2 import id_token, service_account

from localcloud.cloud import CloudConfig, LocalCloud, running

AUDIENCE = "https://infer.example"
EMAIL = "caller@local.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with running(CloudConfig()) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def http() -> AuthorizedSession:
    return AuthorizedSession(AnonymousCredentials())


@pytest.fixture(scope="module")
def key(cloud: LocalCloud, http: AuthorizedSession) -> dict[str, str]:
    """A key of the account, made as `gcloud iam service-accounts keys create` asks for it."""
    answer = http.post(f"{cloud.http_url}/v1/projects/-/serviceAccounts/{EMAIL}/keys", json={})
    return json.loads(base64.b64decode(answer.json()["privateKeyData"]))


def mint(cloud: LocalCloud, audience: str = AUDIENCE) -> str:
    return cloud.call(cloud.context.identity.mint, audience, EMAIL)


def impersonate(cloud: LocalCloud, http: AuthorizedSession, verb: str, body: Any) -> Any:
    return http.post(f"{cloud.http_url}/v1/projects/-/serviceAccounts/{EMAIL}:{verb}", json=body)


def test_google_auth_verifies_an_identity_token_with_the_published_certificates(cloud: LocalCloud):
    claims = id_token.verify_token(mint(cloud), Request(), AUDIENCE, f"{cloud.http_url}/oauth2/v1/certs")

    assert (claims["email"], claims["iss"]) == (EMAIL, "https://accounts.google.com")


def test_google_auth_refuses_a_token_of_another_local_cloud(cloud: LocalCloud):
    with running(CloudConfig()) as other, pytest.raises(MalformedError, match="Certificate for key id"):
        id_token.verify_token(mint(other), Request(), AUDIENCE, f"{cloud.http_url}/oauth2/v1/certs")


def test_the_key_set_is_of_the_same_key(cloud: LocalCloud, http: AuthorizedSession):
    configuration = http.get(f"{cloud.http_url}/.well-known/openid-configuration").json()
    (jwk,) = http.get(configuration["jwks_uri"]).json()["keys"]
    certificates = http.get(f"{cloud.http_url}/oauth2/v1/certs").json()

    modulus = int.from_bytes(base64.urlsafe_b64decode(jwk["n"] + "=="), "big")
    assert jwk["kid"] == google.auth.jwt.decode_header(mint(cloud))["kid"]
    assert list(certificates) == [jwk["kid"]]
    assert modulus == cloud.context.identity.keys.get("cloud").public.public_numbers().n


def test_a_service_account_key_gets_an_identity_token(cloud: LocalCloud, key: dict[str, str]):
    credentials = service_account.IDTokenCredentials.from_service_account_info(key, target_audience=AUDIENCE)

    credentials.refresh(Request())

    assert cloud.call(cloud.context.identity.verify, f"Bearer {credentials.token}", AUDIENCE) == EMAIL


def test_a_service_account_key_gets_an_access_token(cloud: LocalCloud, key: dict[str, str]):
    credentials = service_account.Credentials.from_service_account_info(key, scopes=["a", "b"])

    credentials.refresh(Request())

    assert cloud.call(cloud.context.identity.verify_access_token, f"Bearer {credentials.token}") == EMAIL


def test_what_a_service_account_signs_can_be_checked_with_its_certificates(
    cloud: LocalCloud, http: AuthorizedSession, key: dict[str, str]
):
    signed = service_account.Credentials.from_service_account_info(key).sign_bytes(b"a message")
    certificates = http.get(key["client_x509_cert_url"]).json()

    assert cloud.call(cloud.context.identity.is_signed_by, EMAIL, b"a message", signed)
    assert google.auth.crypt.verify_signature(b"a message", signed, certificates[key["private_key_id"]])


def test_a_key_of_another_cloud_gets_no_token(cloud: LocalCloud, key: dict[str, str]):
    with running(CloudConfig()) as other:
        stranger = {**key, "token_uri": f"{other.http_url}/token"}
        credentials = service_account.Credentials.from_service_account_info(stranger, scopes=["a"])

        with pytest.raises(RefreshError, match="account not found"):
            credentials.refresh(Request())


def assertion(cloud: LocalCloud, **claims: Any) -> dict[str, str]:
    now = time.time()
    asked = {"iss": EMAIL, "aud": f"{cloud.http_url}/token", "iat": now, "exp": now + 3600, "scope": "a", **claims}
    signed = cloud.call(cloud.context.identity.keys.get(EMAIL).encode, asked)
    return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": signed}


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        pytest.param({"exp": 1}, "short-lived token", id="expired"),
        pytest.param({"exp": 9e9}, "short-lived token", id="too long"),
        pytest.param({"iat": 9e9, "exp": 9e9}, "short-lived token", id="not yet"),
        pytest.param({"aud": "https://elsewhere"}, "the audience is 'https://elsewhere'", id="audience"),
        pytest.param({"iss": "nobody@x"}, "account not found", id="account"),
        pytest.param({"scope": ""}, "Invalid OAuth scope", id="nothing asked for"),
    ],
)
def test_an_assertion_that_claims_too_much_is_refused(
    cloud: LocalCloud, http: AuthorizedSession, claims: dict[str, Any], message: str
):
    answer = http.post(f"{cloud.http_url}/token", data=assertion(cloud, **claims))

    assert answer.status_code == 400
    assert message in answer.json()["error_description"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param({"grant_type": "password"}, "unsupported_grant_type", id="grant"),
        pytest.param({"assertion": "a.b"}, "invalid_grant", id="malformed"),
        pytest.param({"assertion": "é.é.é"}, "invalid_grant", id="not ascii"),
        pytest.param({"assertion": "e30." + "WzFd" + ".x"}, "invalid_grant", id="no object"),
    ],
)
def test_what_is_no_assertion_is_refused(cloud: LocalCloud, http: AuthorizedSession, change: Any, error: str):
    answer = http.post(f"{cloud.http_url}/token", data={**assertion(cloud), **change})

    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_an_assertion_changed_after_signing_is_refused(cloud: LocalCloud, http: AuthorizedSession):
    signed = assertion(cloud)
    header, _, signature = signed["assertion"].split(".")
    payload = assertion(cloud, scope="more")["assertion"].split(".")[1]

    answer = http.post(f"{cloud.http_url}/token", data={**signed, "assertion": f"{header}.{payload}.{signature}"})

    assert answer.json() == {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}


def test_an_account_is_impersonated(cloud: LocalCloud, http: AuthorizedSession):
    identity = cloud.context.identity
    access = impersonate(cloud, http, "generateAccessToken", {"scope": ["a"], "lifetime": "600s"}).json()
    named = impersonate(cloud, http, "generateIdToken", {"audience": AUDIENCE, "includeEmail": True}).json()
    unnamed = impersonate(cloud, http, "generateIdToken", {"audience": AUDIENCE}).json()

    assert cloud.call(identity.verify_access_token, f"Bearer {access['accessToken']}") == EMAIL
    assert access["expireTime"].endswith("Z")
    assert cloud.call(identity.verify, f"Bearer {named['token']}", AUDIENCE) == EMAIL
    assert cloud.call(identity.verify, f"Bearer {unnamed['token']}", AUDIENCE).isdigit()


def test_an_account_signs_for_others(cloud: LocalCloud, http: AuthorizedSession):
    blob = impersonate(cloud, http, "signBlob", {"payload": base64.b64encode(b"x").decode()}).json()
    jwt = impersonate(cloud, http, "signJwt", {"payload": '{"sub": "me"}'}).json()

    assert cloud.call(cloud.context.identity.is_signed_by, EMAIL, b"x", base64.b64decode(blob["signedBlob"]))
    assert google.auth.jwt.decode(jwt["signedJwt"], verify=False) == {"sub": "me"}


@pytest.mark.parametrize(
    ("verb", "body", "message"),
    [
        ("generateIdToken", {"audience": ""}, "audience is empty"),
        ("generateIdToken", {}, "audience"),
        ("generateAccessToken", {"scope": ["a"], "lifetime": "a day"}, "lifetime is 'a day'"),
        ("generateAccessToken", {"scope": ["a"], "lifetime": "nans"}, "lifetime is 'nans'"),
        ("signBlob", {"payload": "%"}, "payload is no base64"),
        ("signJwt", {"payload": "[]"}, "object"),
    ],
)
def test_a_wrong_request_names_the_field(
    cloud: LocalCloud, http: AuthorizedSession, verb: str, body: Any, message: str
):
    answer = impersonate(cloud, http, verb, body)

    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
