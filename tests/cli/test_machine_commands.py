"""The commands for jobs on machines, on a real local cloud whose VMs run the real agent."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from msgspec.structs import replace

from tests.cli.conftest import ROOT, Call, Called, zeroidle
from tests.cli.machine_factories import failed, second_attempt, succeeded
from tests.core.job_factories import NOW
from tests.e2e.driver import eventually
from zeroidle.contracts import codec, names
from zeroidle.contracts.records import Job
from zeroidle.contracts.services import ObjectRef
from zeroidle_cli import project
from zeroidle_cli.commands import jobs, submit
from zeroidle_cli.commands.results import local_path
from zeroidle_cli.connection import Connection, connect
from zeroidle_cli.joblogs import JobLog, Lines, shown
from zeroidle_cli.ledger import Ledger

BOOT_S = 0.1
SCRIPT = (
    'echo "hello $WHO"; cd $ZEROIDLE_OUTPUT; mkdir sub; echo 1 > sub/one.txt; echo 2 > two;'
    ' echo \'{"done": 2, "total": 5, "unit": "epochs"}\' >> $ZEROIDLE_META;'
    ' echo \'{"operation": "weights", "data": {"files": 3}}\' >> $ZEROIDLE_META; sleep 0.3'
)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A local cloud of these tests' own."""
    with connect(project.find(ROOT), tmp_path_factory.mktemp("machines").resolve()) as opened:
        boot_within(opened, BOOT_S)
        yield opened


@dataclass(frozen=True)
class Submitted:
    """A job that succeeded, and one that failed on the VM that the first one left."""

    good: Called
    bad: Called


@pytest.fixture(scope="module")
def submitted(machines: Connection) -> Submitted:
    words = ("submit", "-y", "--accelerator", "1xl4", "--state", machines.state)
    good = zeroidle(*words, "--job-id", "good", "--env", "WHO=Ada", "--keep-alive", "50m", "--", "sh", "-c", SCRIPT)
    bad = zeroidle(*words, "--job-id", "bad", "--json", "--", "sh", "-c", "echo out of cheese; exit 3")
    return Submitted(good, bad)


def boot_within(connection: Connection, seconds: float) -> None:
    """How long a VM takes until its agent starts."""
    cloud = connection.cloud
    assert cloud is not None
    cloud.call(lambda: setattr(cloud.compute, "boot_s", seconds))


def put(connection: Connection, job: Job) -> None:
    """Have the ledger say so."""
    ref = ObjectRef(bucket=connection.bucket("jobs"), name=names.job_record(job.job_id))
    connection.objects.write(ref, codec.encode(job))


def put_output(connection: Connection, name: str, data: bytes) -> None:
    connection.objects.write(ObjectRef(bucket=connection.bucket("output"), name=f"jobs/{name}"), data)


def test_submit_shows_the_offers_and_follows_the_job_to_its_end(submitted: Submitted) -> None:
    called = submitted.good

    assert called.code == 0, called.err
    assert called.out.splitlines()[0] == "good"
    assert "SUCCEEDED" in called.out
    lines = called.err.splitlines()
    assert lines[0].split() == ["ACCELERATOR", "MACHINE", "GPUS", "REGION", "$/H", "OPEN", "CHOSEN"]
    assert sum("✔" in line for line in lines) == 1
    assert any("asked for 1xl4 in" in line for line in lines)
    assert any("runs on good-a1, 1xl4 in" in line for line in lines)
    assert "\x1b" not in called.out + called.err


def test_a_job_that_fails_ends_submit_with_its_code_and_tells_all_as_json(submitted: Submitted) -> None:
    called = submitted.bad

    assert called.code == 100, called.err
    assert (called.json["job"]["state"], called.json["job"]["machines"]["exit_code"]) == ("FAILED", 3)
    assert called.json["offers"][0]["usd_per_hour"] > 0
    assert "A VM of an earlier job waits, and may take it." in called.err


def test_show_tells_how_a_job_stands_by_its_exit_code(machines: Connection, submitted: Submitted, call: Call) -> None:
    good = call("show", "good", "--state", machines.state)
    bad = call("show", "bad", "--state", machines.state, "--json")

    assert (good.code, bad.code) == (0, 100)
    assert "2 of 5 epochs" in good.out
    assert "gs://local-zeroidle-output/jobs/good/a1/output/" in good.out
    assert bad.json["job"]["failure"]["code"] == "EXIT_CODE"
    assert bad.json["cost_usd"] >= bad.json["job"]["cost_usd"]


def test_logs_of_a_job_are_what_it_wrote_itself(machines: Connection, submitted: Submitted, call: Call) -> None:
    read = call("logs", "good", "--state", machines.state)
    followed = call("logs", "bad", "-f", "--json", "--state", machines.state)

    assert (read.code, read.out) == (0, "hello Ada\n")
    assert followed.code == 100
    assert [json.loads(line) for line in followed.out.splitlines()] == [{"attempt": 1, "line": "out of cheese"}]


