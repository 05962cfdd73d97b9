"""Does an identity token open exactly the door it was minted for?"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from localcloud.clock import Clock
from localcloud.identity import LIFETIME_S, Identity, InvalidToken
from localcloud.store import Store

URL = "http://127.0.0.1:9000/run/infer"
EMAIL = "caller@local.iam.gserviceaccount.com"


@pytest.fixture
def clock() -> Clock:
    return Clock(start=1_700_000_000.0, frozen=True)


@pytest.fixture
def identity(clock: Clock) -> Identity:
    return Identity(clock)


@pytest.mark.parametrize("audience", [URL, URL + "/"], ids=["as is", "with a slash"])
def test_a_token_names_its_caller_to_the_service_it_is_for(identity: Identity, audience: str):
    assert identity.verify(f"Bearer {identity.mint(audience, EMAIL)}", URL) == EMAIL


def test_a_token_carries_the_claims_of_googles_tokens(identity: Identity):
    payload = identity.mint(URL, EMAIL).split(".")[1]

    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))

    assert claims == {
        "iss": "https://accounts.google.com",
        "aud": URL,
        "azp": "105009879785603684735",
        "sub": "105009879785603684735",
        "email": EMAIL,
        "email_verified": True,
        "iat": 1_700_000_000,
        "exp": 1_700_003_600,
    }


def test_a_token_for_another_service_is_refused(identity: Identity):
    token = identity.mint("http://127.0.0.1:9000/run/other", EMAIL)

    with pytest.raises(InvalidToken, match=r"for audience 'http://127.0.0.1:9000/run/other', not"):
        identity.verify(f"Bearer {token}", URL)


def test_a_token_expires(identity: Identity, clock: Clock):
    token = identity.mint(URL, EMAIL)

    clock.advance(seconds=LIFETIME_S + 1)

    with pytest.raises(InvalidToken, match="expired"):
        identity.verify(f"Bearer {token}", URL)


def test_a_token_of_another_local_cloud_is_refused(identity: Identity, clock: Clock):
    with pytest.raises(InvalidToken, match="signature"):
        identity.verify(f"Bearer {Identity(clock).mint(URL, EMAIL)}", URL)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("Basic dXNlcjpwYXNz", id="basic"),
        pytest.param("Bearer", id="no token"),
        pytest.param("Bearer a.b.c", id="not base64"),
        pytest.param("Bearer é.é.é", id="not ascii"),
        pytest.param("Bearer ..", id="dots"),
        pytest.param("Bearer " + "x" * 100_000, id="long"),
    ],
)
def test_what_is_no_token_is_refused_with_a_reason(identity: Identity, header: str | None):
    with pytest.raises(InvalidToken, match="identity token"):
        identity.verify(header, URL)


def test_a_payload_changed_after_signing_is_refused(identity: Identity):
    header, _, signature = identity.mint(URL, EMAIL).split(".")
    forged = base64.urlsafe_b64encode(json.dumps({"aud": URL, "email": "root", "exp": 9e9}).encode()).decode()

    with pytest.raises(InvalidToken, match="signature"):
        identity.verify(f"Bearer {header}.{forged.rstrip('=')}.{signature}", URL)


def test_an_unsigned_token_is_refused(identity: Identity):
    _, payload, _ = identity.mint(URL, EMAIL).split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")

    with pytest.raises(InvalidToken, match="signature"):
        identity.verify(f"Bearer {header}.{payload}.", URL)


def test_a_token_signed_by_a_service_account_itself_is_refused(identity: Identity):
    own = identity.keys.get(EMAIL).encode({"iss": EMAIL, "aud": URL, "sub": EMAIL, "exp": 9e9})

    with pytest.raises(InvalidToken, match="signature"):
        identity.verify(f"Bearer {own}", URL)


def test_tokens_outlive_the_process(clock: Clock, tmp_path: Path):
    store = Store(tmp_path)
    token = Identity(clock, store).mint(URL, EMAIL)
    store.close()

    assert Identity(clock, Store(tmp_path)).verify(f"Bearer {token}", URL) == EMAIL


def test_an_account_keeps_its_key(clock: Clock, tmp_path: Path):
    store = Store(tmp_path)
    identity = Identity(clock, store)
    signature = identity.keys.get(EMAIL).sign(b"x")
    store.close()
    again = Identity(clock, Store(tmp_path))

    assert again.is_signed_by(EMAIL, b"x", signature)
    assert not again.is_signed_by(EMAIL, b"y", signature)
    assert not again.is_signed_by("other@local.iam.gserviceaccount.com", b"x", signature)


def test_neither_kind_of_token_passes_for_the_other(identity: Identity):
    access = f"Bearer {identity.mint_access_token(EMAIL)}"

    assert identity.verify_access_token(access) == EMAIL
    with pytest.raises(InvalidToken, match="malformed"):
        identity.verify(access, URL)
    with pytest.raises(InvalidToken, match="no identity token"):
        identity.verify(access.replace("ya29.c.", ""), URL)
    with pytest.raises(InvalidToken, match="malformed"):
        identity.verify_access_token(f"Bearer {identity.mint(URL, EMAIL)}")


def test_an_access_token_expires(identity: Identity, clock: Clock):
    token = identity.mint_access_token(EMAIL, lifetime_s=60)

    clock.advance(seconds=61)

    with pytest.raises(InvalidToken, match="access token has expired"):
        identity.verify_access_token(f"Bearer {token}")


def test_a_token_is_handed_out_again_while_it_is_fresh(identity: Identity, clock: Clock):
    first = identity.mint(URL, EMAIL)

    assert identity.mint(URL, EMAIL) == first
    clock.advance(minutes=6)
    assert identity.mint(URL, EMAIL) != first
