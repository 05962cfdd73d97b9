"""Which Cloud Run jobs are there, how far are their executions, and what did their tasks print?"""

from __future__ import annotations

from itertools import islice

import msgspec

from localcloud.console.instances import LogLine, log_line
from localcloud.run import jobs as rules
from localcloud.run.logs import tail
from localcloud.run.service import Run

SHOWN_TASKS = 500


class JobView(msgspec.Struct):
    """A job as it is deployed, and the name of its last execution."""

    name: str
    command: list[str]
    task_count: int
    parallelism: int  # 0: all at once
    max_retries: int
    timeout_s: float
    executions: int
    latest: str


class JobExecutionView(msgspec.Struct):
    """An execution and how many of its tasks are in which state. Times are virtual, in seconds since the epoch."""

    job: str
    name: str
    created: float
    completed: float | None
    is_cancelled: bool
    tasks: dict[str, int]
    retried: int


class TaskView(msgspec.Struct):
    """One task; `message` says why its last attempt failed."""

    index: int
    state: str
    attempts: int
    started: float | None
    completed: float | None
    exit_code: int | None
    message: str


class JobExecutionDetail(JobExecutionView):
    """An execution with its first SHOWN_TASKS tasks."""

    shown: list[TaskView]


def jobs(run: Run) -> list[JobView]:
    """All jobs by name."""
    return [
        JobView(
            name=each.spec.name,
            command=list(each.spec.command),
            task_count=each.spec.task_count,
            parallelism=each.spec.parallelism,
            max_retries=each.spec.max_retries,
            timeout_s=each.spec.timeout_s,
            executions=each.executions,
            latest=each.latest,
        )
        for each in run.jobs.jobs()
    ]


def executions(run: Run, job: str, limit: int) -> list[JobExecutionView]:
    """The latest executions of a job, newest first. Raises NotFound."""
    run.jobs.job(job)
    return [_view(each) for _, each in islice(run.jobs.executions(job), limit)]


def active(run: Run) -> list[JobExecutionView]:
    """The executions that run now."""
    return [_view(each) for each in run.jobs.active()]


def execution(run: Run, job: str, name: str) -> JobExecutionDetail:
    """One execution. Raises NotFound."""
    found = run.jobs.execution(job, name)
    tasks = [
        TaskView(
            index=task.index,
            state=task.state.value,
            attempts=task.attempts,
            started=task.started,
            completed=task.completed,
            exit_code=task.exit_code,
            message=task.message,
        )
        for task in found.tasks[:SHOWN_TASKS]
    ]
    return JobExecutionDetail(**msgspec.structs.asdict(_view(found)), shown=tasks)


def log(run: Run, job: str, limit: int) -> list[LogLine]:
    """The last lines that the tasks of a job printed, oldest first. Raises NotFound."""
    run.jobs.job(job)  # a name that is no job is not a file either
    return [log_line(entry) for entry in tail(run.logs_directory, f"job-{job}", limit=limit)]


def _view(execution: rules.Execution) -> JobExecutionView:
    counts = {state.value: execution.count(state) for state in rules.TaskState}
    return JobExecutionView(
        job=execution.spec.name,
        name=execution.name,
        created=execution.created,
        completed=execution.completed,
        is_cancelled=execution.cancelled,
        tasks={state: count for state, count in counts.items() if count},
        retried=execution.retried,
    )
