"""The local cloud is killed in the middle of a job, and goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ROOT, add_default_model
from tests.e2e.driver import Driver, eventually, records
from zeroidle.contracts.records import Job, State
from zeroidle_cli import project
from zeroidle_cli.connection import connect

COUNT = 6000  # a few shards, so that there is a middle


@dataclass
class Up:
    """`zeroidle up` as a process."""

    process: subprocess.Popen[str]
    told: dict[str, Any]

    def children(self) -> set[int]:
        """Every process below it, by pid."""
        parents = {int(p.name): _parent(p) for p in Path("/proc").iterdir() if p.name.isdigit()}
        found: set[int] = set()
        frontier = {self.process.pid}
        while frontier:
            frontier = {pid for pid, parent in parents.items() if parent in frontier}
            found |= frontier
        return found


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def alive(pid: int) -> bool:
    """Is there such a process, and not as a zombie?"""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def up(state: Path, *options: str) -> Iterator[Up]:
    command = [sys.executable, "-m", "zeroidle_cli.main", "up", "--state", str(state)]
    command += ["--http-port", "0", "--grpc-port", "0", "--json", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            text += line
            if line.rstrip() == "}":
                break
        yield Up(process, json.loads(text))
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds child processes in /proc")
def test_a_local_cloud_killed_in_the_middle_of_a_job_finishes_it_after_a_restart(tmp_path: Path) -> None:
    here = project.find(ROOT)
    with connect(here, tmp_path) as connection:
        add_default_model(connection)
    with up(tmp_path) as first, connect(here, tmp_path) as connection:
        assert connection.cloud is None
        driver = Driver(connection)
        job_id = driver.upload("long.jsonl", records(COUNT))

        def in_the_middle() -> Job | None:
            job = driver.job(job_id)
            return job if job is not None and len(job.stages) == 2 and job.state is State.RUNNING else None

        before = eventually(in_the_middle, "inference has begun")
        children = first.children()
        assert children
        os.kill(first.process.pid, signal.SIGKILL)
        eventually(lambda: not any(map(alive, children)), "no process is left of the killed cloud", 15)

    with up(tmp_path) as second, connect(here, tmp_path) as connection:
        driver = Driver(connection)
        job = driver.finished(job_id)
        assert job.state is State.SUCCEEDED, job.failure
        predictions = driver.predictions(job)
        children = second.children()

    assert (job.attempt, job.execution) == (1, before.execution)
    assert [p["id"] for p in predictions] == [f"r{n}" for n in range(COUNT)]
    eventually(lambda: not any(map(alive, children)), "no process is left of the stopped cloud", 15)