def test_results_of_a_job_are_saved_with_their_folders(
    machines: Connection, submitted: Submitted, call: Call, tmp_path: Path
) -> None:
    called = call("results", "good", "--save", tmp_path / "out", "--state", machines.state, "--json")

    assert called.code == 0
    assert sorted(called.json["files"]) == ["sub/one.txt", "two"]
    assert (tmp_path / "out" / "sub" / "one.txt").read_text() == "1\n"


def test_meta_lists_what_the_job_reported(machines: Connection, submitted: Submitted, call: Call) -> None:
    as_json = call("meta", "good", "--state", machines.state, "--json")
    as_table = call("meta", "good", "--state", machines.state)

    assert [(each["operation"], each["data"]) for each in as_json.json["reports"]] == [("weights", {"files": 3})]
    assert '{"files": 3}' in as_table.out


def test_jobs_says_what_it_does_not_show(machines: Connection, submitted: Submitted, call: Call) -> None:
    one = call("jobs", "--limit", 1, "--state", machines.state)
    both = call("jobs", "--all", "--state", machines.state, "--json")

    assert "1 of " in one.err
    assert {"good", "bad"} <= {job["job_id"] for job in both.json["jobs"]}
    assert both.json["shown"] == both.json["total"]


def test_a_job_id_that_is_taken_is_refused(machines: Connection, submitted: Submitted, call: Call) -> None:
    words = ("--accelerator", "1xl4", "--job-id", "good", "--state", machines.state, "--json", "true")
    called = call("submit", "-y", *words)

    assert (called.code, called.error["code"]) == (2, "WRONG_USAGE")
    assert "there is a job good already" in called.error["message"]


def test_what_no_machine_can_fit_is_refused_and_nothing_is_published(machines: Connection, call: Call) -> None:
    words = ("--accelerator", "9xnone", "--job-id", "never", "--state", machines.state, "--json", "true")
    called = call("submit", "-y", *words)

    assert called.code == 2
    assert "field run.wanted.accelerators[0]: there is no cluster '9xnone'" in called.error["message"]
    assert Ledger(machines).find("never") is None


