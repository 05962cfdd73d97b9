"""Jobs on machines of their own, through processes: functions, a local Compute Engine whose VMs run the real agent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.faults import Fault
from tests.e2e.driver import Driver, eventually
from tests.e2e.test_messages import publish
from tests.e2e.test_restart import alive, up
from zeroidle.contracts.records import Job, Reason, State
from zeroidle.contracts.services import ObjectRef
from zeroidle.gcp.vmstore import BucketVmStore
from zeroidle_cli import project
from zeroidle_cli.connection import connect

ROOT = Path(__file__).parents[2]
STOCKOUT = "ZONE_RESOURCE_POOL_EXHAUSTED"
WORKS = "echo working; sleep 0.2; echo done > $ZEROIDLE_OUTPUT/result.txt"
RUNS_ON = "echo started; while true; do sleep 0.1; done"


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """A local cloud of these tests' own, whose time they move."""
    with connect(project.find(ROOT), tmp_path_factory.mktemp("machines")) as opened:
        yield Driver(opened)


@pytest.fixture
def driver(machines: Driver) -> Iterator[Driver]:
    machines.cloud.faults.clear()
    yield machines
    machines.cloud.faults.clear()


def submit(
    job_id: str, script: str, *, keep_alive_s: int = 0, limits: dict[str, Any] | None = None, **wanted: Any
) -> str:
    """Ask for a job whose container is a shell script."""
    run = {
        "kind": "machine",
        "command": ["/bin/sh", "-c", script],
        "wanted": {"accelerators": ["1xl4"], **wanted},
        "keep_alive_s": keep_alive_s,
    }
    publish("jobs-start", {"schema": 1, "job_id": job_id, "user_id": "ada", "run": run, "limits": limits or {}})
    return job_id


def stop(job_id: str) -> None:
    publish("jobs-stop", {"schema": 1, "job_id": job_id, "user_id": "ada", "reason": "enough"})


def tick(driver: Driver, seconds: float = 61) -> None:
    """Let time pass, once what is on its way has arrived: requests have time limits too."""
    time.sleep(0.2)
    if driver.cloud.is_idle():
        driver.cloud.clock.advance(seconds=seconds)


def until_state(driver: Driver, job_id: str, *states: State, ticking: bool = False) -> Job:
    def there() -> Job | None:
        job = driver.job(job_id)
        if job is not None and job.state in states:
            return job
        if ticking:
            tick(driver, 20)
        return None

    found: Job = eventually(there, lambda: f"{job_id} is {states}: {driver.job(job_id)}")
    return found


def job_processes(state: Path) -> list[int]:
    """Processes that jobs of the cloud with this state directory run, or left behind."""
    mine = f"ZEROIDLE_OUTPUT={state}/".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mine in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


def ended(driver: Driver, job_id: str) -> Job:
    """The record once the job is over; and no VM, entry, marker, process or file of anything is left."""
    job = until_state(driver, job_id, State.SUCCEEDED, State.FAILED, State.STOPPED, ticking=True)
    state = driver.connection.state
    vms = BucketVmStore(driver.objects, driver.connection.bucket("jobs"))

    def clean() -> bool:
        tick(driver)
        left = driver.cloud.call(lambda: list(driver.cloud.compute.machines))
        return (
            not left
            and not vms.entries()
            and not list(driver.objects.list(driver.connection.bucket("jobs"), "active/"))
            and not job_processes(state)
            and not list((state / "compute").glob("*"))
        )

    eventually(clean, f"nothing of {job_id} is left")
    return job


def pids(driver: Driver) -> list[int]:
    """Of the VMs that run."""
    machines = driver.cloud.call(lambda: list(driver.cloud.compute.machines.values()))
    return [machine.pid for machine in machines if machine.pid is not None]


def files(driver: Driver, job: Job) -> dict[str, bytes]:
    """What an attempt left in the output bucket."""
    folder = f"jobs/{job.job_id}/a{job.attempt}/"
    found = driver.objects.list(driver.connection.bucket("output"), folder)
    return {each.ref.name.removeprefix(folder): driver.objects.read(each.ref)[0] for each in found}


