"""In which order do lists show what was made, and what do they read for it?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localcloud.newest import Newest
from localcloud.store import Store

MADE = {"a/1": 1.0, "b/1": 1.0, "b/2": 3.5, "a/2": 2.0, "a/3": 10.0}


@pytest.fixture
def newest() -> Iterator[Newest]:
    store = Store()
    newest = Newest(store, "newest")
    for key, created in MADE.items():
        newest.add(key, created)
    yield newest
    store.close()


def keys(found: Iterator[tuple[str, str]]) -> list[str]:
    return [key for _, key in found]


def test_a_group_is_listed_the_newest_first_from_each_mark_on(newest: Newest):
    found = list(newest.of("a"))

    assert [key for _, key in found] == ["a/3", "a/2", "a/1"]
    assert [keys(newest.of("a", mark)) for mark, _ in found] == [["a/2", "a/1"], ["a/1"], []]


def test_groups_are_listed_together_from_each_mark_on(newest: Newest):
    found = list(newest.of_all(["a", "b"]))
    order = [key for _, key in found]

    assert order == ["a/3", "b/2", "a/2", "b/1", "a/1"]
    for at, (mark, _) in enumerate(found, 1):
        assert keys(newest.of_all(["a", "b"], mark)) == order[at:]


def test_a_mark_stays_a_place_when_its_record_is_gone(newest: Newest):
    mark = next(newest.of("a"))[0]
    newest.remove("a/3", MADE["a/3"])

    assert keys(newest.of("a", mark)) == keys(newest.of("a")) == ["a/2", "a/1"]


def test_a_group_goes_alone(newest: Newest):
    newest.add("ab/1", 5.0)
    newest.remove_all("a")

    assert (keys(newest.of("a")), keys(newest.of("ab")), keys(newest.of("b"))) == ([], ["ab/1"], ["b/2", "b/1"])


def test_what_was_there_before_the_order_is_put_into_it(newest: Newest):
    newest.fill(iter([("c/1", 1.0), ("c/2", 2.0)]), count=2)

    assert keys(newest.of_all(["a", "b", "c"])) == ["c/2", "c/1"]


def test_an_order_that_is_whole_is_left_alone(newest: Newest):
    def unread() -> Iterator[tuple[str, float]]:
        pytest.fail("read")
        yield "", 0.0

    newest.fill(unread(), count=len(MADE))

    assert keys(newest.of("b")) == ["b/2", "b/1"]