def test_whoever_answers_no_submits_nothing(machines: Connection, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(submit, "_can_ask", lambda: True)
    monkeypatch.setattr(typer, "confirm", lambda text, **_: bool(asked.append(text)))

    called = call("submit", "--accelerator", "1xl4", "--job-id", "declined", "--state", machines.state, "true")

    assert (called.code, asked) == (1, ["Proceed?"])
    assert "Nothing was submitted." in called.err
    assert Ledger(machines).find("declined") is None


def test_a_detached_job_is_not_finished_and_then_stopped(
    machines: Connection, submitted: Submitted, call: Call
) -> None:
    words = ("--accelerator", "1xa100-40gb", "--job-id", "slow", "--state", machines.state, "--detach")
    boot_within(machines, 3600.0)
    try:
        detached = call("submit", "-y", *words, "--", "true")
        shown = call("show", "slow", "--state", machines.state)
        stopped = call("stop", "slow", "--state", machines.state)
        eventually(lambda: call("show", "slow", "--state", machines.state).code == 103, "slow is stopped")
    finally:
        boot_within(machines, BOOT_S)

    assert (detached.code, detached.out) == (0, "slow\n")
    assert f"zeroidle logs slow -f --state {machines.state}" in detached.err
    assert shown.code == 101
    assert "where it may be asked for" in shown.out
    assert "slow  STOP" in stopped.err


def test_ctrl_c_detaches_and_says_how_to_come_back(machines: Connection, call: Call) -> None:
    command = [sys.executable, "-m", "zeroidle_cli.main", "submit", "-y", "--accelerator", "1xl4", "--job-id", "left"]
    words = ["--state", str(machines.state), "--", "sleep", "100"]
    with subprocess.Popen([*command, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if b"runs on" in line)
        process.send_signal(signal.SIGINT)
        told = process.stderr.read().decode()

    assert process.returncode == 130
    # The line that was being printed when the signal came may come once more before it.
    assert "Detached; the job goes on." in told.splitlines()
    assert f"zeroidle logs left -f --state {machines.state}" in told
    assert call("show", "left", "--state", machines.state).code == 101


def test_a_watched_list_comes_again_when_a_job_changes(machines: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "WATCH_S", 0.01)
    changes = jobs.changes(machines, None, None)
    before = next(changes)
    put(machines, replace(second_attempt(), job_id="watched"))
    after = next(changes)

    assert "watched" not in [job.job_id for job in before.shown]
    assert "watched" in [job.job_id for job in after.shown]


def test_a_job_that_is_not_there_is_not_found(machines: Connection, call: Call) -> None:
    codes = [call(command, "nobody", "--state", machines.state).code for command in ("show", "logs", "stop", "meta")]

    assert codes == [102, 102, 102, 102]


def test_offers_come_with_prices_and_in_the_order_that_was_asked_for(machines: Connection, call: Call) -> None:
    words = ("--accelerator", "1xa100-40gb,1xl4", "--spot", "--state", machines.state)
    called = call("offers", *words, "--json")
    everything = call("offers", "--state", machines.state, "--json")
    wrong = call("offers", "--region", "mars-west1", "--state", machines.state)

    told: list[dict[str, Any]] = called.json["offers"]
    accelerators = [each["accelerator"] for each in told]
    assert accelerators == sorted(accelerators, key=["1xa100-40gb", "1xl4"].index)
    assert all(each["usd_per_hour"] > 0 for each in told)
    assert len(everything.json["offers"]) >= len(told)
    assert wrong.code == 2


def test_offers_tell_whose_prices_they_are_and_which_are_derived(machines: Connection, call: Call) -> None:
    words = ("--accelerator", "8xh100", "--region", "us-east4,us-west4", "--state", machines.state)
    listed, told = call("offers", *words), call("offers", *words, "--json").json

    rows = {line.split()[3]: line.split()[4] for line in listed.out.splitlines()[1:] if "h100" in line}
    assert (rows["us-east4"][0], rows["us-west4"][0]) == ("8", "~")
    assert "on 2026-11-25" in " ".join(listed.err.split())
    assert told["prices"]["read_on"] == "2026-11-25"
    assert {each["region"]: each["price_derived"] for each in told["offers"]} == {"us-east4": False, "us-west4": True}


def test_logs_go_on_across_attempts_with_a_line_between_them_that_tells_why(machines: Connection, call: Call) -> None:
    put(machines, replace(succeeded(second_attempt(), NOW + 300), job_id="twice"))
    for part, data in {
        "a1/logs/000000.txt": b"one\nha",
        "a1/logs/000001.txt": b"lf\n",
        "a2/logs/000000.txt": b"two",
    }.items():
        put_output(machines, f"twice/{part}", data)

    called = call("logs", "twice", "--follow", "--state", machines.state)

    assert called.out.splitlines() == ["one", "half", "--- attempt 2 (PREEMPTED in us-west1) ---", "two"]
    assert called.code == 0


def test_a_log_that_is_followed_ends_with_the_job_and_misses_nothing(machines: Connection) -> None:
    running = replace(second_attempt(), job_id="followed")
    ended = replace(failed(running, NOW + 300), job_id="followed")
    put(machines, running)
    put_output(machines, "followed/a2/logs/000000.txt", "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}".encode()[:3])
    steps = iter(
        [
            lambda: put_output(machines, "followed/a2/logs/000001.txt", b"\xbcn\n"),
            lambda: (put_output(machines, "followed/a2/logs/000002.txt", b"last"), put(machines, ended)),
        ]
    )

    log = JobLog(machines, running, pause=lambda: next(steps)())
    told = [line.text for line in log.read(follow=True) if not line.marker]

    assert told == ["gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n", "last"]
    assert log.job.state.is_terminal


def test_names_of_files_never_lead_out_of_the_folder(machines: Connection, call: Call, tmp_path: Path) -> None:
    put(machines, replace(succeeded(second_attempt(), NOW + 300), job_id="hostile"))
    for name in ("fine.txt", "../up.txt", "/etc/passwd", "a", "a/b", "x\ty", "./dot"):
        put_output(machines, f"hostile/a2/output/{name}", b"x")

    called = call("results", "hostile", "--save", tmp_path / "out", "--state", machines.state, "--json")

    assert called.code == 1
    assert sorted(called.json["files"]) == ["a", "fine.txt"]
    assert called.json["not_saved"] == sorted(["../up.txt", "/etc/passwd", "a/b", "x\ty", "./dot"])
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a", "fine.txt"]


def test_a_link_in_the_folder_is_not_followed_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path)

    assert local_path(tmp_path / "out", "link/x") is None
    assert local_path(tmp_path / "out", "dir/x") == tmp_path / "out" / "dir" / "x"


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("plain\tcolumns", "plain\tcolumns"),
        ("\x1b[32mgreen\x1b[0m", "green"),
        (" 10%\r 50%\r100%\r", "100%"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
    ],
    ids=["tabs", "colours", "progress bar", "other control codes"],
)
def test_a_line_is_shown_as_it_stood_last_and_steers_no_terminal(written: str, line: str) -> None:
    assert shown(written) == line


def test_lines_are_put_together_from_parts_and_bad_bytes_do_not_end_it() -> None:
    lines = Lines()

    assert [lines.feed(part) for part in (b"a", b"b\nc\n", b"\xff\xc3")] == [[], ["ab", "c"], []]
    assert lines.end() == ["��"]
