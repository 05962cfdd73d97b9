"""What the startup script of a GPU VM does, on a VM of the local cloud with stand-ins for nvidia-smi and Docker."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.localcloud.waiting import wait_until
from tests.worker.machine_cloud import ROOT, Machines, machines

SCRIPT = ROOT / "worker" / "startup.sh"
IMAGE = "us-docker.pkg.dev/acme/zeroidle/worker:1"
# It notes what it is called with, fails as told, and in the place of the agent's container runs the agent.
TOOL = """#!{python}
import json, os, sys
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
stdin = sys.stdin.read() if "--password-stdin" in words else ""
with open({calls!r}, "a") as calls:
    calls.write(json.dumps([name, *words, *([stdin.strip()[:5]] if stdin else [])]) + "\\n")
fails = os.environ.get("FAILS", "nothing")
if fails in " ".join([name, *words]):
    sys.exit("refused by the test")
if "zeroidle-agent" in words:
    given = [words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "--env"]
    os.chdir({root!r})
    os.execve(sys.executable, [sys.executable, "-m", "worker.main"], {{**os.environ, **dict(given)}})
"""


class Tools:
    """`docker` and `nvidia-smi` in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "calls"
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.work = folder / "work"
        text = TOOL.format(python=sys.executable, calls=str(self.path), root=str(ROOT))
        for name in ("docker", "nvidia-smi"):
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)

    def calls(self) -> list[list[str]]:
        """What was called so far."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def env(self, **more: str) -> dict[str, str]:
        """Of the VM."""
        path = f"{self.bin}:{os.environ['PATH']}"
        return {"PATH": path, "ZEROIDLE_WORK": str(self.work), "ZEROIDLE_RETRY_S": "0", **more}


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path)


ATTRIBUTES = {"zeroidle-image": IMAGE, "zeroidle-region": "us-central1"}


def said(cloud: Machines) -> str:
    """What the VMs wrote to their serial consoles."""
    path = cloud.cloud.context.store.directory / "logs" / "compute.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return "\n".join(json.loads(line)["line"] for line in lines)


def test_a_gpu_vm_runs_the_agent_and_the_agent_a_job(tools: Tools, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with machines(SCRIPT.read_text(), ATTRIBUTES, tools.env()) as cloud:
        cloud.a_job(': > "$MARK"; sleep 0.2', MARK=str(mark))
        cloud.a_vm("vm-1")
        wait_until(mark.exists, "the job")
        cloud.until_gone("vm-1")
        word = cloud.jobs.last_word("job-1", 1)

    assert word is not None
    assert word.status == "SUCCEEDED"
    assert tools.calls() == [
        ["nvidia-smi", "--list-gpus"],
        ["docker", "info"],
        [
            *("docker", "login", "--username", "oauth2accesstoken", "--password-stdin"),
            *("https://us-docker.pkg.dev", "ya29."),
        ],
        ["docker", "pull", "--quiet", IMAGE],
        ["docker", "run", "--rm", "--gpus", "all", "--entrypoint", "nvidia-smi", IMAGE, "--list-gpus"],
        [
            *("docker", "run", "--rm", "--init", "--name", "zeroidle-agent", "--network", "host"),
            *(
                "--stop-timeout",
                "40",
                "--oom-score-adj",
                "-900",
                "--log-opt",
                "max-size=50m",
                "--log-opt",
                "max-file=2",
            ),
            *("--mount", "type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock"),
            *("--mount", f"type=bind,source={tools.work},target={tools.work}"),
            *("--env", "GOOGLE_CLOUD_PROJECT=local", "--env", "ZEROIDLE_REGION=us-central1"),
            *("--env", f"ZEROIDLE_WORK={tools.work}", IMAGE),
        ],
    ]


@pytest.mark.parametrize(
    ("fails", "because"),
    [
        ("nvidia-smi --list-gpus", "the driver sees no GPU"),
        ("docker info", "Docker does not answer"),
        ("docker login", f"the registry of {IMAGE} takes no login"),
        ("docker pull", f"{IMAGE} cannot be pulled"),
        ("--gpus all", "a container sees no GPU: use an image with the NVIDIA Container Toolkit"),
    ],
)
def test_what_a_vm_lacks_is_named_in_its_console_and_no_agent_runs(tools: Tools, fails: str, because: str) -> None:
    with machines(SCRIPT.read_text(), ATTRIBUTES, tools.env(FAILS=fails)) as cloud:
        cloud.a_vm("vm-1")

        wait_until(lambda: f"zeroidle: {because}" in said(cloud), f"{because!r} in the console")

    assert not any("zeroidle-agent" in call for call in tools.calls())


def test_metadata_that_its_template_lacks_is_named(tools: Tools) -> None:
    with machines(SCRIPT.read_text(), {"zeroidle-region": "us-central1"}, tools.env()) as cloud:
        cloud.a_vm("vm-1")

        wait_until(lambda: "has no instance/attributes/zeroidle-image" in said(cloud), "the reason in the console")

    assert tools.calls() == []


def test_an_image_of_another_registry_needs_no_login(tools: Tools) -> None:
    attributes = {**ATTRIBUTES, "zeroidle-image": "ghcr.io/acme/worker:1"}
    with machines(SCRIPT.read_text(), attributes, tools.env(FAILS="--gpus all")) as cloud:
        cloud.a_vm("vm-1")
        wait_until(lambda: "a container sees no GPU" in said(cloud), "its end")

    assert not any("login" in call for call in tools.calls())


def test_the_script_is_as_shellcheck_wants_it() -> None:
    tool = Path(sys.executable).with_name("shellcheck")

    done = subprocess.run([tool, "--enable", "quote-safe-variables", SCRIPT], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")


DOCKER = shutil.which("docker")


@pytest.mark.skipif(DOCKER is None, reason="Docker's command line is not installed")
def test_dockers_command_line_knows_every_option_of_the_script(tools: Tools) -> None:
    with machines(SCRIPT.read_text(), ATTRIBUTES, tools.env(FAILS="zeroidle-agent")) as cloud:
        cloud.a_vm("vm-1")
        wait_until(lambda: "refused by the test" in said(cloud), "the last call")

    nobody = "unix:///nowhere/docker.sock"
    for call in tools.calls():
        if call[:2] == ["docker", "run"]:
            done = subprocess.run([str(DOCKER), "--host", nobody, *call[1:]], capture_output=True, text=True)
            assert "unknown" not in done.stderr
            assert "connect to the Docker daemon" in done.stderr


Helper = Callable[[str, Any], subprocess.CompletedProcess[str]]


@pytest.fixture
def helper() -> Helper:
    def ask(registry: str, host: str) -> subprocess.CompletedProcess[str]:
        tool = ROOT / "worker" / "registry.py"
        return subprocess.run(
            [sys.executable, "-I", tool, "get"],
            input=f"{registry}\n", capture_output=True, text=True,
            env={"GCE_METADATA_HOST": host, "http_proxy": "http://127.0.0.1:9"},
        )  # fmt: skip

    return ask


class TestRegistry:
    """The helper that Docker's command line asks for credentials."""

    def test_googles_registries_get_a_token_of_the_vm(self, helper: Helper, tmp_path: Path) -> None:
        told = tmp_path / "host"
        with machines(f'#!/bin/sh\necho "$GCE_METADATA_HOST" > {told}.new; mv {told}.new {told}; sleep 100\n') as cloud:
            cloud.a_vm("vm-1")
            wait_until(told.exists, "the VM")
            for registry in ("https://us-docker.pkg.dev", "europe-west4-docker.pkg.dev", "gcr.io", "eu.gcr.io"):
                done = helper(registry, told.read_text().strip())

                answer = json.loads(done.stdout)
                assert (done.returncode, answer["ServerURL"], answer["Username"]) == (0, registry, "oauth2accesstoken")
                assert answer["Secret"].startswith("ya29.")

    @pytest.mark.parametrize(
        "registry", ["https://index.docker.io/v1/", "nvcr.io", "us-docker.pkg.dev.evil.example", "", "\0"]
    )
    def test_nobody_else_gets_one(self, helper: Helper, registry: str) -> None:
        done = helper(registry, "127.0.0.1:9")

        assert (done.returncode, done.stdout) == (1, "credentials not found in native keychain")

    def test_a_metadata_server_that_does_not_answer_is_told(self, helper: Helper) -> None:
        done = helper("gcr.io", "127.0.0.1:9")

        assert done.returncode == 1
        assert "refused" in done.stdout
        assert "Traceback" not in done.stderr
