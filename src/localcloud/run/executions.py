"""Who starts the tasks of an execution, waits for them and writes down how they ended? The rules of `jobs` put to work.

Each change is in the store before anybody is told. Where the local cloud ended in the middle, the tasks that ran start
again as another attempt at its next start: a task has to expect that on Cloud Run too, and the work gets done.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import uuid
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from localcloud.context import Context
from localcloud.metadata import MetadataServer, of_container
from localcloud.newest import Newest
from localcloud.run import jobs as rules
from localcloud.run.errors import FailedPrecondition, NotFound
from localcloud.run.jobs import Execution, Job, JobSpec, Overrides, Task, TaskState
from localcloud.run.logs import LogWriter
from localcloud.run.process import Process, environment

if TYPE_CHECKING:
    from pathlib import Path

    from localcloud.run.watchdog import Watchdog

_JOBS, _EXECUTIONS, _TASKS, _ACTIVE = "run.jobs", "run.executions", "run.tasks", "run.executions.active"
_NEWEST = "run.executions.newest"
QUICK_GRACE_S = 2.0  # at the end of the local cloud nobody waits ten seconds
_FAILED = "The container exited with an error."
_TIMED_OUT = "The configured timeout was reached."


class Jobs:
    """The jobs of one project and location, and their executions. Belongs to one event loop."""

    def __init__(self, context: Context, watchdog: Watchdog, logs: Path) -> None:
        self.context = context
        self._store = context.store
        self._newest = Newest(context.store, _NEWEST)
        self._watchdog = watchdog
        self._logs = logs
        self._running: dict[str, _Runner] = {}  # by the execution's key
        self._stopped = False

    async def start(self) -> None:
        """Go on with the executions that were running when the process ended."""
        times = ((key, rules.decode(stored, Execution).created) for key, stored in self._store.items(_EXECUTIONS))
        self._newest.fill(times, self._store.count(_EXECUTIONS))
        for key, _ in list(self._store.items(_ACTIVE)):
            execution = self._load(key)
            rules.lost(execution.tasks)
            self._launch(execution)

    async def stop(self) -> None:
        """End all processes, quickly; executions stay as they are for the next start."""
        self._stopped = True
        await asyncio.gather(*(runner.stop() for runner in self._running.values()))

    def active(self) -> list[Execution]:
        """The executions that run, in the order they were started here."""
        return [runner.execution for runner in self._running.values()]

    def is_idle(self) -> bool:
        """No execution is running."""
        return not self._running

    def deploy(self, spec: JobSpec) -> Job:
        """Create or change a job. The same again changes nothing."""
        return self.save_job(spec, fixed=len(spec.command))

    def save_job(
        self,
        spec: JobSpec,
        *,
        fixed: int,
        image: str = "",
        by_api: bool = False,
        labels: Mapping[str, str] = MappingProxyType({}),
        annotations: Mapping[str, str] = MappingProxyType({}),
    ) -> Job:
        """As `deploy`; `fixed` words of the command are no arguments."""
        stored, now = self._store.get(_JOBS, spec.name), self.context.clock.time()
        created, uid, generation, executions, latest = now, str(uuid.uuid4()), 0, 0, ""
        given = (spec, fixed, image, by_api, dict(labels), dict(annotations))
        if stored is not None:
            job = self.job(spec.name)
            if (job.spec, job.fixed, job.image, job.by_api, job.labels, job.annotations) == given:
                return job
            created, uid, generation = job.created, job.uid, job.generation
            executions, latest = job.executions, job.latest
        job = Job(
            spec,
            uid,
            created,
            now,
            fixed,
            image,
            generation + 1,
            executions,
            latest,
            by_api,
            dict(labels),
            dict(annotations),
        )
        self._save_job(job)
        return job

    def job(self, name: str) -> Job:
        """Raises NotFound."""
        stored = self._store.get(_JOBS, name)
        if stored is None:
            known = ", ".join(each.spec.name for each in self.jobs()) or "none"
            raise NotFound(f"Job {name!r:.80} does not exist.", hint=f"Deployed jobs: {known}.")
        job: Job = rules.decode(stored, Job)
        return job

    def jobs(self) -> Iterator[Job]:
        """All jobs by name."""
        return (rules.decode(stored, Job) for _, stored in self._store.items(_JOBS))

    def delete(self, name: str) -> Job:
        """Remove a job and its executions, ending those that run."""
        job = self.job(name)
        for _, execution in list(self.executions(name)):
            self.delete_execution(name, execution.name)
        self._store.delete(_JOBS, name)
        return job

    def run(self, name: str, overrides: Overrides | None = None) -> Execution:
        """Start an execution. Raises NotFound, InvalidArgument."""
        job = self.job(name)
        spec = rules.overridden(job.spec, overrides or Overrides(), job.fixed)
        uids = [str(uuid.uuid4()) for _ in range(spec.task_count + 1)]
        execution = rules.new_execution(job, spec, f"{name}-{_suffix()}", uids, self.context.clock.time())
        job.executions += 1
        job.latest = execution.name
        with self._store.transaction():
            self._save_job(job)
            self._store.put(_ACTIVE, execution.key, b"")
            self._newest.add(execution.key, execution.created)
            self.save(execution, *execution.tasks)
        self._launch(execution)
        return execution

    def execution(self, job: str, name: str) -> Execution:
        """Raises NotFound."""
        key = f"{job}/{name}"
        runner = self._running.get(key)
        is_here = runner is not None and self._store.get(_ACTIVE, key) is not None  # it may have been deleted
        return runner.execution if runner is not None and is_here else self._load(key)

    def executions(self, job: str | None = None, mark: str = "") -> Iterator[tuple[str, Execution]]:
        """Those of a job, or of all, behind a mark, newest first, each with its own; read as they are asked for."""
        names = (each.spec.name for each in self.jobs())
        found = self._newest.of(job, mark) if job else self._newest.of_all(names, mark)
        for behind, key in found:
            with contextlib.suppress(NotFound):  # deleted meanwhile
                yield behind, self.execution(*key.split("/"))

    def cancel(self, job: str, name: str) -> Execution:
        """End an execution. Raises NotFound; FailedPrecondition where it has ended."""
        execution = self.execution(job, name)
        runner = self._running.get(execution.key)
        if execution.completed is not None or runner is None:
            raise FailedPrecondition(f"Execution {name} has already completed and cannot be cancelled.")
        rules.cancel(execution, self.context.clock.time())
        self.save(execution, *execution.tasks)
        runner.cancel()
        return execution

    def delete_execution(self, job: str, name: str) -> Execution:
        """Remove an execution, ending it if it runs. Raises NotFound."""
        execution = self.execution(job, name)
        if execution.completed is None:
            with contextlib.suppress(FailedPrecondition):
                self.cancel(job, name)
        with self._store.transaction():
            self._store.delete(_EXECUTIONS, execution.key)
            self._store.delete_all(_TASKS, f"{execution.key}/")
            self._store.delete(_ACTIVE, execution.key)
            self._newest.remove(execution.key, execution.created)
        return execution

    async def completed(self, job: str, name: str) -> Execution:
        """The execution once it has ended. Raises NotFound."""
        execution = self.execution(job, name)
        runner = self._running.get(execution.key)
        if runner is not None:
            await runner.over.wait()
        return execution

    def save(self, execution: Execution, *tasks: Task) -> None:
        """Write down how far an execution and these tasks of it are."""
        if self._store.get(_ACTIVE, execution.key) is None:
            return  # it has been deleted
        with self._store.transaction():
            self._store.put(_EXECUTIONS, execution.key, rules.encode(msgspec.structs.replace(execution, tasks=[])))
            for task in tasks:
                self._store.put(_TASKS, f"{execution.key}/{task.index:05d}", rules.encode(task))

    def finish(self, execution: Execution) -> None:
        """The execution has ended."""
        execution.completed = self.context.clock.time()
        with self._store.transaction():
            self.save(execution)
            self._store.delete(_ACTIVE, execution.key)
        self._running.pop(execution.key, None)

    def _launch(self, execution: Execution) -> None:
        if not self._stopped:
            log = LogWriter(self._logs, f"job-{execution.spec.name}")
            self._running[execution.key] = _Runner(self, execution, self._watchdog, log)

    def _load(self, key: str) -> Execution:
        stored = self._store.get(_EXECUTIONS, key)
        if stored is None:
            raise NotFound(f"Execution {key.partition('/')[2]!r:.80} does not exist.")
        execution: Execution = rules.decode(stored, Execution)
        execution.tasks = [rules.decode(task, Task) for _, task in self._store.items(_TASKS, prefix=f"{key}/")]
        return execution

    def _save_job(self, job: Job) -> None:
        self._store.put(_JOBS, job.spec.name, rules.encode(job))


class _Runner:
    """Runs one execution: a process for each attempt of a task."""

    def __init__(self, owner: Jobs, execution: Execution, watchdog: Watchdog, log: LogWriter) -> None:
        self.execution = execution
        self.over = asyncio.Event()
        self._owner = owner
        self._context = owner.context
        self._watchdog = watchdog
        self._log = log
        self._attempts: dict[asyncio.Task[None], Process] = {}
        self._ending: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._main = asyncio.create_task(self._run())

    def cancel(self) -> None:
        """End what runs; nothing more starts."""
        self._ending = [asyncio.create_task(process.stop()) for process in self._attempts.values()]
        self._changed.set()

    async def stop(self) -> None:
        """End the processes and leave the record as it is."""
        self._main.cancel()
        await asyncio.gather(self._main, return_exceptions=True)
        for attempt in self._attempts:
            attempt.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)
        await asyncio.gather(*(process.stop(QUICK_GRACE_S) for process in self._attempts.values()))
        self._log.close()

    async def _run(self) -> None:
        execution = self.execution
        self._say("execution started", "%d tasks", len(execution.tasks))
        while not all(task.state.is_over for task in execution.tasks) or self._attempts:
            for task in rules.to_start(execution):
                self._begin(task)
            self._changed.clear()
            await self._changed.wait()
        self._owner.finish(execution)
        self._say("execution ended", "%d succeeded, %d failed", *(execution.count(state) for state in _ENDS))
        self._log.close()
        self.over.set()

    def _begin(self, task: Task) -> None:
        rules.started(task, self._context.clock.time())
        self._owner.save(self.execution, task)
        process = Process(f"{self.execution.name}-task{task.index}-{task.attempts - 1}", self._log, self._watchdog)
        attempt = asyncio.create_task(self._attempt(task, process))
        self._attempts[attempt] = process
        attempt.add_done_callback(self._ended)

    def _ended(self, attempt: asyncio.Task[None]) -> None:
        if not attempt.cancelled():
            del self._attempts[attempt]
            attempt.result()
            self._changed.set()

    async def _attempt(self, task: Task, process: Process) -> None:
        spec, message = self.execution.spec, ""
        self._say("task started", "task %d, attempt %d", task.index, task.attempts - 1, ref=process.name)
        identity = of_container(self._context, spec.service_account, secrets.token_hex(64))
        metadata = MetadataServer(self._context, identity)
        try:
            await metadata.start()
            env = environment(spec.env, os.environ, metadata.environment(), **self._variables(task))
            await process.spawn(spec.command, env, spec.cwd)
            await self._context.clock.timeout(process.ended.wait(), spec.timeout_s)
            if process.exit_code != 0:
                message = _FAILED
        except TimeoutError:
            message = _TIMED_OUT
            await process.stop()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the command or the environment
            message = f"The container could not be started: {error}."
        finally:
            await metadata.stop()
        if message:
            self._log.entry(process.name, {"severity": "ERROR", "message": message, "exit_code": process.exit_code})
        if task.state is TaskState.RUNNING:  # else it has been cancelled
            rules.ended(task, spec, process.exit_code, message, self._context.clock.time())
            self._owner.save(self.execution, task)
        self._say("task ended", "task %d: exit code %s", task.index, process.exit_code, ref=process.name)

    def _variables(self, task: Task) -> dict[str, str]:
        """https://cloud.google.com/run/docs/container-contract#jobs-env-vars"""
        return {
            "CLOUD_RUN_JOB": self.execution.spec.name,
            "CLOUD_RUN_EXECUTION": self.execution.name,
            "CLOUD_RUN_TASK_INDEX": str(task.index),
            "CLOUD_RUN_TASK_COUNT": str(self.execution.spec.task_count),
            "CLOUD_RUN_TASK_ATTEMPT": str(task.attempts - 1),
        }

    def _say(self, action: str, detail: str, *values: object, ref: str = "") -> None:
        name = self.execution.spec.name
        self._context.activity.emit("run", name, action, detail, *values, ref=ref or self.execution.name)


_ENDS = (TaskState.SUCCEEDED, TaskState.FAILED)
_LETTERS = "bcdfghjklmnpqrstvwxz0123456789"


def _suffix() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(5))
