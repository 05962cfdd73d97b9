"""Which cloud a command talks to."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Call
from zeroidle.errors import TemporaryError
from zeroidle_cli import connection, project
from zeroidle_cli.connection import ENDPOINT_VARIABLE, RUNNING_FILE, Connection, connect

# Another command: says that it is connected, and does its work when told.
GUEST = """
import sys
from pathlib import Path
from zeroidle_cli import project
from zeroidle_cli.connection import connect

with connect(project.find(), Path(sys.argv[1])) as found:
    print("guest" if found.cloud is None else "host", flush=True)
    sys.stdin.readline()
    print(list(found.objects.list(found.bucket("models"), "")), flush=True)
"""


def dead_url() -> str:
    """Of a port where nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_a_running_local_cloud_is_found_by_its_state(cloud: Connection) -> None:
    with connect(project.find(ROOT), cloud.state) as found:
        assert found.cloud is None
        assert found.environment == cloud.environment


@pytest.mark.parametrize("scheme", ["http://", ""], ids=["url", "host and port"])
def test_one_exported_variable_is_enough(cloud: Connection, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    url = cloud.environment[ENDPOINT_VARIABLE].removeprefix("http://")
    monkeypatch.setenv(ENDPOINT_VARIABLE, scheme + url)
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)

    with connect(project.find(ROOT)) as found:
        assert found.state == cloud.state
        assert found.environment == cloud.environment


def test_a_dead_exported_endpoint_is_named_with_what_to_do(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT_VARIABLE, dead_url())

    called = call("jobs", "--json")

    assert (called.code, called.error["code"], called.error["retryable"]) == (4, "NOT_REACHABLE", True)
    assert f"unset {ENDPOINT_VARIABLE}" in called.error["hint"]
    assert "zeroidle up" in called.error["hint"]


def test_the_state_option_overrules_the_environment(cloud: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT_VARIABLE, dead_url())

    with connect(project.find(ROOT), cloud.state) as found:
        assert found.state == cloud.state


def test_the_announcement_of_a_dead_process_is_passed_over(cloud: Connection, tmp_path: Path) -> None:
    """Even if another local cloud has its port by now."""
    for url in (dead_url(), cloud.environment[ENDPOINT_VARIABLE]):
        announcement = {"pid": 1, "environment": {ENDPOINT_VARIABLE: url}}
        (tmp_path / RUNNING_FILE).write_text(json.dumps(announcement))

        with connect(project.find(ROOT), tmp_path) as own:
            assert own.cloud is not None
        assert not (tmp_path / RUNNING_FILE).exists()


def test_a_state_held_by_a_process_that_does_not_answer_is_an_error_with_its_id(
    cloud: Connection, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.setattr(connection, "_announced", lambda _: None)
    monkeypatch.setattr(connection, "START_S", 0.3)

    called = call("jobs", "--state", cloud.state, "--json")

    assert (called.code, called.error["code"]) == (4, "STATE_IN_USE")
    assert (cloud.state / "lock").read_text() in called.error["message"]


@pytest.mark.parametrize("option", ["--http-port", "--grpc-port"])
def test_a_port_in_use_is_named_with_the_options(tmp_path: Path, call: Call, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        free = "--grpc-port" if option == "--http-port" else "--http-port"

        called = call("up", "--state", tmp_path, option, port, free, 0, "--json")

    assert (called.code, called.error["code"]) == (4, "PORT_IN_USE")
    assert str(port) in called.error["message"]
    assert option in called.error["hint"]


def test_the_end_of_a_local_cloud_in_another_process_is_told(
    cloud: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command() -> None:
        with connect(project.find(ROOT), cloud.state):
            monkeypatch.setattr(connection, "state_at", lambda _: None)
            raise TemporaryError("storage did not answer")

    with pytest.raises(TemporaryError) as caught:
        command()

    assert caught.value.code == "CLOUD_GONE"
    assert str(cloud.state) in caught.value.hint


def test_a_local_cloud_that_another_command_uses_ends_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    command, pipe = [sys.executable, "-c", GUEST, str(tmp_path)], subprocess.PIPE
    with contextlib.ExitStack() as ending:
        with connect(project.find(ROOT), tmp_path) as host:
            assert host.cloud is not None
            guest = ending.enter_context(subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True))
            assert guest.stdin is not None
            assert guest.stdout is not None
            assert guest.stdout.readline() == "guest\n"

            def say(text: str, **_: object) -> None:
                told.append(text)
                guest.stdin.write("go on\n")
                guest.stdin.flush()

            monkeypatch.setattr(connection.err, "print", say)
        assert guest.stdout.read() == "[]\n"

    assert guest.returncode == 0
    assert len(told) == 1


def test_a_state_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path, call: Call) -> None:
    (tmp_path / "file").touch()

    called = call("jobs", "--state", tmp_path / "file" / "state", "--json")

    assert (called.code, called.error["code"]) == (1, "FILE_ERROR")
    assert str(tmp_path / "file") in called.error["message"]


def test_without_google_s_emulator_up_says_what_to_install(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDSDK_ROOT_DIR", str(tmp_path / "no-sdk"))

    called = call("up", "--pubsub", "official", "--state", tmp_path, "--json")

    assert (called.code, called.error["code"]) == (4, "PUBSUB_NOT_INSTALLED")
    assert "gcloud components install pubsub-emulator" in called.error["message"]
