"""Can what the services printed be read, even when no cloud runs?"""

from __future__ import annotations

import json
import re

from localcloud.run import logs
from localcloud.run.logs import LogFiles, LogWriter
from tests.localcloud.run.run_bench import until


def test_what_an_instance_prints_is_logged_by_stream(bench):
    script = (
        "import sys, json; print('plain\\x1b[31m'); print(json.dumps({'severity': 'INFO', 'message': 'm'}));"
        "print('{not json'); print('[1]'); print('é', file=sys.stderr);"
        "sys.stdout.flush(); sys.stdout.buffer.write(b'\\xff end')"
    )
    bench.deploy(script=script)
    bench.get("/")

    entries = list(LogFiles(bench.context.store.directory).new())

    lines = [(entry["stream"], entry.get("line") or entry.get("entry")) for entry in entries]
    assert [value for stream, value in lines if stream == "stdout"] == [
        "plain\x1b[31m",
        {"severity": "INFO", "message": "m"},
        "{not json",
        "[1]",
        "\ufffd end",
    ]
    assert ("stderr", "é") in lines
    assert {entry["service"] for entry in entries} == {"echo"}


def test_a_cold_start_is_logged_by_part(bench):
    bench.deploy()
    bench.get("/")

    system = [entry["entry"] for entry in LogFiles(bench.context.store.directory).new() if entry["stream"] == "system"]

    parts = [system[0]["cold_start"][name] for name in ("spawned", "listening", "ready", "first_request")]
    said = r"cold start: listens after \d+\.\d{3} s, ready after \d+\.\d{3} s, first request after \d+\.\d{3} s"
    assert re.fullmatch(said, system[0]["message"])
    assert parts == sorted(parts)


def test_a_line_without_end_is_cut_not_kept_in_memory(bench):
    bench.deploy(script="import sys; sys.stdout.write('x' * 1_000_000)")
    bench.get("/")

    lines = [entry["line"] for entry in LogFiles(bench.context.store.directory).new() if entry["stream"] == "stdout"]

    assert sum(map(len, lines)) == 1_000_000
    assert max(map(len, lines)) == logs.MAX_LINE_BYTES


def test_logs_of_all_services_are_merged_in_time(tmp_path):
    a, b = LogWriter(tmp_path / "logs", "a"), LogWriter(tmp_path / "logs", "b")
    a.line("a-1", "stdout", b"1")
    b.line("b-1", "stdout", b"2")
    a.line("a-1", "stdout", b"3")

    assert [entry["line"] for entry in LogFiles(tmp_path).new()] == ["1", "2", "3"]
    assert [entry["line"] for entry in LogFiles(tmp_path, "a").new()] == ["1", "3"]
    assert list(LogFiles(tmp_path, "../../etc").new()) == []
    assert list(LogFiles(tmp_path / "nowhere").new()) == []


def test_a_log_keeps_the_latest_lines_within_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MAX_FILE_BYTES", 1000)
    writer = LogWriter(tmp_path / "logs", "a")

    for number in range(100):
        writer.line("a-1", "stdout", str(number).encode())

    numbers = [int(entry["line"]) for entry in LogFiles(tmp_path).new()]
    assert sum(path.stat().st_size for path in (tmp_path / "logs").iterdir()) < 2 * 1200
    assert numbers == list(range(numbers[0], 100))
    assert len(numbers) >= 8


def test_a_half_written_line_is_left_out(tmp_path):
    LogWriter(tmp_path / "logs", "a").line("a-1", "stdout", b"whole")
    with (tmp_path / "logs" / "a.jsonl").open("ab") as file:
        file.write(json.dumps({"time": "2026", "line": "half"}).encode()[:-3])

    assert [entry["line"] for entry in LogFiles(tmp_path).new()] == ["whole"]


def test_an_instance_that_prints_much_at_once_loses_nothing(bench):
    bench.deploy(script="for n in range(20_000): print(n)")
    bench.get("/")
    path = bench.context.store.directory

    until(lambda: [int(e["line"]) for e in LogFiles(path).new() if e["stream"] == "stdout"] == list(range(20_000)))
