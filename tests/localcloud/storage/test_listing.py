"""Which objects does a listing show?"""

from __future__ import annotations

import time

import pytest
from google.api_core import exceptions as api
from google.cloud import storage as gcs
from hypothesis import given
from hypothesis import strategies as st

from localcloud.storage.index import Index
from localcloud.storage.listing import Query, list_page
from localcloud.storage.resources import StoredObject
from tests.localcloud.storage.storage_cloud import Cloud

NAMES = ["a/b", "a/c", "d", "e", "e/f", "e/g/h", "é", "\U0001f600", "z/"]


@pytest.fixture
def filled(cloud: Cloud, bucket: gcs.Bucket) -> gcs.Bucket:
    for name in NAMES:
        bucket.blob(name).upload_from_string(name)
    return bucket


def shown(bucket: gcs.Bucket, **query: object) -> tuple[list[str], list[str]]:
    found = bucket.list_blobs(**query)
    return [blob.name for blob in found], sorted(found.prefixes)


@pytest.mark.parametrize("page_size", [None, 1, 2, 3], ids=lambda size: f"pages of {size}")
def test_pages_together_are_everything_in_order(filled: gcs.Bucket, page_size: int | None) -> None:
    assert shown(filled, page_size=page_size) == (sorted(NAMES, key=str.encode), [])


@pytest.mark.parametrize("page_size", [None, 1, 2], ids=lambda size: f"pages of {size}")
@pytest.mark.parametrize(
    ("query", "items", "prefixes"),
    [
        ({"delimiter": "/"}, ["d", "e", "é", "\U0001f600"], ["a/", "e/", "z/"]),
        ({"delimiter": "/", "prefix": "e/"}, ["e/f"], ["e/g/"]),
        ({"prefix": "e"}, ["e", "e/f", "e/g/h"], []),
        ({"prefix": "none"}, [], []),
        ({"start_offset": "e", "end_offset": "e/g"}, ["e", "e/f"], []),
        ({"start_offset": "a/c", "end_offset": "e"}, ["a/c", "d"], []),
        ({"delimiter": "/", "start_offset": "b"}, ["d", "e", "é", "\U0001f600"], ["e/", "z/"]),
        ({"delimiter": "/", "prefix": "z", "include_trailing_delimiter": True}, ["z/"], ["z/"]),
        ({"match_glob": "*"}, ["d", "e", "é", "\U0001f600"], []),
        ({"match_glob": "**"}, sorted(NAMES), []),
        ({"match_glob": "e/**"}, ["e/f", "e/g/h"], []),
        ({"match_glob": "**/h"}, ["e/g/h"], []),
        ({"match_glob": "[a-d]/?"}, ["a/b", "a/c"], []),
        ({"match_glob": "{a/*,d}"}, ["a/b", "a/c", "d"], []),
        ({"match_glob": "e/*/h", "delimiter": "/"}, [], ["e/"]),
    ],
    ids=str,
)
def test_a_query_shows_what_it_names(
    filled: gcs.Bucket, query: dict[str, object], items: list[str], prefixes: list[str], page_size: int | None
) -> None:
    assert shown(filled, **query, page_size=page_size) == (items, prefixes)


@given(
    names=st.sets(st.text(alphabet="ab/\U0010ffff", min_size=1, max_size=6), max_size=12),
    prefix=st.text(alphabet="ab/", max_size=2),
    delimiter=st.sampled_from(["", "/", "ab", "\U0010ffff"]),
    offsets=st.tuples(*[st.text(alphabet="ab/\U0010ffff", max_size=3)] * 2),
    limit=st.integers(1, 4),
)
def test_pages_fold_like_a_plain_filter(
    names: set[str], prefix: str, delimiter: str, offsets: tuple[str, str], limit: int
) -> None:
    index = Index()
    for generation, name in enumerate(names):
        index.put(StoredObject("bkt", name, generation, 0, "", 0, 0, "STANDARD", {}))
    items, prefixes = set(), set()
    start, end = offsets
    for name in names:
        if name < start or (end and name >= end):
            continue
        rest = name.removeprefix(prefix) if name.startswith(prefix) else ""
        if delimiter and delimiter in rest:
            prefixes.add(prefix + rest.split(delimiter)[0] + delimiter)
        elif name.startswith(prefix):
            items.add(name)

    seen_items, seen_prefixes, token = [], [], ""
    while True:
        query = Query(prefix, delimiter, start, end, max_results=limit, page_token=token)
        page = list_page(index, query)
        assert len(page.items) + len(page.prefixes) <= limit
        seen_items += [item.name for item in page.items]
        seen_prefixes += page.prefixes
        if not (token := page.next_token):
            break

    assert (seen_items, seen_prefixes) == (sorted(items), sorted(prefixes))


@pytest.mark.parametrize("page_size", [None, 1, 2], ids=lambda size: f"pages of {size}")
def test_versions_are_listed_oldest_first(client: gcs.Client, page_size: int | None) -> None:
    bucket = client.bucket("versions")
    bucket.versioning_enabled = True
    bucket.create()
    for name in ("a", "b", "a", "a"):
        bucket.blob(name).upload_from_string("1")
    bucket.blob("b").delete()

    found = list(bucket.list_blobs(versions=True, page_size=page_size))
    assert [blob.name for blob in found] == ["a", "a", "a", "b"]
    assert [blob.time_deleted is None for blob in found] == [False, False, True, False]
    assert [blob.name for blob in bucket.list_blobs()] == ["a"]


@pytest.mark.parametrize("query", [{"page_token": "!"}, {"match_glob": "{"}], ids=["token", "glob"])
def test_malformed_queries_are_refused(bucket: gcs.Bucket, query: dict[str, str]) -> None:
    with pytest.raises(api.BadRequest):
        list(bucket.list_blobs(**query))


def test_the_cost_of_a_page_does_not_grow_with_the_bucket() -> None:
    def seconds_per_page(count: int) -> float:
        index = Index()
        for number in range(count):
            index.put(StoredObject("bkt", f"{number:07d}", number, 0, "", 0, 0, "STANDARD", {}))
        pages, token, began = 0, "", time.process_time()
        while pages == 0 or token:
            token = list_page(index, Query(max_results=100, page_token=token)).next_token
            pages += 1
        return (time.process_time() - began) / pages

    assert seconds_per_page(50_000) < 5 * seconds_per_page(5_000)


def test_the_cost_of_a_change_does_not_grow_with_the_bucket() -> None:
    def item(number: int) -> StoredObject:
        # Names that come in anywhere, not at the end.
        return StoredObject("bkt", f"{number * 7919 % 1_000_003:07d}", number, 0, "", 0, 0, "STANDARD", {})

    def seconds_per_change(count: int) -> float:
        index = Index()
        for number in range(count):
            index.put(item(number))
        more = [item(number) for number in range(count, count + 2000)]
        began = time.process_time()
        for new in more:
            index.put(new)
        for new in more:
            index.remove(new)
        return (time.process_time() - began) / len(more)

    # Names are moved in memory: thirty times as many cost some microseconds, of the hundreds that a request takes.
    assert seconds_per_change(30_000) < seconds_per_change(1_000) + 50e-6
