"""Does `kill -9` of the local cloud leave nothing behind, whatever it was doing?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from localcloud.cloud import CloudConfig, running
from localcloud.run.watchdog import Watchdog
from tests.localcloud.run.run_bench import until
from tests.localcloud.run.test_run_scaling import STUBBORN

CLOUD = textwrap.dedent("""
    import json, sys, threading
    from pathlib import Path
    from localcloud.cloud import CloudConfig, Deployment, running
    from localcloud.run.state import ServiceSpec
    specs = json.loads(sys.argv[1])
    def deployment(cloud):
        return Deployment(services=tuple(ServiceSpec(cwd=Path(cwd), public=True, name=name, command=tuple(command))
                                         for name, command, cwd in specs))
    with running(CloudConfig(), deployment) as cloud:
        print(cloud.http_url, flush=True)
        threading.Event().wait()
""")
FUNCTION = textwrap.dedent("""
    import os
    import functions_framework

    @functions_framework.http
    def handle(request):
        return {"pid": os.getpid(), "parent": os.getppid()}
""")

JOBS = textwrap.dedent("""
    import sys, threading
    from pathlib import Path
    from localcloud.cloud import CloudConfig, Deployment, running
    from localcloud.run.jobs import JobSpec
    files, task = Path(sys.argv[1]), sys.argv[2]
    job = JobSpec("crunch", (sys.executable, "-S", "-c", task), cwd=files, max_retries=0)
    with running(CloudConfig(state=files / "state"), lambda _: Deployment(jobs=(job,))) as cloud:
        print(cloud.call(cloud.run.jobs.run, "crunch").name, flush=True)
        threading.Event().wait()
""")
# Notes its process under the number of its attempt; ends once told so.
TASK = textwrap.dedent("""
    import os, pathlib, time
    note = pathlib.Path("attempt-" + os.environ["CLOUD_RUN_TASK_ATTEMPT"])
    note.with_suffix(".new").write_text(str(os.getpid()))
    note.with_suffix(".new").rename(note)
    while not pathlib.Path("go").exists():
        time.sleep(0.005)
""")


def members(group: int) -> list[int]:
    """The running processes of a process group."""
    done = subprocess.run(["/bin/ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return [int(pid) for pid, pgid, stat in rows if int(pgid) == group and not stat.startswith("Z")]


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """A local cloud in a process of its own with a function and a service that ignores SIGTERM."""
    (tmp_path / "main.py").write_text(FUNCTION)
    specs = [
        ("function", [sys.executable, "-m", "functions_framework", "--target", "handle"], str(tmp_path)),
        ("stubborn", [sys.executable, "-S", "-c", STUBBORN], str(tmp_path)),
    ]
    process = subprocess.Popen([sys.executable, "-c", CLOUD, json.dumps(specs)], stdout=subprocess.PIPE, text=True)
    yield process, process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()


def test_kill_9_leaves_no_process_and_no_temporary_directory(victim):
    process, url = victim
    http = urllib3.PoolManager(retries=False)
    worker = http.request("GET", f"{url}/run/function/").json()
    assert http.request("GET", f"{url}/run/stubborn/").status == 200
    instances = http.request("GET", f"{url}/_localcloud/instances").json()["instances"]
    state = Path(http.request("GET", f"{url}/_localcloud/health").json()["state"])
    groups = [instance["pid"] for instance in instances]
    # gunicorn's master and worker; the stubborn one and its child
    assert [len(members(group)) for group in groups] == [2, 2]
    assert worker["parent"] in groups

    os.kill(process.pid, signal.SIGKILL)

    until(lambda: [members(group) for group in groups] == [[], []])
    until(lambda: not state.exists())


def test_the_end_of_a_process_does_not_depend_on_its_parents_word(tmp_path: Path):
    # What is spawned has told the reaper before it becomes the service: no `born`, no goodbye.
    script = textwrap.dedent("""
        import os, subprocess, sys
        from localcloud.run.watchdog import Watchdog
        watchdog = Watchdog()
        pipe = watchdog.pipe()
        child = subprocess.Popen(watchdog.command(("sleep", "600")), stdin=pipe, start_new_session=True)
        print(child.pid, flush=True)
        os.kill(os.getpid(), 9)
    """)
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False)

    assert done.returncode == -9
    until(lambda: members(int(done.stdout)) == [])


def registered(watchdog: Watchdog) -> subprocess.Popen[bytes]:
    """A process that has told the reaper of itself: it speaks only after that."""
    command = watchdog.command(("sh", "-c", "echo begun; exec sleep 600"))
    child = subprocess.Popen(command, stdin=watchdog.pipe(), stdout=subprocess.PIPE, start_new_session=True)
    watchdog.born(child.pid)
    with child.stdout as output:
        assert output.readline() == b"begun\n"
    return child


def test_a_reaper_somebody_ended_is_replaced_and_knows_what_lives():
    watchdog = Watchdog()
    child = registered(watchdog)
    first = watchdog._reaper
    first.kill()
    first.wait()

    watchdog.pipe()
    watchdog._reaper.stdin.close()  # as if this process had been killed

    assert child.wait(timeout=10) == -signal.SIGTERM
    assert watchdog._reaper is not first
    watchdog._reaper.wait(timeout=10)
    first.stdin.close()


def test_an_orderly_end_spares_what_is_none_of_its_business(tmp_path: Path):
    kept = tmp_path / "state"
    kept.mkdir()
    watchdog = Watchdog(kept)
    child = registered(watchdog)

    watchdog.close()

    assert child.poll() is None
    assert kept.exists()
    child.kill()
    child.wait()


def test_kill_9_ends_a_jobs_tasks_and_the_next_start_runs_them_again(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", JOBS, str(tmp_path), TASK], stdout=subprocess.PIPE, text=True)
    name = process.stdout.readline().strip()
    until((tmp_path / "attempt-0").exists)
    first = int((tmp_path / "attempt-0").read_text())

    process.kill()
    process.wait()
    process.stdout.close()

    until(lambda: not members(first))
    with running(CloudConfig(state=tmp_path / "state")) as cloud:
        until((tmp_path / "attempt-1").exists)
        (tmp_path / "go").touch()
        until(cloud.is_idle)
        execution = cloud.call(cloud.run.jobs.execution, "crunch", name)
    assert execution.succeeded
    assert (execution.tasks[0].attempts, execution.tasks[0].failures) == (2, 0)
