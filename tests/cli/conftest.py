"""A local cloud that has run two files through the command line, and ways to call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.localcloud.recorder import checked_against_discovery, recorded_gateway
from zeroidle_cli import project
from zeroidle_cli.connection import ENDPOINT_VARIABLE, Connection, connect
from zeroidle_cli.main import main

__all__ = ["call", "checked_against_discovery", "cloud", "model", "ran", "recorded_gateway"]

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "build" / "models" / "sentiment-minilm" / "1"
TIMEOUT_S = 120


@dataclass(frozen=True)
class Called:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error as JSON, which is the last line of stderr."""
        return json.loads(self.err.splitlines()[-1])["error"]


Call = Callable[..., Called]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command in this process."""

    def called(*arguments: object) -> Called:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            main([str(argument) for argument in arguments])
        return Called(int(ending.value.code or 0), *capsys.readouterr())

    return called


def zeroidle(*arguments: object, **environment: str) -> Called:
    """Runs a command in a process of its own, without a terminal."""
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", ENDPOINT_VARIABLE)}
    ended = subprocess.run(
        [sys.executable, "-m", "zeroidle_cli.main", *map(str, arguments)],
        env={**env, **environment},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    return Called(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A local cloud in this process, with nothing in it."""
    with connect(project.find(ROOT), tmp_path_factory.mktemp("state").resolve()) as opened:
        yield opened


@pytest.fixture(scope="session")
def model(cloud: Connection) -> Called:
    """What adding the default model said."""
    if not MODEL.is_dir():
        pytest.fail(f"{MODEL} is missing: run `make setup`")
    return zeroidle("models", "add", MODEL, "--state", cloud.state, "--json")


@dataclass(frozen=True)
class Ran:
    """A `zeroidle run` of a good and a wrong file."""

    called: Called
    jobs: Sequence[dict[str, Any]]

    @property
    def good(self) -> dict[str, Any]:
        return self.jobs[0]

    @property
    def wrong(self) -> dict[str, Any]:
        return self.jobs[1]


@pytest.fixture(scope="session")
def ran(cloud: Connection, model: Called, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Two files through the pipeline."""
    assert model.code == 0, model.err
    folder = tmp_path_factory.mktemp("files")
    good, wrong = folder / "[good] file.jsonl", folder / "wrong.csv"
    good.write_text('{"text": "It is wonderful."}\n{"text": "It is terrible."}\n')
    wrong.write_text("a,b\n1,2\n")
    called = zeroidle("run", good, wrong, "--text-field", "text", "--state", cloud.state, "--json")
    return Ran(called, called.json["jobs"])
