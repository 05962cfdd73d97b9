"""Do a job's tasks run as often, as many at once and as long as it says, whatever ends in between?"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.run.errors import FailedPrecondition, InvalidArgument, NotFound
from localcloud.run.jobs import Execution, JobSpec, Overrides, TaskState
from localcloud.run.logs import LogFiles
from tests.localcloud.run.run_bench import Bench, until

# Notes its environment under `<index>-<attempt>`, then does what $DO says.
TASK = """
import json, os, pathlib, signal, sys, time
index, attempt = os.environ["CLOUD_RUN_TASK_INDEX"], os.environ["CLOUD_RUN_TASK_ATTEMPT"]
files = pathlib.Path(os.environ["FILES"])
new = files / f"{index}-{attempt}.new"
new.write_text(json.dumps({"env": dict(os.environ), "args": sys.argv[1:], "pid": os.getpid()}))
new.rename(files / f"{index}-{attempt}")
print(f"task {index}", flush=True)
do = os.environ.get("DO", "")
if do == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if do == "fail":
    sys.exit(7)
if do == "fail once" and attempt == "0":
    sys.exit(7)
while do in ("wait", "stubborn") and not (files / "go").exists():
    time.sleep(0.005)
"""


class Harness:
    """Jobs on a bench, and what their tasks have noted."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.jobs = bench.run.jobs

    def deploy(self, do: str = "", name: str = "crunch", **options: Any) -> None:
        options.setdefault("command", (sys.executable, "-S", "-c", TASK))
        env = {"FILES": str(self.bench.files), "DO": do}
        self.bench.call(self.jobs.deploy, JobSpec(name, env=env, cwd=self.bench.files, **options))

    def run(self, overrides: Overrides | None = None, name: str = "crunch") -> Execution:
        return self.bench.call(self.jobs.run, name, overrides)

    def completed(self, execution: Execution) -> Execution:
        return self.bench.await_(self.jobs.completed(execution.spec.name, execution.name))

    def states(self, execution: Execution) -> list[str]:
        return [task.state.value for task in self.bench.call(self.jobs.execution, *execution.key.split("/")).tasks]

    def noted(self) -> dict[str, Any]:
        files = [path for path in self.bench.files.iterdir() if "-" in path.name and not path.name.endswith(".new")]
        return {path.name: json.loads(path.read_text()) for path in files}


@pytest.fixture
def harness(bench: Bench) -> Harness:
    return Harness(bench)


def test_each_task_knows_which_one_it_is(harness: Harness):
    harness.deploy(task_count=3)

    execution = harness.completed(harness.run())

    assert [task.state for task in execution.tasks] == [TaskState.SUCCEEDED] * 3
    noted = harness.noted()
    assert sorted(noted) == ["0-0", "1-0", "2-0"]
    assert {name: value for name, value in noted["1-0"]["env"].items() if name.startswith("CLOUD_RUN_")} == {
        "CLOUD_RUN_JOB": "crunch",
        "CLOUD_RUN_EXECUTION": execution.name,
        "CLOUD_RUN_TASK_INDEX": "1",
        "CLOUD_RUN_TASK_COUNT": "3",
        "CLOUD_RUN_TASK_ATTEMPT": "0",
    }
    assert "GCE_METADATA_HOST" in noted["1-0"]["env"]


def test_no_more_tasks_run_at_once_than_allowed(harness: Harness):
    harness.deploy("wait", task_count=3, parallelism=2)
    execution = harness.run()
    until(lambda: len(harness.noted()) == 2)

    assert harness.states(execution) == ["running", "running", "pending"]
    (harness.bench.files / "go").touch()
    assert harness.completed(execution).count(TaskState.SUCCEEDED) == 3


def test_a_task_that_fails_is_started_again(harness: Harness):
    harness.deploy("fail once")

    execution = harness.completed(harness.run())

    assert sorted(harness.noted()) == ["0-0", "0-1"]
    assert (execution.count(TaskState.SUCCEEDED), execution.retried) == (1, 1)


def test_a_task_fails_when_its_retries_are_used_up(harness: Harness):
    harness.deploy("fail", max_retries=1)

    execution = harness.completed(harness.run())

    assert sorted(harness.noted()) == ["0-0", "0-1"]
    (task,) = execution.tasks
    assert (task.state, task.exit_code, task.message) == (TaskState.FAILED, 7, "The container exited with an error.")


