"""Does a page hear what happens, go on where it was, and learn what it missed?"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.cloud import storage

from localcloud.activity import KEPT
from localcloud.cloud import CloudConfig, LocalCloud, running
from tests.localcloud.console.console_http import DATA, until

Frame = tuple[str, str, Any]  # event, id, data


class Reader:
    """One reader of the stream."""

    def __init__(self, base: str, last: str = "") -> None:
        self._connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=30)
        self._connection.request("GET", f"{DATA}/events", headers={"Last-Event-ID": last} if last else {})
        self.response = self._connection.getresponse()

    def frame(self) -> Frame:
        """The next frame; raises EOFError at the end."""
        fields: dict[str, str] = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            fields[name] = value
        if not fields:
            raise EOFError
        return fields["event"], fields.get("id", ""), json.loads(fields["data"])

    def until(self, resource: str) -> tuple[list[str], str]:
        """The resources of all events up to one of `resource`, and the id to go on from."""
        seen: list[str] = []
        while resource not in seen:
            event, id_, data = self.frame()
            if event == "activity":
                seen += [each["resource"] for each in data]
        return seen, id_

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def reading(base: str, last: str = "") -> Iterator[Reader]:
    reader = Reader(base, last)
    try:
        yield reader
    finally:
        reader.close()


def test_a_page_hears_of_an_upload_as_it_happens(cloud: LocalCloud, client: storage.Client):
    with reading(cloud.http_url) as reader:
        assert reader.response.headers["Content-Type"].startswith("text/event-stream")
        assert reader.frame()[0] == "hello"
        client.bucket("uploads").blob("live.txt").upload_from_string(b"x")

        seen, _ = reader.until("uploads/live.txt")

    assert seen[-1] == "uploads/live.txt"


def test_a_page_that_comes_back_gets_what_it_missed_and_nothing_twice(cloud: LocalCloud, client: storage.Client):
    with reading(cloud.http_url) as reader:
        client.bucket("uploads").blob("one").upload_from_string(b"x")
        _, last = reader.until("uploads/one")
    client.bucket("uploads").blob("two").upload_from_string(b"x")

    with reading(cloud.http_url, last) as reader:
        seen, _ = reader.until("uploads/two")

    assert seen == ["uploads/two"]


def test_an_id_of_another_process_means_to_begin_anew(cloud: LocalCloud, client: storage.Client):
    client.bucket("uploads").blob("three").upload_from_string(b"x")

    with reading(cloud.http_url, "0000-999999999") as reader:
        assert reader.frame()[0] == "hello"
        seen, last = reader.until("uploads/three")

    assert seen
    assert not last.startswith("0000-")


def test_a_page_that_was_away_for_too_long_is_told_how_much_it_missed(cloud: LocalCloud, client: storage.Client):
    with reading(cloud.http_url) as reader:
        client.bucket("uploads").blob("four").upload_from_string(b"x")
        _, last = reader.until("uploads/four")

    def much() -> None:
        for _ in range(KEPT + 3):
            cloud.context.activity.emit("storage", "bucket", "finalized")

    cloud.call(much)

    with reading(cloud.http_url, last) as reader:
        assert reader.frame()[0] == "hello"
        assert reader.frame()[::2] == ("gap", {"missed": 3})


def test_a_page_that_is_slower_than_what_happens_is_told_and_goes_on(cloud: LocalCloud):
    def burst() -> None:
        for number in range(KEPT + 7):
            cloud.context.activity.emit("storage", f"burst-{number}", "finalized")

    with reading(cloud.http_url) as reader:
        reader.until(cloud.call(lambda: cloud.context.activity.after(cloud.context.activity.latest - 1))[0].resource)
        cloud.call(burst)

        assert reader.frame()[::2] == ("gap", {"missed": 7})
        seen, _ = reader.until(f"burst-{KEPT + 6}")

    assert seen == [f"burst-{number}" for number in range(7, KEPT + 7)]


def test_readers_leave_nothing_behind_and_are_not_more_than_allowed(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("localcloud.console.stream.MAX_READERS", 1)

    def status() -> int:
        with reading(cloud.http_url) as reader:
            return reader.response.status

    until(lambda: status() == 200)  # those of other tests have gone
    until(lambda: _opened(cloud))


def _opened(cloud: LocalCloud) -> bool:
    with reading(cloud.http_url) as reader:
        if reader.response.status != 200:
            return False  # the one before is still hanging up
        reader.frame()
        with reading(cloud.http_url) as another:
            return another.response.status == 429


def test_the_end_of_the_local_cloud_ends_the_stream():
    with contextlib.ExitStack() as ending:
        with running(CloudConfig()) as cloud:
            reader = ending.enter_context(reading(cloud.http_url))
            assert reader.frame()[0] == "hello"

        with pytest.raises(EOFError):
            reader.frame()
