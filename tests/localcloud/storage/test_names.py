"""Does every legal name round-trip, and is every illegal one refused?"""

from __future__ import annotations

from urllib.parse import quote

import pytest
import requests
from google.cloud import storage as gcs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.localcloud.storage.storage_cloud import Cloud

PARTS = st.one_of(
    st.sampled_from(["/", "..", ".", "%2F", "%", "?", "#", "&", "+", " ", "\0", "\x7f", "é", "\U0001f600", "o", "\\"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1, max_size=8),
)
NAMES = st.lists(PARTS, min_size=1, max_size=12).map("".join).filter(lambda name: name not in (".", ".."))


@given(name=NAMES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_legal_name_round_trips(bucket: gcs.Bucket, name: str) -> None:
    blob = bucket.blob(name)
    blob.upload_from_string(name.encode())

    assert bucket.get_blob(name).name == name
    assert bucket.blob(name).download_as_bytes() == name.encode()
    assert [found.name for found in bucket.list_blobs(prefix=name)] == [name]
    blob.delete()
    assert list(bucket.list_blobs()) == []


def test_the_longest_name_is_counted_in_bytes(bucket: gcs.Bucket) -> None:
    bucket.blob("é" * 512).upload_from_string("1")

    assert [blob.name for blob in bucket.list_blobs()] == ["é" * 512]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a\nb", "a\rb", "é" * 513, ".well-known/acme-challenge/x"],
    ids=["empty", "dot", "dots", "line feed", "carriage return", "too long", "challenge"],
)
@pytest.mark.parametrize("kind", ["media", "resumable"])
def test_an_illegal_name_is_refused(cloud: Cloud, name: str, kind: str) -> None:
    url = f"{cloud.url}/upload/storage/v1/b/bkt/o?uploadType={kind}&name={quote(name)}"

    assert requests.post(url, timeout=10).status_code == 400


def test_a_name_that_is_not_unicode_is_refused(cloud: Cloud) -> None:
    assert requests.get(f"{cloud.url}/storage/v1/b/bkt/o/%ff", timeout=10).status_code == 400