def test_a_command_that_is_not_there_fails_with_its_name(harness: Harness):
    harness.deploy(command=("/no/such/program",), max_retries=0)

    (task,) = harness.completed(harness.run()).tasks

    assert task.state is TaskState.FAILED
    assert task.exit_code == 127


def test_an_attempt_that_takes_too_long_is_ended(harness: Harness):
    harness.deploy("wait", max_retries=0, timeout_s=60)
    execution = harness.run()
    until(harness.noted)

    harness.bench.clock.advance(seconds=60)

    (task,) = harness.completed(execution).tasks
    assert (task.state, task.message) == (TaskState.FAILED, "The configured timeout was reached.")
    assert task.exit_code == -signal.SIGTERM


def test_an_execution_may_differ_from_its_job(harness: Harness):
    harness.deploy()

    harness.completed(harness.run(Overrides(args=("--fast", "x"), env={"MORE": "1"}, task_count=2, timeout_s=5)))

    noted = harness.noted()
    assert sorted(noted) == ["0-0", "1-0"]
    assert (noted["0-0"]["args"], noted["0-0"]["env"]["MORE"]) == (["--fast", "x"], "1")


def test_overrides_that_make_no_job_are_refused(harness: Harness):
    harness.deploy()

    with pytest.raises(InvalidArgument, match="task_count is 0"):
        harness.run(Overrides(task_count=0))


def test_a_cancelled_execution_ends_and_starts_nothing_more(harness: Harness):
    harness.deploy("wait", task_count=2, parallelism=1)
    execution = harness.run()
    until(harness.noted)

    harness.bench.call(harness.jobs.cancel, "crunch", execution.name)

    assert harness.completed(execution).count(TaskState.CANCELLED) == 2
    assert list(harness.noted()) == ["0-0"]
    with pytest.raises(FailedPrecondition, match="already completed"):
        harness.bench.call(harness.jobs.cancel, "crunch", execution.name)


def test_a_deleted_job_is_gone_with_its_executions_and_their_processes(harness: Harness):
    harness.deploy("wait")
    execution = harness.run()
    until(harness.noted)

    harness.bench.call(harness.jobs.delete, "crunch")

    for what, arguments in ((harness.jobs.job, ("crunch",)), (harness.jobs.execution, ("crunch", execution.name))):
        with pytest.raises(NotFound):
            harness.bench.call(what, *arguments)
    until(lambda: harness.bench.call(harness.jobs.is_idle))


def test_what_a_task_prints_is_in_the_log_of_its_job(harness: Harness):
    harness.deploy()
    execution = harness.completed(harness.run())

    (line,) = LogFiles(harness.bench.context.store.directory, "job-crunch").new()

    assert (line["line"], line["instance"]) == ("task 0", f"{execution.name}-task0-0")


@pytest.fixture
def restartable(tmp_path: Path) -> Iterator[list[Bench]]:
    """The benches that a test has started, to be closed."""
    benches: list[Bench] = []
    yield benches
    for bench in benches:
        bench.close()


def test_tasks_that_ran_when_the_cloud_ended_start_again(tmp_path: Path, restartable: list[Bench]):
    first = Harness(Bench(tmp_path))
    first.deploy("wait", task_count=2, parallelism=1, max_retries=0)
    execution = first.run()
    until(first.noted)
    first.bench.close()

    restartable.append(Bench(tmp_path))
    second = Harness(restartable[0])
    until(lambda: "0-1" in second.noted())
    (second.bench.files / "go").touch()

    ended = second.completed(execution)
    assert [task.attempts for task in ended.tasks] == [2, 1]
    assert ended.count(TaskState.SUCCEEDED) == 2


def test_the_same_job_deployed_again_is_the_same_generation(harness: Harness):
    harness.deploy()
    harness.deploy()
    first = harness.bench.call(harness.jobs.job, "crunch").generation
    harness.deploy(task_count=2)

    assert (first, harness.bench.call(harness.jobs.job, "crunch").generation) == (1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "No"}, "job name is 'No'"),
        ({"command": ()}, "command is empty"),
        ({"task_count": 0}, "task_count is 0"),
        ({"parallelism": 2}, "parallelism is 2"),
        ({"max_retries": 11}, "max_retries is 11"),
        ({"timeout_s": 0}, "timeout_s is 0"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        JobSpec(**{"name": "crunch", "command": ("true",), **change})
