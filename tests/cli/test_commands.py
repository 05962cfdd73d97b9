"""The commands as a script calls them: without a terminal, on a real local cloud."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from pathlib import Path

import pytest

from localcloud.run.logs import LogWriter
from tests.cli.conftest import MODEL, ROOT, TIMEOUT_S, Call, Called, Ran, zeroidle
from zeroidle import __version__
from zeroidle.contracts import names
from zeroidle.contracts.services import ObjectRef
from zeroidle_cli.connection import RUNNING_FILE, Connection

HEAVY = {"localcloud.cloud", "google.api_core", "grpc", "requests", "pyarrow", "starlette", "aiohttp", "torch"}
SPARED = {"asyncio", "urllib.request", "yaml"}  # by help alone


def test_help_and_version_import_nothing_heavy() -> None:
    script = (
        "import sys\nfrom zeroidle_cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: print('\\n' + ' '.join(sys.modules))"
    )

    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert "Exit codes: 0 all succeeded" in told
    assert (HEAVY | SPARED).isdisjoint(told.splitlines()[-1].split())


def test_version(call: Call) -> None:
    assert call("--version") == Called(0, f"{__version__}\n", "")


def test_a_model_is_added_once_and_listed(cloud: Connection, model: Called, call: Call) -> None:
    again = call("models", "add", MODEL, "--state", cloud.state, "--json")
    listed = call("models", "list", "--state", cloud.state, "--json")

    assert model.json["added"] is True
    assert again.json["added"] is False
    assert [f"{m['name']}@{m['version']}" for m in listed.json["models"]] == ["sentiment-minilm@1"]
    assert listed.json["default"] == "sentiment-minilm"


def test_a_model_index_of_the_future_does_not_hide_the_others(cloud: Connection, model: Called, call: Call) -> None:
    index = ObjectRef(bucket=cloud.bucket("models"), name="future/9/model.json")
    cloud.objects.write(index, b'{"schema": 2}')

    listed = call("models", "list", "--state", cloud.state)
    asked = zeroidle("models", "remove", "future@9", "--state", cloud.state)
    removed = call("models", "remove", "future@9", "--yes", "--state", cloud.state)

    assert "future@9" in listed.out
    assert "sentiment-minilm@1 (default)" in listed.out
    assert asked.code == 1
    assert "--yes" in asked.err
    assert removed.code == 0
    assert cloud.objects.stat(index) is None


def test_run_tells_everything_as_json_and_the_worst_end_as_exit_code(ran: Ran) -> None:
    assert ran.called.code == 1
    assert (ran.good["state"], ran.good["summary"]["records"]) == ("SUCCEEDED", 2)
    assert ran.good["summary"]["labels"] == {"negative": 1, "positive": 1}
    assert (ran.wrong["state"], ran.wrong["reason"]) == ("FAILED", "USER_ERROR")
    assert ran.wrong["result"].startswith("gs://local-zeroidle-output/wrong.csv/")
    assert ran.wrong["failure"]["hint"]


def test_run_tells_its_progress_line_by_line_without_colour_and_nothing_else(ran: Ran) -> None:
    lines = ran.called.err.splitlines()

    assert any(line.startswith("[good] file.jsonl: running  preprocess") for line in lines)
    assert "\x1b" not in ran.called.err + ran.called.out
    assert [line for line in lines if not line.startswith(("[good] file.jsonl: ", "wrong.csv: "))] == []


def test_a_missing_file_is_refused_before_anything_starts(tmp_path: Path, call: Call) -> None:
    called = call("run", tmp_path / "missing.txt", "--state", tmp_path / "state", "--json")

    assert (called.code, called.error["code"]) == (1, "NO_SUCH_FILE")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("name", "code"),
    [("nobody", "NO_SUCH_MODEL"), ("sentiment-minilm@99", "NO_SUCH_MODEL"), ("No Name", "INVALID_MESSAGE")],
    ids=["name", "version", "misspelt"],
)
def test_an_unknown_model_is_refused_before_anything_is_uploaded(
    cloud: Connection, model: Called, tmp_path: Path, call: Call, name: str, code: str
) -> None:
    (tmp_path / "unknown-model.txt").write_text("text")

    called = call("run", tmp_path / "unknown-model.txt", "--model", name, "--state", cloud.state, "--json")

    assert (called.code, called.error["code"]) == (1, code)
    uploaded = cloud.objects.stat(ObjectRef(bucket=cloud.bucket("input"), name="unknown-model.txt"))
    assert uploaded is None


def test_jobs_lists_both_and_survives_a_record_of_the_future(cloud: Connection, ran: Ran, call: Call) -> None:
    future = ObjectRef(bucket=cloud.bucket("jobs"), name=names.job_record("u-future"))
    cloud.objects.write(future, b'{"schema": 2}')
    try:
        as_json = zeroidle("jobs", "--state", cloud.state, "--json").json
        as_table = zeroidle("jobs", "--state", cloud.state, COLUMNS="140")  # where nothing has to be cut
        failed = call("jobs", "--state", cloud.state, "--status", "FAILED", "--json").json
    finally:
        cloud.objects.delete(future)

    assert {job["job_id"]: job["state"] for job in as_json["jobs"]} == {
        ran.good["job_id"]: "SUCCEEDED",
        ran.wrong["job_id"]: "FAILED",
    }
    assert [(item["job_id"], item["state"]) for item in as_json["unreadable"]] == [("u-future", "UNKNOWN")]
    assert (as_json["shown"], as_json["total"]) == (3, 3)
    assert "[good] file.jsonl" in as_table.out
    assert "UNKNOWN" in as_table.out
    assert [job["job_id"] for job in failed["jobs"]] == [ran.wrong["job_id"]]


def test_show_tells_stages_reports_and_where_the_result_is(cloud: Connection, ran: Ran, call: Call) -> None:
    as_json = zeroidle("show", ran.good["job_id"], "--state", cloud.state, "--json").json
    as_text = call("show", ran.good["job_id"][:10], "--state", cloud.state).out

    assert [stage["name"] for stage in as_json["job"]["stages"]] == ["preprocess", "inference", "postprocess"]
    assert as_json["result"] == ran.good["result"]
    assert [report["data"]["records"] for report in as_json["reports"]] == [2]
    assert ran.good["result"] in as_text
    assert f"zeroidle results {ran.good['job_id']} --open --state {cloud.state}" in as_text


def test_show_of_a_failed_job_tells_why_and_what_to_do(cloud: Connection, ran: Ran, call: Call) -> None:
    told = call("show", ran.wrong["job_id"], "--state", cloud.state).out

    assert ran.wrong["failure"]["message"] in told
    assert ran.wrong["failure"]["hint"] in told


@pytest.mark.parametrize("command", ["show", "results", "stop"])
def test_a_job_that_does_not_exist_is_an_error(cloud: Connection, ran: Ran, call: Call, command: str) -> None:
    called = call(command, "u-nobody", "--state", cloud.state)

    assert called.code == 102
    assert "u-nobody" in called.err


def test_results_are_listed_and_saved_whole(cloud: Connection, ran: Ran, tmp_path: Path) -> None:
    called = zeroidle("results", ran.good["job_id"], "--save", tmp_path / "out", "--state", cloud.state, "--json")

    saved = tmp_path / "out"
    assert sorted(called.json["files"]) == sorted(path.name for path in saved.iterdir())
    assert json.loads((saved / "summary.json").read_bytes()) == ran.good["summary"]
    assert len((saved / "predictions.jsonl").read_text().splitlines()) == 2


def test_the_result_of_a_failed_job_is_its_error_and_has_no_report(cloud: Connection, ran: Ran, call: Call) -> None:
    listed = call("results", ran.wrong["job_id"], "--state", cloud.state)
    opened = call("results", ran.wrong["job_id"], "--open", "--state", cloud.state, "--json")

    assert [line.rpartition("/")[2] for line in listed.out.splitlines()] == ["error.json"]
    assert (opened.code, opened.error["code"]) == (1, "NO_RESULT")


def test_logs_of_a_job_come_from_its_services(cloud: Connection, ran: Ran) -> None:
    called = zeroidle("logs", ran.good["job_id"], "--state", cloud.state, "--json")

    services = {json.loads(line)["service"] for line in called.out.splitlines()}
    assert {"zeroidle-preprocess", "zeroidle-postprocess"} <= services


def test_a_job_that_has_ended_stays_as_it_is_when_told_to_stop(cloud: Connection, ran: Ran, call: Call) -> None:
    called = call("stop", ran.good["job_id"], "--state", cloud.state)

    assert called.code == 0
    assert "SUCCEEDED" in called.err


def test_a_reader_that_leaves_early_ends_the_command_quietly(cloud: Connection, ran: Ran) -> None:
    command = [sys.executable, "-m", "zeroidle_cli.main", "logs", "--state", str(cloud.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        told = process.stderr.read()

    assert b"Traceback" not in told
    assert b"BrokenPipe" not in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "TERM"])
def test_up_serves_until_it_is_told_to_end(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "zeroidle_cli.main", "up", "--json", "--http-port", "0", "--grpc-port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--state", str(tmp_path)], text=True, cwd=ROOT, **pipes) as process:  # type: ignore[call-overload]  # two pipes
        document = ""
        for line in process.stdout:
            document += line
            if line.startswith("}"):
                break
        told = json.loads(document)
        found = zeroidle("jobs", "--json", STORAGE_EMULATOR_HOST=told["environment"]["STORAGE_EMULATOR_HOST"])
        process.send_signal(number)
        _, err = process.communicate(timeout=TIMEOUT_S)

    assert found.json == {"jobs": [], "unreadable": [], "shown": 0, "total": 0}
    assert process.returncode == 0
    assert err.splitlines()[-1] == "Ended. Nothing is left running; the state is kept."
    assert not (tmp_path / RUNNING_FILE).exists()


def test_up_shows_its_live_page_in_a_browser(tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\nprintf %s "$1" > "$0.opened"\n')
    browser.chmod(0o755)
    command = [sys.executable, "-m", "zeroidle_cli.main", "up", "--open", "--http-port", "0", "--grpc-port", "0"]
    environment = {**os.environ, "BROWSER": f"{browser} %s"}
    opened = tmp_path / "browser.opened"
    with subprocess.Popen(
        [*command, "--state", str(tmp_path / "state")], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE
    ) as process:
        try:
            line = next(line for line in process.stdout or () if line.startswith("console"))
            deadline = time.monotonic() + TIMEOUT_S
            while not opened.exists() or not opened.read_text():
                assert time.monotonic() < deadline, "no browser was started"
                time.sleep(0.02)
            address = opened.read_text()
            with urllib.request.urlopen(address) as page:
                content = page.read()
        finally:
            process.terminate()

    assert line.split() == ["console", address]
    assert b"<title>local cloud</title>" in content


def test_the_report_opens_in_a_browser(
    cloud: Connection, ran: Ran, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)))

    called = call("results", ran.good["job_id"], "--open", "--state", cloud.state)

    report = Path(opened[0].removeprefix("file://"))
    assert report.read_text().startswith("<!doctype html>")
    assert f"report: {report}" in called.err
    assert "No browser could be started" in called.err


def test_logs_are_followed_as_they_are_written(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "logs", "zeroidle-a")
    writer.line("i", "stdout", b"one")
    command = [sys.executable, "-m", "zeroidle_cli.main", "logs", "--follow", "--state", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith("  one\n")
        writer.line("i", "stdout", b"two")
        assert process.stdout.readline().endswith("  two\n")
        process.send_signal(signal.SIGINT)

    assert process.returncode == 130


def test_an_interrupted_run_tells_how_to_go_on(tmp_path: Path, model: Called) -> None:
    """With a local cloud of its own, which ends with it."""
    assert zeroidle("models", "add", MODEL, "--state", tmp_path / "state").code == 0
    (tmp_path / "a.txt").write_text("It is wonderful.")
    command = [sys.executable, "-m", "zeroidle_cli.main", "run", str(tmp_path / "a.txt")]
    with subprocess.Popen(
        [*command, "--state", str(tmp_path / "state")], stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stderr is not None
        assert "a.txt: " in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()

    assert process.returncode == 130
    assert f"zeroidle up --state {tmp_path / 'state'}" in told
    assert "Traceback" not in told
