"""Does state survive what it must, and is it only one process's at a time?"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from localcloud import store as store_module
from localcloud.store import StateInUse, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state")
    yield store
    store.close()


def keys(store: Store, **options: object) -> list[str]:
    return [key for key, _ in store.items("t", **options)]


def test_a_document_reads_back_until_it_is_deleted(store: Store):
    store.put("t", "k", b"1")
    store.put("t", "k", b"2")
    read = store.get("t", "k")
    store.delete("t", "k")
    store.delete("t", "k")

    assert read == b"2"
    assert store.get("t", "k") is None


def test_keys_come_in_the_order_of_their_bytes(store: Store):
    for key in ("b", "a\U0001f600", "a\uffff", "a", "é", "Z", "a\x00"):
        store.put("t", key, b"")

    assert keys(store) == sorted(["b", "a\U0001f600", "a\uffff", "a", "é", "Z", "a\x00"], key=str.encode)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"prefix": "a/"}, ["a/1", "a/2", "a/3"], id="prefix"),
        pytest.param({"prefix": "a/", "after": "a/1"}, ["a/2", "a/3"], id="prefix and after"),
        pytest.param({"prefix": "b", "after": "a/1"}, ["b"], id="after before the prefix"),
        pytest.param({"prefix": "a/", "after": "c"}, [], id="after beyond the prefix"),
        pytest.param({"limit": 2}, ["a/1", "a/2"], id="limit"),
        pytest.param({"limit": 0}, [], id="limit 0"),
        pytest.param({"after": "a/3"}, ["b", "é"], id="after"),
        pytest.param({"prefix": "é"}, ["é"], id="prefix not ascii"),
    ],
)
def test_listing_by_prefix_and_start(store: Store, options: dict, expected: list[str]):
    for key in ("a/1", "a/2", "a/3", "b", "é"):
        store.put("t", key, b"")

    assert keys(store, **options) == expected


@pytest.mark.parametrize("limit", [-1, 3, 4, 5, 100])
def test_listing_goes_on_over_pages(store: Store, limit: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_module, "PAGE", 4)
    names = [f"{number:02d}" for number in range(12)]
    for name in names:
        store.put("t", name, b"")

    assert keys(store, limit=limit) == (names if limit < 0 else names[:limit])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["é", "b", "a/3", "a/2", "a/1"]),
        ({"prefix": "a/"}, ["a/3", "a/2", "a/1"]),
        ({"prefix": "a/", "before": "a/3"}, ["a/2", "a/1"]),
        ({"prefix": "a/", "before": "c"}, ["a/3", "a/2", "a/1"]),
        ({"prefix": "b", "before": "a/2"}, []),
        ({"before": "a/1"}, []),
    ],
)
def test_listing_backwards_goes_on_over_pages(
    store: Store, options: dict, expected: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store_module, "PAGE", 2)
    for key in ("a/1", "a/2", "a/3", "b", "é"):
        store.put("t", key, b"")

    assert [key for key, _ in store.backwards("t", **options)] == expected


def test_documents_may_be_deleted_while_they_are_listed(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_module, "PAGE", 2)
    for number in range(5):
        store.put("t", str(number), b"")

    for key, _ in store.items("t"):
        store.delete("t", key)

    assert keys(store) == []


def test_all_documents_below_a_prefix_are_deleted_and_no_others(store: Store):
    for key in ("a", "a/1", "a/2", "a0", "b/1"):
        store.put("t", key, b"")
    store.put("other", "a/1", b"")

    store.delete_all("t", "a/")

    assert keys(store) == ["a", "a0", "b/1"]
    assert store.get("other", "a/1") == b""


def test_a_transaction_that_fails_leaves_nothing(store: Store):
    with suppress(RuntimeError), store.transaction():
        store.put("t", "k", b"1")
        raise RuntimeError

    assert store.get("t", "k") is None
    with store.transaction():
        store.put("t", "k", b"2")
    assert store.get("t", "k") == b"2"


def test_an_inner_transaction_that_fails_is_undone_alone(store: Store):
    with store.transaction():
        store.put("t", "outer", b"")
        with suppress(RuntimeError), store.transaction():
            store.put("t", "inner", b"")
            raise RuntimeError

    assert keys(store) == ["outer"]


def test_an_outer_transaction_that_fails_undoes_the_inner_one(store: Store):
    with suppress(RuntimeError), store.transaction():
        with store.transaction():
            store.put("t", "inner", b"")
        raise RuntimeError

    assert keys(store) == []


def test_a_second_store_is_told_who_holds_the_directory(store: Store):
    with pytest.raises(StateInUse, match=f"in use by process {os.getpid()}$"):
        Store(store.directory)


def test_the_directory_is_free_again_after_closing(tmp_path: Path):
    Store(tmp_path).close()

    Store(tmp_path).close()


def test_a_file_that_is_no_database_is_an_error_and_does_not_hold_the_lock(tmp_path: Path):
    (tmp_path / "state.sqlite").write_bytes(b"not a database" * 100)

    for _ in range(2):
        with pytest.raises(sqlite3.DatabaseError, match="not a database"):
            Store(tmp_path)


def test_temporary_state_is_removed_on_closing():
    store = Store()
    store.new_blob().write_bytes(b"x")
    store.close()

    assert not store.directory.exists()


def test_what_was_written_survives_kill_9(tmp_path: Path):
    script = (
        "import sys, time, pathlib; from localcloud.store import Store\n"
        "store = Store(pathlib.Path(sys.argv[1]))\n"
        "store.put('t', 'before', b'1')\n"
        "store._db.execute('BEGIN'); store.put('t', 'half', b'1')\n"
        "print('written', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    store = Store(tmp_path)

    assert keys(store) == ["before"]
    store.close()
