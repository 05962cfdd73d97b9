"""Does a partial response have what was asked for?"""

from __future__ import annotations

from typing import Any

import pytest
import requests
from google.cloud import storage as gcs

from localcloud.storage.errors import StorageError
from localcloud.storage.fields import select
from tests.localcloud.storage.storage_cloud import Cloud

VALUE = {"kind": "k", "items": [{"name": "a", "acl": [{"entity": "e", "role": "r"}], "size": "1"}, {"name": "b"}]}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (None, VALUE),
        ("kind", {"kind": "k"}),
        ("items/name", {"items": [{"name": "a"}, {"name": "b"}]}),
        ("items(name,size),kind", {"items": [{"name": "a", "size": "1"}, {"name": "b"}], "kind": "k"}),
        ("items/acl/role", {"items": [{"acl": [{"role": "r"}]}, {}]}),
        ("items(acl(entity))", {"items": [{"acl": [{"entity": "e"}]}, {}]}),
        ("items/name,items/size", {"items": [{"name": "a", "size": "1"}, {"name": "b"}]}),
        ("items,items/name", {"items": VALUE["items"]}),
        ("*", VALUE),
        ("*/name", {"kind": "k", "items": [{"name": "a"}, {"name": "b"}]}),
        ("none", {}),
    ],
    ids=str,
)
def test_a_selection_picks(fields: str | None, expected: dict[str, Any]) -> None:
    assert select(VALUE, fields) == expected


@pytest.mark.parametrize("fields", [",", "a,", "a(", "a(b", "a)", "a//b", "(a)", "/" * 9999, "a(" * 9999, "a/" * 9999])
def test_a_malformed_selection_is_refused(fields: str) -> None:
    with pytest.raises(StorageError, match="Invalid field selection"):
        select(VALUE, fields)


def test_listings_pages_and_objects_are_partial(cloud: Cloud, client: gcs.Client, bucket: gcs.Bucket) -> None:
    for name in ("a", "b", "c"):
        bucket.blob(name).upload_from_string("1")

    blobs = list(client.list_blobs("bkt", fields="items(name),nextPageToken", page_size=2))
    assert [blob._properties for blob in blobs] == [{"name": "a"}, {"name": "b"}, {"name": "c"}]
    url = f"{cloud.url}/storage/v1/b/bkt"
    assert requests.get(f"{url}/o/a?fields=name,size", timeout=10).json() == {"name": "a", "size": "1"}
    assert requests.get(f"{url}?fields=name", timeout=10).json() == {"name": "bkt"}
    assert requests.get(f"{url}?fields=name(", timeout=10).status_code == 400
    upload = f"{cloud.url}/upload/storage/v1/b/bkt/o?uploadType=media&name=d&fields=name"
    assert requests.post(upload, data=b"1", timeout=10).json() == {"name": "d"}
