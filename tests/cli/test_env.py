"""The variables that point a shell at the running local cloud."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.cli.test_connection import dead_url
from zeroidle_cli.connection import ENDPOINT_VARIABLE, Connection


def in_a_shell(script: str, *arguments: str, **environment: str) -> str:
    """What a shell prints that runs `script`; it starts with nothing but a PATH and the variables given."""
    return subprocess.run(
        ["/bin/sh", "-ec", script, "sh", *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_shell_that_evaluates_it_has_every_variable(cloud: Connection, call: Call) -> None:
    printed = call("env", "--state", cloud.state).out

    told = dict(line.partition("=")[::2] for line in in_a_shell(f"{printed}\nenv").splitlines())

    assert cloud.cloud is not None
    assert told.items() >= {**cloud.environment, **cloud.cloud.gcloud_environment()}.items()
    assert told.items() >= call("env", "--state", cloud.state, "--json").json.items()


def test_values_are_quoted_for_the_shell(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "it's $(touch /tmp/no) `no`; no"
    told = {"clients": {"A": hostile}, "gcloud": {}}
    monkeypatch.setattr("zeroidle_cli.commands.env.running_at", lambda *_: "http://localhost")
    monkeypatch.setattr("zeroidle_cli.commands.env.ask", lambda *_: told)

    printed = call("env").out

    assert in_a_shell(f'{printed}\nprintf %s "$A"') == hostile


def test_a_shell_can_take_it_back(cloud: Connection, call: Call) -> None:
    exports, unset = call("env", "--state", cloud.state).out, call("env", "--unset").out

    left = in_a_shell(f"{exports}\n{unset}\nenv")

    assert (
        not {line.partition("=")[0] for line in left.splitlines()}
        & call("env", "--state", cloud.state, "--json").json.keys()
    )


def test_the_exported_cloud_is_meant_if_it_answers(
    cloud: Connection, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT_VARIABLE, cloud.environment[ENDPOINT_VARIABLE])

    assert call("env", "--json").json.items() >= cloud.environment.items()


@pytest.mark.parametrize("exported", [False, True], ids=["nothing exported", "a dead one exported"])
def test_without_a_running_cloud_nothing_is_printed_to_evaluate(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: bool
) -> None:
    monkeypatch.setattr("zeroidle_cli.project.Project.default_state", tmp_path)
    if exported:
        monkeypatch.setenv(ENDPOINT_VARIABLE, dead_url())
    else:
        monkeypatch.delenv(ENDPOINT_VARIABLE, raising=False)

    called = call("env", "--json")

    assert (called.code, called.out, called.error["code"]) == (4, "", "NOT_RUNNING")
    assert "zeroidle up" in called.error["hint"]
