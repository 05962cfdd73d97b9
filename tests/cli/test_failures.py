"""Whatever is raised is told as an error with an exit code."""

from __future__ import annotations

import builtins

import pytest
from google.api_core.exceptions import Forbidden
from requests.exceptions import ConnectionError as NoConnection

from localcloud.gateway import PortInUse
from tests.cli.conftest import Call
from zeroidle.errors import Conflict, InvalidMessage, PermanentError, TemporaryError
from zeroidle_cli import exits, failures, project


@pytest.mark.parametrize(
    ("raised", "code", "exit_code"),
    [
        pytest.param(PermanentError("x", code="BAD"), "BAD", 1, id="permanent"),
        pytest.param(InvalidMessage("x"), "INVALID_MESSAGE", 1, id="invalid message"),
        pytest.param(TemporaryError("x"), "UNAVAILABLE", 4, id="temporary"),
        pytest.param(Conflict("x"), "CONFLICT", 4, id="conflict"),
        pytest.param(NoConnection("refused"), "UNAVAILABLE", 4, id="requests"),
        pytest.param(Forbidden("no"), "UNAVAILABLE", 4, id="google"),
        pytest.param(PortInUse("9000"), "UNAVAILABLE", 4, id="local cloud"),
        pytest.param(builtins.ConnectionResetError("x"), "UNAVAILABLE", 4, id="connection"),
        pytest.param(builtins.TimeoutError("x"), "UNAVAILABLE", 4, id="timeout"),
        pytest.param(PermissionError(13, "Permission denied", "/x"), "FILE_ERROR", 1, id="file"),
        pytest.param(KeyError("x"), "INTERNAL", 4, id="bug"),
    ],
)
def test_every_exception_has_a_code_and_an_exit_code(raised: Exception, code: str, exit_code: int) -> None:
    error = failures.explained(raised)

    assert (error.code, exits.of_error(error)) == (code, exit_code)


def test_a_file_error_names_the_file() -> None:
    error = failures.explained(PermissionError(13, "Permission denied", "/somewhere/report.html"))

    assert error.message == "Permission denied: /somewhere/report.html"


def test_only_a_bug_shows_its_trace(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> project.Project:
        raise raised

    monkeypatch.setattr(project, "find", broken)
    raised: Exception = NoConnection("HTTPConnectionPool(host='127.0.0.1', port=1)")
    assert "Traceback" not in call("jobs").err
    raised = KeyError("x")
    assert "Traceback" in call("jobs").err
    assert "Traceback" in call("jobs", "--json").error["details"]["trace"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["frobnicate"],
        ["jobs", "--status", "NOPE"],
        ["jobs", "--limit", "0"],
        ["run", "x.txt", "--text-mode", "x"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_two(call: Call, arguments: list[str]) -> None:
    called = call(*arguments)

    assert called.code == 2
    assert "Usage: zeroidle" in called.err
