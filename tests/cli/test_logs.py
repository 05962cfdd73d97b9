"""The log files of a state directory, and `zeroidle logs` on them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from localcloud.run.logs import LogFiles, LogWriter
from tests.cli.conftest import Call
from zeroidle_cli import cloudlog
from zeroidle_cli.loglines import as_line, job_of


def said(message: str, job_id: str = "") -> bytes:
    labels = {cloudlog.LABELS: {"job_id": job_id}} if job_id else {}
    return json.dumps({"severity": "INFO", "message": message, **labels}).encode()


def messages(files: LogFiles) -> list[str]:
    return [entry["entry"]["message"] for entry in files.new()]


@pytest.fixture
def writer(tmp_path: Path) -> LogWriter:
    return LogWriter(tmp_path / "logs", "zeroidle-a")


def test_a_second_look_gives_only_what_is_new(tmp_path: Path, writer: LogWriter) -> None:
    files = LogFiles(tmp_path)
    writer.line("i", "stderr", said("one"))

    assert messages(files) == ["one"]
    assert messages(files) == []
    writer.line("i", "stderr", said("two"))
    LogWriter(tmp_path / "logs", "zeroidle-b").line("i", "stderr", said("three"))
    assert messages(files) == ["two", "three"]


def test_a_line_that_is_still_being_written_is_left_for_the_next_look(tmp_path: Path, writer: LogWriter) -> None:
    files = LogFiles(tmp_path)
    writer.line("i", "stderr", said("one"))
    whole = writer.path.read_bytes()
    writer.path.write_bytes(whole[:20])
    assert messages(files) == []

    with writer.path.open("ab") as file:
        file.write(whole[20:])

    assert messages(files) == ["one"]


def test_nothing_is_lost_or_told_twice_when_a_file_is_rotated(tmp_path: Path, writer: LogWriter) -> None:
    files = LogFiles(tmp_path)
    writer.line("i", "stderr", said("one"))
    assert messages(files) == ["one"]
    writer.line("i", "stderr", said("two"))
    writer.close()
    writer.path.replace(writer.path.with_suffix(".1.jsonl"))
    writer.line("i", "stderr", said("three"))

    assert messages(files) == ["two", "three"]


def test_a_file_that_begins_anew_is_read_from_its_start(tmp_path: Path, writer: LogWriter) -> None:
    """As when the number of a deleted file is given to the next one."""
    files = LogFiles(tmp_path)
    for text in ("one", "two"):
        writer.line("i", "stderr", said(text))
    assert messages(files) == ["one", "two"]
    writer.close()
    writer.path.write_bytes(b"")
    writer.line("i", "stderr", said("three"))

    assert messages(files) == ["three"]


def test_a_broken_line_is_passed_over(tmp_path: Path, writer: LogWriter) -> None:
    writer.line("i", "stderr", said("one"))
    with writer.path.open("ab") as file:
        file.write(b'{"time": \xff\n[]\n')
    writer.line("i", "stderr", said("two"))

    assert messages(LogFiles(tmp_path)) == ["one", "two"]


def test_a_line_for_people_shows_bad_news_and_traces_without_control_codes() -> None:
    entry = {
        "time": "2026-11-22T01:02:03.456789Z",
        "service": "zeroidle-a",
        "entry": {"severity": "ERROR", "message": "no \x1b[2J", "stack_trace": "Traceback\n  line"},
    }

    assert as_line(entry) == "2026-11-22T01:02:03.456  zeroidle-a  ERROR  no \\x1b[2J\n    Traceback\n      line"


def test_logs_of_one_job_by_the_beginning_of_its_id_or_as_the_last(
    tmp_path: Path, writer: LogWriter, call: Call
) -> None:
    for job_id, text in (("u-abc", "first"), ("u-xyz", "second"), ("u-abc", "third"), ("", "nobody's")):
        writer.line("i", "stderr", said(text, job_id))

    by_prefix = call("logs", "u-a", "--state", tmp_path)
    last = call("logs", "last", "--state", tmp_path, "--json")

    assert [line.split()[-1] for line in by_prefix.out.splitlines()] == ["first", "third"]
    assert [json.loads(line)["entry"]["message"] for line in last.out.splitlines()] == ["second"]


@pytest.mark.parametrize("text", ["u-", "other", "last "], ids=["ambiguous", "unknown", "misspelt"])
def test_logs_of_no_single_job_are_an_error(tmp_path: Path, writer: LogWriter, call: Call, text: str) -> None:
    for job_id in ("u-abc", "u-xyz"):
        writer.line("i", "stderr", said("text", job_id))

    called = call("logs", text, "--state", tmp_path, "--json")

    assert (called.code, called.out, called.error["code"]) == (102, "", "NO_SUCH_JOB")


def test_logs_can_be_limited_to_a_service_and_to_the_last_minutes(
    tmp_path: Path, writer: LogWriter, call: Call
) -> None:
    writer.path.write_text('{"time": "2020-01-01T00:00:00.000000Z", "service": "zeroidle-a", "line": "old"}\n')
    writer.line("i", "stdout", b"new")
    LogWriter(tmp_path / "logs", "zeroidle-b").line("i", "stdout", b"other")

    called = call("logs", "--state", tmp_path, "--since", 5, "--service", "zeroidle-a")

    assert [line.split()[-1] for line in called.out.splitlines()] == ["new"]


def test_what_the_local_cloud_logs_goes_to_its_state_and_not_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executions = {"executions/1": SimpleNamespace(labels={"job_id": "u-abc"})}
    log = logging.getLogger("localcloud.workflows.log")
    with cloudlog.kept_in(tmp_path) as handler:
        handler.workflows = SimpleNamespace(get=executions.__getitem__)
        log.info("%s", '{"message": "lost", "topic": "t"}', extra={"execution": "executions/1"})
        logging.getLogger("other").warning("from a library")
    log.warning("after the end")

    entries = list(LogFiles(tmp_path, cloudlog.SERVICE).new())
    assert [entry["entry"]["message"] for entry in entries] == ["lost", "from a library"]
    assert [job_of(entry) for entry in entries] == ["u-abc", ""]
    assert capsys.readouterr().out == ""
