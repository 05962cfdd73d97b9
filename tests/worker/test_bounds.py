"""A job that writes without end: what is kept of its log, its reports and its files, and what its disk holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.sim_cloud import Faults, MemoryObjects
from worker import joblog, metafile, spool, workspace
from worker.joblog import JobLog
from worker.metafile import MetaFile
from worker.ports import Published
from worker.spool import Spool
from worker.workspace import Workspace
from zeroidle.contracts.services import Folder, ObjectRef
from zeroidle.errors import TemporaryError, ZeroidleError

FOLDER = Folder(bucket="output", prefix="jobs/job-1/a1")
KIB = 1024


class Clock:
    """A clock that stands."""

    time = 1000.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def objects(clock: Clock) -> MemoryObjects:
    return MemoryObjects(clock.now, Faults())


@pytest.fixture
def space(tmp_path: Path, objects: MemoryObjects, clock: Clock) -> Iterator[Workspace]:
    space = Workspace(tmp_path / "work", objects, FOLDER, clock)
    yield space
    space.remove()


def kept(objects: MemoryObjects, what: str = "logs/") -> bytes:
    """All of it, in order."""
    names = objects.names("output", f"jobs/job-1/a1/{what}")
    return b"".join(objects.read(ObjectRef(bucket="output", name=name))[0] for name in names)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


class Refusing:
    """Storage that refuses, or does not answer, while `error` is set."""

    def __init__(self, objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: ZeroidleError | None = None
        write = objects.write

        def refuse(ref: ObjectRef, data: Any, **options: Any) -> int:
            if self.error is not None:
                raise self.error
            return write(ref, data, **options)

        monkeypatch.setattr(objects, "write", refuse)


@pytest.fixture
def storage(objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch) -> Refusing:
    return Refusing(objects, monkeypatch)


class TestSpool:
    def test_what_was_read_is_given_back_to_the_disk(self, tmp_path: Path) -> None:
        path = tmp_path / "spool"
        read = Spool(path)
        append(path, os.urandom(8 * 2**20))
        full = path.stat().st_blocks

        read.skip(6 * 2**20)

        if path.stat().st_blocks == full:
            pytest.skip("this file system frees no part of a file")
        assert path.stat().st_blocks <= full // 2
        assert path.stat().st_size == 8 * 2**20
        assert (read.waiting(), len(read.peek(2**30))) == (2 * 2**20, 2 * 2**20)

    def test_what_is_not_read_yet_is_whole(self, tmp_path: Path) -> None:
        path, rest = tmp_path / "spool", os.urandom(5000)
        read = Spool(path)
        append(path, b"x" * spool.FREE_AT_BYTES + rest)

        read.skip(spool.FREE_AT_BYTES)
        append(path, b"more")

        assert read.peek(2**20) == rest + b"more"

    def test_a_file_that_was_emptied_is_read_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "spool"
        read = Spool(path)
        append(path, b"one line\n")
        read.skip(9)
        path.write_bytes(b"two\n")

        assert read.peek(100) == b"two\n"

    def test_a_link_in_its_place_is_not_followed(self, tmp_path: Path) -> None:
        path, secret = tmp_path / "spool", tmp_path / "secret"
        secret.write_bytes(b"secret")
        read = Spool(path)

        path.unlink()
        path.symlink_to(secret)

        assert read.peek(100) == b""


class TestLog:
    @pytest.fixture
    def log(self, tmp_path: Path, objects: MemoryObjects, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> JobLog:
        monkeypatch.setattr(joblog, "MAX_LOG_BYTES", 64 * KIB)
        monkeypatch.setattr(joblog, "TAIL_BYTES", 4 * KIB)
        monkeypatch.setattr(joblog, "MAX_WAITING_BYTES", 32 * KIB)
        return JobLog(tmp_path / "log.txt", objects, FOLDER, clock)

    def test_of_an_endless_one_the_beginning_and_the_end_are_kept(
        self, log: JobLog, objects: MemoryObjects, clock: Clock
    ) -> None:
        for number in range(20):
            append(log.path, bytes([65 + number]) * 16 * KIB)
            clock.time += joblog.SHIP_EVERY_S
            log.ship(whole=False)
        append(log.path, b"why it ended\n")

        log.ship(whole=True)

        text = kept(objects)
        assert text.startswith(b"A" * 16 * KIB + b"B" * 16 * KIB + b"C" * 16 * KIB + b"D" * 16 * KIB)
        assert text.endswith(b"T" * 100 + b"why it ended\n")
        left_out = 16 * 16 * KIB + 13 - 4 * KIB
        assert f"\nzeroidle: {left_out} bytes are left out here\n".encode() in text
        assert len(text) < 70 * KIB

    def test_while_storage_is_away_it_takes_a_bounded_part_of_the_disk(
        self, log: JobLog, objects: MemoryObjects, clock: Clock, storage: Refusing
    ) -> None:
        storage.error = TemporaryError("away")
        for number in range(10):
            append(log.path, bytes([65 + number]) * 8 * KIB)
            clock.time += joblog.SHIP_EVERY_S
            with pytest.raises(TemporaryError):
                log.ship(whole=False)
        storage.error = None

        log.ship(whole=True)

        gap = f"\nzeroidle: {48 * KIB} bytes are left out here\n".encode()
        assert kept(objects) == gap + b"".join(bytes([65 + number]) * 8 * KIB for number in range(6, 10))

    def test_a_refusal_of_storage_holds_nothing_up(self, log: JobLog, clock: Clock, storage: Refusing) -> None:
        storage.error = ZeroidleError("no permission", code="STORAGE_REFUSED")
        append(log.path, b"x")

        log.ship(whole=True)
        log.ship(whole=True)

    def test_what_the_worker_says_comes_last_and_is_bounded(self, log: JobLog, objects: MemoryObjects) -> None:
        for number in range(joblog.MAX_NOTES + 7):
            log.note(f"note {number}")
        append(log.path, b"the job's last line\n")

        log.ship(whole=True)

        lines = kept(objects).decode().splitlines()
        assert lines[:2] == ["the job's last line", "zeroidle: note 0"]
        assert lines[-1] == "zeroidle: 7 more lines like these"
        assert len(lines) == joblog.MAX_NOTES + 2


class TestReports:
    def test_after_so_many_no_more_are_kept_and_the_log_says_so_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(metafile, "MAX_REPORTS", 10)
        notes: list[str] = []
        meta = MetaFile(tmp_path / "meta", notes.append)

        append(meta.path, b'{"operation": "o"}\n' * 8)
        first = meta.read()
        append(meta.path, b'{"operation": "o"}\n' * 8 + b'{"done": 3}\n')
        second = meta.read()
        append(meta.path, b'{"operation": "o"}\n')

        assert (len(first.reports), len(second.reports), meta.read().reports) == (8, 2, ())
        assert second.progress is not None
        assert second.progress.done == 3
        assert len(notes) == 1
        assert "after the first 10" in notes[0]

    def test_they_are_bounded_in_size_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metafile, "MAX_REPORT_BYTES", 50)
        meta = MetaFile(tmp_path / "meta", lambda _: None)
        append(meta.path, b'{"operation": "o"}\n' * 8)

        assert len(meta.read().reports) == 2

    def test_a_line_that_is_too_long_is_told_of(self, tmp_path: Path) -> None:
        notes: list[str] = []
        meta = MetaFile(tmp_path / "meta", notes.append)
        append(meta.path, b'{"message": "' + b"x" * metafile.MAX_LINE_BYTES + b'"}\n')

        assert meta.read().message == ""
        assert "longer than 65536 bytes" in notes[0]

    def test_more_than_one_look_takes_is_known_to_be_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(metafile, "MAX_READ_BYTES", 200)
        meta = MetaFile(tmp_path / "meta", lambda _: None)
        append(meta.path, b'{"operation": "o"}\n' * 25)

        said = [meta.read() for _ in range(3)]

        assert [(len(each.reports), each.has_more) for each in said] == [(10, True), (10, True), (5, False)]


class TestFiles:
    def test_after_so_many_no_more_are_kept_and_the_log_says_so(
        self, space: Workspace, objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workspace, "MAX_FILES", 3)
        for number in range(5):
            (space.output / f"{number}").write_text("x")

        assert space.publish() == Published(3, left_out=2)
        assert objects.names("output", "jobs/job-1/a1/output/") == [f"jobs/job-1/a1/output/{n}" for n in range(3)]
        assert b"2 files after the first 3 are not kept" in kept(objects)

    def test_one_that_is_too_large_is_named_and_costs_no_other(
        self, space: Workspace, objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workspace, "MAX_FILE_BYTES", 10)
        (space.output / "large").write_bytes(b"x" * 11)
        (space.output / "small").write_bytes(b"x" * 10)

        assert space.publish() == Published(1, left_out=1)
        assert b"/output/large is not kept: it has 11 bytes; at most 10 are kept" in kept(objects)

    def test_they_go_up_for_some_seconds_at_a_time_and_each_once(
        self, space: Workspace, objects: MemoryObjects, clock: Clock
    ) -> None:
        for number in range(6):
            (space.output / f"{number}").write_text("x")
        written: list[str] = []

        def a_while(change: str) -> None:
            written.append(change)
            clock.time += workspace.PUBLISH_S / 2

        objects.after = a_while

        assert [space.publish() for _ in range(3)] == [None, None, Published(6)]
        assert written == [f"write jobs/job-1/a1/output/{number}" for number in range(6)]

    def test_what_storage_refuses_is_not_tried_for_ever(
        self, space: Workspace, objects: MemoryObjects, storage: Refusing
    ) -> None:
        (space.output / "one").write_text("x")
        storage.error = TemporaryError("away")
        with pytest.raises(TemporaryError):
            space.publish()
        storage.error = ZeroidleError("storage refuses it: the name is too long", code="STORAGE_REFUSED")

        assert space.publish() == Published(0, left_out=1)

    def test_a_full_disk_is_told_in_the_log(
        self, space: Workspace, objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workspace, "FULL_BYTES", 2**62)

        space.publish()

        assert b"zeroidle: the disk of this machine is full\n" in kept(objects)

    def test_what_cannot_be_made_leaves_nothing(
        self, tmp_path: Path, objects: MemoryObjects, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(workspace, "JobLog", full)

        with pytest.raises(OSError, match="No space left"):
            Workspace(tmp_path / "work", objects, FOLDER, clock)
        assert list((tmp_path / "work").iterdir()) == []

    def test_every_user_of_a_container_may_write_and_nobody_else_of_the_machine(self, space: Workspace) -> None:
        space.open_to_all()

        assert space.output.stat().st_mode & 0o777 == 0o777
        assert space.meta.path.stat().st_mode & 0o777 == 0o666
        assert space.path.stat().st_mode & 0o777 == 0o700
