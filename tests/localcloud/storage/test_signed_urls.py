"""Does a signed URL open what it names, to those it names, for as long as it says, and nothing else?"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
import requests
from google.cloud import storage as gcs

from localcloud.clock import Clock
from tests.localcloud.storage.storage_cloud import Cloud

HOUR = timedelta(hours=1)


@pytest.fixture
def blob(cloud: Cloud) -> gcs.Blob:
    """An object, by a client that signs."""
    blob = cloud.signing_client().bucket("bkt").blob("a b/ü.txt")
    cloud.client().bucket("bkt").blob(blob.name).upload_from_string("hello", content_type="text/plain")
    return blob


def signed(blob: gcs.Blob, **options: Any) -> str:
    return str(blob.generate_signed_url(**{"version": "v4", "expiration": HOUR, **options}))


def error(answer: requests.Response) -> tuple[int, str | None]:
    assert answer.headers["content-type"].startswith("application/xml")
    return answer.status_code, ElementTree.fromstring(answer.content).findtext("Code")


def test_an_object_is_read(blob: gcs.Blob) -> None:
    answer = requests.get(signed(blob), timeout=10)

    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, "hello", "text/plain")
    assert answer.headers["etag"] == f'"{hashlib.md5(b"hello", usedforsecurity=False).hexdigest()}"'
    assert requests.get(signed(blob), headers={"range": "bytes=1-2"}, timeout=10).text == "el"


def test_headers_are_read_alone(blob: gcs.Blob) -> None:
    answer = requests.head(signed(blob, method="HEAD"), timeout=10)

    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "5", b"")


def test_the_url_says_how_the_answer_is_described(blob: gcs.Blob) -> None:
    url = signed(blob, response_type="text/css", response_disposition="attachment; filename=x")
    headers = requests.get(url, timeout=10).headers

    assert (headers["content-type"], headers["content-disposition"]) == ("text/css", "attachment; filename=x")


def test_one_generation_is_read(cloud: Cloud, blob: gcs.Blob) -> None:
    bucket = cloud.client().get_bucket("bkt")
    bucket.versioning_enabled = True
    bucket.patch()
    first = bucket.get_blob(blob.name).generation
    bucket.blob(blob.name).upload_from_string("again")

    assert requests.get(signed(blob, generation=first), timeout=10).text == "hello"


def test_an_object_is_written_with_what_was_signed(cloud: Cloud, blob: gcs.Blob) -> None:
    headers = {"x-goog-meta-color": "blue", "Content-Type": "text/css", "x-goog-if-generation-match": "0"}
    new = blob.bucket.blob("new")
    url = signed(new, method="PUT", headers=headers)
    answer = requests.put(url, data=b"body", headers=headers, timeout=10)

    seen = cloud.client().bucket("bkt").get_blob("new")
    assert (answer.status_code, answer.headers["x-goog-generation"]) == (200, str(seen.generation))
    assert (seen.download_as_bytes(), seen.content_type, seen.metadata) == (b"body", "text/css", {"color": "blue"})
    assert error(requests.put(url, data=b"body", headers=headers, timeout=10)) == (412, "PreconditionFailed")


def test_an_upload_is_verified(blob: gcs.Blob) -> None:
    md5 = base64.b64encode(hashlib.md5(b"body", usedforsecurity=False).digest()).decode()
    url = signed(blob, method="PUT", content_md5=md5)
    good = requests.put(url, data=b"body", headers={"content-md5": md5}, timeout=10)
    bad = requests.put(url, data=b"other", headers={"content-md5": md5}, timeout=10)

    assert (good.status_code, error(bad)) == (200, (400, "BadDigest"))


def test_an_upload_has_the_length_that_was_signed(blob: gcs.Blob) -> None:
    headers = {"x-goog-content-length-range": "2,4"}
    url = signed(blob, method="PUT", headers=headers)

    answers = [requests.put(url, data=b"x" * size, headers=headers, timeout=10) for size in (1, 3, 5)]
    assert [error(answers[0]), answers[1].status_code, error(answers[2])] == [
        (400, "EntityTooSmall"),
        200,
        (400, "EntityTooLarge"),
    ]


def test_an_object_is_deleted(cloud: Cloud, blob: gcs.Blob) -> None:
    assert requests.delete(signed(blob, method="DELETE"), timeout=10).status_code == 204
    assert cloud.client().bucket("bkt").get_blob(blob.name) is None
    assert error(requests.get(signed(blob), timeout=10)) == (404, "NoSuchKey")


def test_a_resumable_upload_is_begun_by_a_signed_url(cloud: Cloud, blob: gcs.Blob) -> None:
    new, data = blob.bucket.blob("new"), b"x" * 300_000
    headers = {"x-goog-resumable": "start", "content-type": "text/css"}
    begun = requests.post(signed(new, method="RESUMABLE", content_type="text/css"), headers=headers, timeout=10)
    session = begun.headers["location"]
    part = requests.put(session, data=data[:262144], headers={"content-range": "bytes 0-262143/300000"}, timeout=10)
    end = requests.put(session, data=data[262144:], headers={"content-range": "bytes 262144-299999/300000"}, timeout=10)

    assert (begun.status_code, part.status_code, part.headers["range"]) == (201, 308, "bytes=0-262143")
    assert end.status_code == 200
    assert cloud.client().bucket("bkt").blob("new").download_as_bytes() == data
    assert cloud.client().bucket("bkt").get_blob("new").content_type == "text/css"


def test_a_url_ends_by_the_clock_of_the_cloud(cloud: Cloud, blob: gcs.Blob) -> None:
    url = signed(blob)
    cloud.clock.advance(minutes=59)
    assert requests.get(url, timeout=10).status_code == 200
    cloud.clock.advance(minutes=2)

    answer = requests.get(url, timeout=10)
    assert error(answer) == (400, "ExpiredToken")
    assert "expired at: " in (ElementTree.fromstring(answer.content).findtext("Details") or "")


WRONG = {
    "another object": (lambda url: url.replace("%C3%BC", "u"), {}, (403, "SignatureDoesNotMatch")),
    "another signature": (lambda url: url[:-4] + "0000", {}, (403, "SignatureDoesNotMatch")),
    "another parameter": (lambda url: url + "&generation=1", {}, (403, "SignatureDoesNotMatch")),
    "a longer life": (lambda url: url.replace("Expires=3600", "Expires=7200"), {}, (403, "SignatureDoesNotMatch")),
    "another account": (lambda url: url.replace("signer%40", "other%40"), {}, (403, "SignatureDoesNotMatch")),
    "another host": (lambda url: url.replace("127.0.0.1", "localhost"), {}, (403, "SignatureDoesNotMatch")),
    "no hexadecimal": (lambda url: url[:-4] + "zzzz", {}, (400, "MalformedSecurityHeader")),
    "too long a life": (
        lambda url: url.replace("Expires=3600", "Expires=604801"),
        {},
        (400, "MalformedSecurityHeader"),
    ),
    "another algorithm": (lambda url: url.replace("RSA-SHA256", "MD5"), {}, (400, "MalformedSecurityHeader")),
    "no date": (lambda url: url.replace("X-Goog-Date", "X-Goog-Day"), {}, (400, "MalformedSecurityHeader")),
    "another day": (lambda url: url.replace("%2F20", "%2F19"), {}, (400, "MalformedSecurityHeader")),
    "no signature": (lambda url: url.partition("&X-Goog-Signature")[0], {}, (400, "MalformedSecurityHeader")),
    "an unsigned header": (lambda url: url, {"x-goog-meta-a": "b"}, (400, "MalformedSecurityHeader")),
}


@pytest.mark.parametrize(("change", "headers", "expected"), WRONG.values(), ids=WRONG)
def test_what_was_not_signed_is_refused(
    blob: gcs.Blob, change: Any, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    assert error(requests.get(change(signed(blob)), headers=headers, timeout=10)) == expected


def test_another_method_is_refused(blob: gcs.Blob) -> None:
    url = signed(blob, method="PUT", headers={"x-goog-meta-a": "b"})

    assert error(requests.delete(url, headers={"x-goog-meta-a": "b"}, timeout=10)) == (403, "SignatureDoesNotMatch")
    assert error(requests.put(url, data=b"", timeout=10)) == (400, "MalformedSecurityHeader")


def test_a_url_from_the_future_is_refused(start_cloud: Callable[..., Cloud]) -> None:
    cloud = start_cloud(clock=Clock(start=time.time() - 3600, frozen=True))

    assert error(requests.get(signed(cloud.signing_client().bucket("bkt").blob("x")), timeout=10)) == (
        403,
        "AccessDenied",
    )


def test_an_hmac_key_signs_too(cloud: Cloud, client: gcs.Client, blob: gcs.Blob) -> None:
    key, secret = client.create_hmac_key(service_account_email="sa@p.iam.gserviceaccount.com")
    url = hmac_signed(cloud, key.access_id, secret)
    assert requests.get(url, timeout=10).text == "hello"
    assert error(requests.get(hmac_signed(cloud, key.access_id, "wrong"), timeout=10)) == (403, "SignatureDoesNotMatch")
    key.state = "INACTIVE"
    key.update()

    assert error(requests.get(url, timeout=10)) == (403, "InvalidSecurity")


def hmac_signed(cloud: Cloud, access_id: str, secret: str) -> str:
    """As the documentation describes it: no client library signs with HMAC keys."""
    moment = cloud.clock.now().strftime("%Y%m%dT%H%M%SZ")
    scope = f"{moment[:8]}/auto/storage/goog4_request"
    path, host = "/bkt/a%20b/%C3%BC.txt", cloud.url.removeprefix("http://")
    query = (
        f"X-Goog-Algorithm=GOOG4-HMAC-SHA256&X-Goog-Credential={access_id}%2F{scope.replace('/', '%2F')}"
        f"&X-Goog-Date={moment}&X-Goog-Expires=60&X-Goog-SignedHeaders=host"
    )
    canonical = f"GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    message = f"GOOG4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = f"GOOG4{secret}".encode()
    for part in (*scope.split("/"), message):
        signature = hmac.new(signature, part.encode(), hashlib.sha256).digest()
    return f"{cloud.url}{path}?{query}&X-Goog-Signature={signature.hex()}"


@pytest.mark.parametrize("query", ["uploads", "uploadId=1", "acl"])
def test_what_is_not_there_is_said_to_be_missing(blob: gcs.Blob, query: str) -> None:
    assert error(requests.get(f"{blob.public_url}?{query}", timeout=10)) == (501, "NotImplemented")
    assert error(requests.get(blob.public_url.rpartition("/bkt/")[0] + "/bkt", timeout=10)) == (501, "NotImplemented")


def test_a_page_that_was_uploaded_is_no_page_of_the_server(bucket: gcs.Bucket) -> None:
    page = bucket.blob("page.html")
    page.upload_from_string("<script></script>", content_type="text/html")

    assert requests.get(page.public_url, timeout=10).headers["content-security-policy"] == "sandbox"


def test_a_public_url_needs_no_signature(blob: gcs.Blob) -> None:
    assert requests.get(blob.public_url, timeout=10).text == "hello"


# Forms


def post(policy: dict[str, Any], data: bytes = b"body", **fields: str) -> requests.Response:
    files = {"file": ("f.txt", data, "text/plain")}
    return requests.post(
        policy["url"], data={**policy["fields"], **fields}, files=files, timeout=10, allow_redirects=False
    )


def policy_for(cloud: Cloud, name: str = "form/${filename}", **options: Any) -> dict[str, Any]:
    client = cloud.signing_client()
    options = {"expiration": HOUR, **options}
    policy = client.generate_signed_post_policy_v4("bkt", name, **options)
    return dict(policy)


def test_a_form_uploads_a_file(cloud: Cloud, bucket: gcs.Bucket) -> None:
    fields = {"x-goog-meta-color": "blue", "content-type": "text/css", "success_action_status": "201"}
    answer = post(policy_for(cloud, fields=fields))

    assert answer.status_code == 201
    namespace = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    assert ElementTree.fromstring(answer.content).findtext(f"{namespace}Key") == "form/f.txt"
    seen = bucket.get_blob("form/f.txt")
    assert (seen.download_as_bytes(), seen.content_type, seen.metadata) == (b"body", "text/css", {"color": "blue"})


def test_a_form_may_lead_elsewhere(cloud: Cloud) -> None:
    assert post(policy_for(cloud)).status_code == 204
    answer = post(policy_for(cloud, fields={"success_action_redirect": "http://example.com/done?a=b"}))

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("http://example.com/done?a=b&bucket=bkt&key=form%2Ff.txt&etag=")


def test_a_form_is_bound_by_its_policy(cloud: Cloud, bucket: gcs.Bucket) -> None:
    range_ = ["content-length-range", 2, 6]
    policy = policy_for(cloud, conditions=[range_, ["starts-with", "$x-goog-meta-a", "b"]])

    assert post(policy, **{"x-goog-meta-a": "bc"}).status_code == 204
    assert error(post(policy, **{"x-goog-meta-a": "c"})) == (403, "InvalidPolicyDocument")
    assert error(post(policy, **{"x-goog-meta-a": "bc", "cache-control": "no-store"})) == (403, "InvalidPolicyDocument")
    assert error(post(policy, b"x", **{"x-goog-meta-a": "b"})) == (400, "EntityTooSmall")
    assert error(post(policy, b"x" * 7, **{"x-goog-meta-a": "b"})) == (400, "EntityTooLarge")
    assert error(post(policy, **{"x-goog-meta-a": "bc", "x-goog-signature": "00"})) == (403, "SignatureDoesNotMatch")
    assert error(post(policy, **{"x-goog-meta-a": "bc", "key": "other"})) == (403, "InvalidPolicyDocument")
    cloud.clock.advance(minutes=61)
    assert error(post(policy, **{"x-goog-meta-a": "bc"})) == (400, "ExpiredToken")
    assert len(list(bucket.list_blobs())) == 1


def test_a_malformed_form_is_refused(cloud: Cloud) -> None:
    url = f"{cloud.url}/bkt"
    assert error(requests.post(url, data={"key": "x"}, timeout=10))[0] == 400
    assert error(requests.post(url, files={"other": b"x"}, timeout=10)) == (400, "MalformedPOSTRequest")
    fields = {"key": "x", "policy": "!", "x-goog-algorithm": "GOOG4-RSA-SHA256"}
    assert error(requests.post(url, data=fields, files={"file": b"x"}, timeout=10)) == (400, "MalformedPOSTRequest")