def test_a_job_runs_on_a_vm_of_its_own_and_leaves_its_files_and_log(driver: Driver) -> None:
    job = ended(driver, submit("good", WORKS))

    assert job.state is State.SUCCEEDED, job
    assert job.machines.exit_code == 0
    assert job.result is not None
    assert job.result.files == 1
    left = files(driver, job)
    assert left["output/result.txt"] == b"done\n"
    assert b"working" in left["logs/000000.txt"]


def test_a_job_that_exits_with_an_error_is_failed_with_its_code(driver: Driver) -> None:
    job = ended(driver, submit("exits", "echo 'out of cheese' >&2; exit 3"))

    assert (job.state, job.reason, job.machines.exit_code) == (State.FAILED, Reason.JOB_ERROR, 3)
    assert job.failure is not None
    assert "exited with 3" in job.failure.message
    assert b"out of cheese" in files(driver, job)["logs/000000.txt"]


def test_a_job_tells_of_its_progress(driver: Driver) -> None:
    tells = textwrap.dedent(
        """
        echo '{"done": 2, "total": 5, "unit": "epochs"}' >> $ZEROIDLE_META
        echo '{"operation": "weights", "data": {"files": 3}}' >> $ZEROIDLE_META
        sleep 0.3
        """
    )
    job = ended(driver, submit("tells", tells))

    assert job.progress is not None
    assert (job.progress.done, job.progress.total, job.progress.unit) == (2, 5, "epochs")
    (report,) = driver.objects.list(driver.connection.bucket("jobs"), "meta/tells/")
    data = json.loads(driver.objects.read(ObjectRef(bucket=report.ref.bucket, name=report.ref.name))[0])
    assert (data["operation"], data["data"]) == ("weights", {"files": 3})


def test_a_vm_that_is_killed_is_lost_and_a_second_attempt_runs(driver: Driver) -> None:
    # The first attempt runs on; the second one, told apart by its number, ends.
    submit("killed", 'test "$ZEROIDLE_ATTEMPT" = 2 || { ' + RUNS_ON + "; }; echo two > $ZEROIDLE_OUTPUT/r.txt")
    until_state(driver, "killed", State.RUNNING)
    eventually(lambda: job_processes(driver.connection.state), "the job has a process")

    for pid in pids(driver):
        os.killpg(pid, signal.SIGKILL)
    eventually(lambda: not job_processes(driver.connection.state), "no process of the job is left", 15)
    job = ended(driver, "killed")

    assert (job.state, job.attempt, job.interruptions_used, job.errors_used) == (State.SUCCEEDED, 2, 1, 0)
    assert files(driver, job)["output/r.txt"] == b"two\n"


def test_a_preempted_job_keeps_its_partial_results_and_runs_again(driver: Driver) -> None:
    script = (
        "echo part > $ZEROIDLE_OUTPUT/part.txt; trap 'echo saved > $ZEROIDLE_OUTPUT/saved.txt; exit 143' TERM;"
        ' if [ "$ZEROIDLE_ATTEMPT" = 1 ]; then ' + RUNS_ON + "; fi"
    )
    submit("preempted", script, provisioning="spot")
    until_state(driver, "preempted", State.RUNNING)

    driver.cloud.faults.add(Fault("compute.machines.run", "*/preempted-a1", action="preempt", delay_s=30))
    eventually(lambda: (driver.job("preempted") or Job).attempt == 2, "the second attempt")
    first = files(driver, until_state(driver, "preempted", *State))

    job = ended(driver, "preempted")
    assert (job.state, job.attempt, job.history[0].reason) == (State.SUCCEEDED, 2, Reason.PREEMPTED)
    folder = "jobs/preempted/a1/output/"
    kept = [each.ref.name for each in driver.objects.list(driver.connection.bucket("output"), folder)]
    assert kept == [f"{folder}part.txt", f"{folder}saved.txt"], first


