"""What is a Cloud Run job, how far is an execution of it, and which task starts next? Rules without processes.

https://cloud.google.com/run/docs/create-jobs
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from localcloud.run.errors import InvalidArgument
from localcloud.run.state import checked_name

MOST_TASKS, MOST_RETRIES = 10_000, 10
LONGEST_TASK_S = 7 * 24 * 3600.0  # https://cloud.google.com/run/docs/configuring/task-timeout


@dataclass(frozen=True)
class JobSpec:
    """What is deployed: a command that runs `task_count` times, at most `parallelism` at once (0: all), and ends.

    A task that fails is started again up to `max_retries` times; `timeout_s` is how much virtual time one attempt may
    take. `service_account` is who it is, by email or by name in this project.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = field(default_factory=Path.cwd)
    task_count: int = 1
    parallelism: int = 0
    max_retries: int = 3
    timeout_s: float = 600.0
    service_account: str = ""

    def __post_init__(self) -> None:
        checked_name("job", self.name)
        if not self.command:
            raise ValueError(f"job {self.name}: command is empty")
        if not 1 <= self.task_count <= MOST_TASKS:
            raise ValueError(f"job {self.name}: task_count is {self.task_count}; expected 1 to {MOST_TASKS}")
        if not 0 <= self.parallelism <= self.task_count:
            raise ValueError(f"job {self.name}: parallelism is {self.parallelism}; expected 0 to task_count")
        if not 0 <= self.max_retries <= MOST_RETRIES:
            raise ValueError(f"job {self.name}: max_retries is {self.max_retries}; expected 0 to {MOST_RETRIES}")
        if not 0 < self.timeout_s <= LONGEST_TASK_S:
            raise ValueError(f"job {self.name}: timeout_s is {self.timeout_s}; expected up to {LONGEST_TASK_S:g}")


@dataclass(frozen=True)
class Overrides:
    """What one execution does in another way than its job says; None: as the job."""

    args: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    task_count: int | None = None
    timeout_s: float | None = None


def overridden(spec: JobSpec, overrides: Overrides, fixed: int) -> JobSpec:
    """The spec of one execution. `fixed` is how many words of the command are no arguments.

    Raises:
        InvalidArgument: the result would be no valid job.
    """
    command = spec.command if overrides.args is None else (*spec.command[:fixed], *overrides.args)
    count = spec.task_count if overrides.task_count is None else overrides.task_count
    try:
        return replace(
            spec,
            command=command,
            env={**spec.env, **overrides.env},
            task_count=count,
            parallelism=min(spec.parallelism, count),
            timeout_s=spec.timeout_s if overrides.timeout_s is None else overrides.timeout_s,
        )
    except ValueError as error:
        raise InvalidArgument(str(error)) from error


class TaskState(Enum):
    """Where in its life a task is."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """It does not change any more."""
        return self in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)


class Task(msgspec.Struct):
    """One of the `task_count` runs. Times are virtual, in seconds since the epoch; None: not yet."""

    index: int
    uid: str
    state: TaskState = TaskState.PENDING
    attempts: int = 0  # that were started
    failures: int = 0  # of these; what was lost with the local cloud is none
    started: float | None = None
    completed: float | None = None
    exit_code: int | None = None
    message: str = ""  # why the last attempt failed


class Job(msgspec.Struct):
    """A job as it is deployed. `fixed` is how many words of the command are no arguments.

    `by_api` says that it was deployed through the Run API, whose callers may then see the values of its variables.
    """

    spec: JobSpec
    uid: str
    created: float
    updated: float
    fixed: int
    image: str = ""
    generation: int = 1
    executions: int = 0
    latest: str = ""  # the name of its last execution
    by_api: bool = False
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Execution(msgspec.Struct):
    """One run of a job, with its own copy of what was deployed."""

    name: str
    uid: str
    spec: JobSpec
    created: float
    tasks: list[Task]
    image: str = ""
    fixed: int = 1
    completed: float | None = None
    cancelled: bool = False  # asked to end
    by_api: bool = False
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @property
    def key(self) -> str:
        """The key of the stored document."""
        return f"{self.spec.name}/{self.name}"

    @property
    def started(self) -> float | None:
        """When its first task did."""
        return min((task.started for task in self.tasks if task.started is not None), default=None)

    @property
    def succeeded(self) -> bool:
        """It has ended, and every task well."""
        return self.completed is not None and all(task.state is TaskState.SUCCEEDED for task in self.tasks)

    @property
    def message(self) -> str:
        """Why it has not succeeded, if it has not."""
        if self.cancelled:
            return "Execution was cancelled." if self.completed is not None else "Execution is being cancelled."
        failed = next((task for task in self.tasks if task.state is TaskState.FAILED), None)
        return "" if failed is None else f"Task {self.task_name(failed)} failed with message: {failed.message}"

    def task_name(self, task: Task) -> str:
        """The last part of a task's name."""
        return f"{self.name}-task{task.index}"

    def count(self, state: TaskState) -> int:
        """How many of its tasks are in this state."""
        return sum(task.state is state for task in self.tasks)

    @property
    def retried(self) -> int:
        """How many attempts were not the first of their task."""
        return sum(max(0, task.attempts - 1) for task in self.tasks)

    @property
    def updated(self) -> float:
        """When something of it last changed."""
        moments = (moment for task in self.tasks for moment in (task.started, task.completed))
        return max((moment for moment in moments if moment is not None), default=self.created)


def new_execution(job: Job, spec: JobSpec, name: str, uids: Sequence[str], now: float) -> Execution:
    """An execution that is to start. `uids` are its own and one for each task."""
    tasks = [Task(index, uid) for index, uid in enumerate(uids[1:])]
    return Execution(name, uids[0], spec, now, tasks, job.image, job.fixed, by_api=job.by_api)


def to_start(execution: Execution) -> list[Task]:
    """The tasks that may start now, lowest index first."""
    if execution.cancelled:
        return []
    limit = execution.spec.parallelism or execution.spec.task_count
    room = limit - execution.count(TaskState.RUNNING)
    return [task for task in execution.tasks if task.state is TaskState.PENDING][: max(0, room)]


def started(task: Task, now: float) -> None:
    """An attempt of the task begins."""
    task.state = TaskState.RUNNING
    task.attempts += 1
    task.started = now if task.started is None else task.started


def ended(task: Task, spec: JobSpec, exit_code: int | None, message: str, now: float) -> None:
    """An attempt has ended; `message` says why it failed, if it did. Another one follows while retries are left."""
    task.exit_code, task.message = exit_code, message
    if not message:
        task.state = TaskState.SUCCEEDED
    else:
        task.failures += 1
        task.state = TaskState.FAILED if task.failures > spec.max_retries else TaskState.PENDING
    task.completed = now if task.state.is_over else None


def lost(tasks: Iterable[Task]) -> None:
    """The local cloud ended with these tasks running. They start again; that is no failure of theirs."""
    for task in tasks:
        if task.state is TaskState.RUNNING:
            task.state = TaskState.PENDING


def cancel(execution: Execution, now: float) -> None:
    """No attempt starts any more; what is not over is cancelled."""
    execution.cancelled = True
    for task in execution.tasks:
        if not task.state.is_over:
            task.state, task.completed = TaskState.CANCELLED, now


def encode(record: Job | Execution | Task) -> bytes:
    """The stored form."""
    return msgspec.json.encode(record, enc_hook=str)


def decode(data: bytes, kind: type[Any]) -> Any:
    """The record in its stored form."""
    return msgspec.json.decode(data, type=kind, dec_hook=lambda _, value: Path(value))
