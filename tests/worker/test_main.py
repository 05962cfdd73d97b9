"""The agent as the process that it is on a VM: `python -m worker.main`, with its real clients, on a local cloud."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from localcloud.faults import Fault
from tests.localcloud.waiting import wait_until
from tests.worker.machine_cloud import ROOT, machines
from zeroidle.contracts.records import State

AGENT = f'#!/bin/sh\nexport ZEROIDLE_WORK="$PWD/work"\ncd {ROOT} && exec {sys.executable} -m worker.main\n'
POLITE = """
trap 'echo saved > "$ZEROIDLE_OUTPUT/saved"; exit 143' TERM
echo up; : > "$MARK"
while true; do sleep 0.05; done
"""


def test_told_to_end_it_ends_its_job_keeps_the_files_says_so_and_deletes_its_vm(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with machines(AGENT) as cloud:
        cloud.a_job(POLITE, MARK=str(mark))
        cloud.a_vm("vm-1")
        wait_until(mark.exists, "the job")
        assert cloud.claimed_by() == "vm-1"

        os.kill(cloud.machine("vm-1").pid, signal.SIGTERM)

        cloud.until_gone("vm-1")
        word = cloud.jobs.last_word("job-1", 1)
        assert word is not None
        assert (word.status, word.exit_code) == ("PREEMPTED", 143)
        left = cloud.left()
        assert left["output/saved"] == b"saved\n"
        assert left["logs/000000.txt"].startswith(b"up\n")


def test_an_assignment_that_a_dead_worker_held_comes_to_another_one(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with machines(AGENT) as cloud:
        # The first worker has the assignment and cannot read the job's record.
        away = Fault("storage.objects.get", "*jobs/job-1.json", status=503, times=None)
        cloud.a_job(POLITE, MARK=str(mark))
        cloud.cloud.faults.add(away)
        cloud.a_vm("vm-1")
        wait_until(lambda: cloud.leased() == 1, "a worker with the assignment")

        cloud.cloud.faults.add(Fault("compute.machines.run", "*/vm-1", action="kill"))
        cloud.cloud.clock.advance(seconds=2)
        cloud.until_gone("vm-1")
        cloud.cloud.faults.clear()
        cloud.a_vm("vm-2")
        assert cloud.jobs.claim("job-1", 1) is None
        cloud.cloud.clock.advance(seconds=61)

        assert cloud.claimed_by() == "vm-2"
        stored = cloud.jobs.load("job-1")
        assert stored is not None
        assert stored.job.state is State.PROVISIONING


@pytest.mark.parametrize("missing", ["GOOGLE_CLOUD_PROJECT", "ZEROIDLE_REGION"])
def test_what_is_missing_in_its_environment_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    env = {"PATH": os.environ["PATH"], "GOOGLE_CLOUD_PROJECT": "p", "ZEROIDLE_REGION": "us-central1"}
    del env[missing]

    done = subprocess.run([sys.executable, "-m", "worker.main"], cwd=ROOT, env=env, capture_output=True, text=True)

    assert done.returncode == 1
    assert f"environment variable {missing} is not set" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