def test_a_stockout_in_two_regions_moves_the_job_to_a_third(driver: Driver) -> None:
    submit_to = ["us-central1", "us-east1", "us-west1"]
    for region in submit_to[:2]:
        driver.cloud.faults.add(Fault("compute.machines.provision", f"{region}-*", reason=STOCKOUT, times=None))
    submit("stockout", WORKS, regions=submit_to)
    job = ended(driver, "stockout")

    assert job.state is State.SUCCEEDED, job
    story = [(line.region, line.code) for line in job.machines.story]
    assert story[-1] == ("us-west1", "CLAIMED")
    assert set(story[:-1]) == {("us-central1", STOCKOUT), ("us-east1", STOCKOUT)}


def test_a_job_is_stopped_before_its_start(driver: Driver) -> None:
    stop("early")
    until_state(driver, "early", State.STOPPED)
    submit("early", WORKS)

    assert ended(driver, "early").attempt == 0


def test_a_job_is_stopped_while_it_waits_for_capacity(driver: Driver) -> None:
    driver.cloud.faults.add(Fault("compute.machines.provision", reason=STOCKOUT, times=None))
    submit("waits", WORKS, regions=["us-central1"])
    until_state(driver, "waits", State.QUEUED, ticking=True)
    stop("waits")

    assert ended(driver, "waits").state is State.STOPPED


def test_a_job_is_stopped_while_its_vm_comes_up(driver: Driver) -> None:
    driver.cloud.call(lambda: setattr(driver.cloud.compute, "boot_s", 3600.0))
    try:
        submit("booting", WORKS)
        until_state(driver, "booting", State.PROVISIONING)
        stop("booting")
        job = until_state(driver, "booting", State.STOPPED)
    finally:
        driver.cloud.call(lambda: setattr(driver.cloud.compute, "boot_s", 2.0))

    assert job.machines.worker is None
    assert ended(driver, "booting").state is State.STOPPED


def test_a_running_job_is_stopped_politely_and_twice_is_once(driver: Driver) -> None:
    submit("stopped", "trap 'echo bye; echo kept > $ZEROIDLE_OUTPUT/kept.txt; exit 0' TERM; " + RUNS_ON)
    until_state(driver, "stopped", State.RUNNING)
    stop("stopped")
    stop("stopped")
    tick(driver, 20)  # the next beat is due

    job = ended(driver, "stopped")

    assert (job.state, job.reason) == (State.STOPPED, Reason.STOP_REQUESTED)
    assert files(driver, job)["output/kept.txt"] == b"kept\n"


def test_a_start_that_comes_twice_is_one_job(driver: Driver) -> None:
    submit("twice-m", WORKS)
    submit("twice-m", WORKS)

    job = ended(driver, "twice-m")

    assert (job.state, job.attempt) == (State.SUCCEEDED, 1)


def test_the_second_job_takes_the_warm_vm_of_the_first(driver: Driver) -> None:
    submit("warm-1", WORKS, keep_alive_s=3000)
    first = until_state(driver, "warm-1", State.SUCCEEDED)
    submit("warm-2", WORKS)
    second = until_state(driver, "warm-2", State.SUCCEEDED)

    assert first.machines.worker == second.machines.worker
    assert ended(driver, "warm-2").state is State.SUCCEEDED


def test_the_whole_cloud_killed_mid_job_goes_on_with_a_second_attempt(tmp_path: Path) -> None:
    here = project.find(ROOT)
    script = f'test "$ZEROIDLE_ATTEMPT" = 2 || {{ {RUNS_ON}; }}; echo two > $ZEROIDLE_OUTPUT/r.txt'
    with up(tmp_path) as first, connect(here, tmp_path):
        submit("restart", script)
        eventually(lambda: job_processes(tmp_path), "the job has a process")
        children = first.children()
        first.process.kill()
        eventually(lambda: not any(map(alive, children)), "no process is left of the killed cloud", 15)
        eventually(lambda: not job_processes(tmp_path), "no process of the job is left", 15)

    with connect(here, tmp_path) as opened:
        job = ended(Driver(opened), "restart")

    assert (job.state, job.attempt) == (State.SUCCEEDED, 2)
