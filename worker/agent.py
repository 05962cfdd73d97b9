"""What does the agent do next? A step at a time, so that it is driven by a loop on a VM and by a clock in simulations.

    idle -> running -> ending -> idle, for a while, or gone

It claims an attempt before it settles the assignment, and says in its VM's entry what it is about to do before it
claims. At each beat it reads the job's record: that is how it learns of a stop, and that it may no longer speak for
the attempt.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from worker.ports import Assigned, Container, Output, Published, Tools
from zeroidle.contracts.machines import Report, Worker
from zeroidle.contracts.messages import Heartbeat, MachineRun, Meta, Progress, Result
from zeroidle.contracts.records import Job, State
from zeroidle.contracts.services import ErrorBody, Folder
from zeroidle.errors import Conflict, MissingObject, PermanentError, TemporaryError, ZeroidleError, printable

BEAT_S = 15.0
# Between the polite signal and the other one.
GRACE_S = 30.0
# A VM that the cloud takes back has 30 s in all: https://cloud.google.com/compute/docs/instances/preemptible
PREEMPTED_GRACE_S = 15.0
POLL_S = 1.0
# How long a VM that has not had a job yet waits for one: its assignment was published before it was asked for.
FIRST_JOB_S = 120.0
# It takes no more jobs so long before its time is over, so that nobody deletes it with one.
MARGIN_S = 10.0
# How often it tries to tell of an end whose files are up; the ledger has its last word already.
LAST_TRIES = 8
# How many reports of a job are passed on in one step: the beats come between.
REPORTS_A_STEP = 20

log = logging.getLogger(__name__)


class Ending(StrEnum):
    """Why a container is being ended, or has ended."""

    EXITED = "EXITED"
    STOPPED = "STOPPED"
    PREEMPTED = "PREEMPTED"
    FENCED = "FENCED"  # the attempt is not ours any more: say nothing


class _Work:
    """The attempt at hand."""

    def __init__(self, job: Job, run: MachineRun, folder: Folder, container: Container, now: float) -> None:
        self.job, self.run, self.folder, self.container = job, run, folder, container
        self.seq = 0
        self.beat_at = now  # when the next beat is due
        self.ending: Ending | None = None
        self.kill_at = 0.0
        self.progress: Progress | None = None
        self.message = ""
        self.reports: deque[tuple[str, dict[str, Any]]] = deque()  # operation and data
        self.published: Published | None = None
        self.last_beat: Heartbeat | None = None
        self.tries = 0

    def take(self, said: Output) -> None:
        """What the container said."""
        self.progress = said.progress or self.progress
        self.message = said.message or self.message
        self.reports.extend(said.reports)

    def pass_on(self, to: Callable[[Job, str, dict[str, Any]], None]) -> None:
        """Some of its reports, each once it can be. Raises TemporaryError."""
        for _ in range(min(REPORTS_A_STEP, len(self.reports))):
            to(self.job, *self.reports[0])
            self.reports.popleft()


@dataclass(frozen=True, slots=True)
class _Own:
    """The attempt that the VM was asked for: `worker.ports.Assigned` without a message. That one, whoever pulls it
    settles."""

    job_id: str
    attempt: int

    def settle(self) -> None: ...

    def give_back(self) -> None: ...


class Agent:
    """The agent of one VM."""

    def __init__(self, worker: Worker, tools: Tools, folder_of: Callable[[Job], Folder | None]) -> None:
        """`folder_of` says where an attempt of a job publishes its files."""
        self.worker = worker
        self.is_over = False
        self._tools = tools
        self._folder_of = folder_of
        self._work: _Work | None = None
        self._assigned: Assigned | None = None  # taken, and not known yet whether it is ours
        self._begun: set[tuple[str, int]] = set()  # jobs and attempts; their records may not know it yet
        self._idle_until = tools.clock.now() + FIRST_JOB_S
        self._told_to_end = False
        self._is_new = True

    @property
    def is_working(self) -> bool:
        """Has it an attempt at hand?"""
        return self._work is not None

    def end(self) -> None:
        """The VM is about to be stopped: end what runs, report, take nothing new."""
        self._told_to_end = True

    def step(self) -> float:
        """Do what is due; seconds until the next step, at most. Temporary troubles are tried again in the next one."""
        try:
            return self._working(self._work) if self._work is not None else self._idle()
        except TemporaryError as error:
            log.warning("tried again: %s", error.message)
            return POLL_S

    # Idle

    def _idle(self) -> float:
        now = self._tools.clock.now()
        if self._told_to_end or self._tools.host.is_preempted():
            return self._leave()
        if now > self._idle_until - MARGIN_S:
            with suppress(TemporaryError):
                self._drop_stale()
            return self._leave()
        self._assigned = self._assigned or self._own() or self._tools.assignments.take()
        if self._assigned is None:
            return POLL_S
        self._consider(self._assigned)
        return 0.0

    def _own(self) -> Assigned | None:
        """At first the attempt that this VM was asked for, if nobody has it: with another one's it would leave its own
        job without a VM, and that one with one too many."""
        if not self._is_new:
            return None
        entry = self._tools.vms.entry(self.worker.vm)
        claim = None if entry is None else self._tools.jobs.claim(entry.job_id, entry.attempt)
        self._is_new = False
        return None if entry is None or claim is not None else _Own(entry.job_id, entry.attempt)

    def _leave(self) -> float:
        if self._assigned is not None:
            self._assigned.give_back()
            self._assigned = None
        self._tools.assignments.close()
        self._tools.host.delete()
        self.is_over = True
        return 0.0

    def _drop_stale(self) -> None:
        """Settle what has arrived meanwhile and nobody needs: each VM leaves the message of its own job to others."""
        while (assigned := self._tools.assignments.take()) is not None:
            stored = self._tools.jobs.load(assigned.job_id)
            if stored is not None and self._fits(stored.job, assigned.attempt):
                assigned.give_back()
                return
            assigned.settle()

    def _consider(self, assigned: Assigned) -> None:
        """Claim the attempt if it still waits. After a temporary error again, since the claim may have become ours."""
        stored = self._tools.jobs.load(assigned.job_id)
        job = stored.job if stored is not None and self._fits(stored.job, assigned.attempt) else None
        if job is not None and not self._report(Report(worker=self.worker, job_id=job.job_id, attempt=job.attempt)):
            return  # this VM leaves, and gives it back
        if job is not None and not self._claim(job):
            job = None
        self._assigned = None
        assigned.settle()
        if job is not None:
            self._begin(job)

    def _fits(self, job: Job, attempt: int) -> bool:
        waits = job.state in (State.QUEUED, State.PROVISIONING) and job.attempt == attempt
        waits = waits and (job.job_id, attempt) not in self._begun
        return waits and isinstance(job.run, MachineRun) and job.run.wanted.provisioning is self.worker.vm.provisioning

    def _claim(self, job: Job) -> bool:
        try:
            self._tools.jobs.take(job.job_id, job.attempt, self.worker)
        except Conflict:
            self._report(Report(worker=self.worker, idle_until=self._idle_until))
            return False
        return True

    def _report(self, report: Report) -> bool:
        try:
            self._tools.vms.report(self.worker.vm, report)
        except MissingObject:
            log.error("this VM is not entered in the ledger; it ends")
            self._idle_until = 0.0
            return False
        return True

    def _begin(self, job: Job) -> None:
        run, folder, now = job.run, self._folder_of(job), self._tools.clock.now()
        if not isinstance(run, MachineRun) or folder is None:
            raise TypeError(f"job {job.job_id} does not run on machines")
        self._begun.add((job.job_id, job.attempt))
        try:
            container = self._tools.containers.start(job.job_id, job.attempt, run)
        except PermanentError as error:
            container = _NotStarted(error)
        except OSError as error:  # of this machine: no room on its disk, no more processes
            container = _NotStarted(PermanentError(printable(str(error), 200), code="NOT_STARTED"))
        self._work = _Work(job, run, folder, container, now)

    # Working

    def _working(self, work: _Work) -> float:
        """What this machine decides alone comes first, so that it is done also while the cloud does not answer."""
        self._end_if_due(work)
        has_ended = work.container.exit_code() is not None
        if work.ending is Ending.FENCED:
            if has_ended:
                return self._be_free(work)
        elif self._listen(work, has_ended=has_ended) and has_ended and self._has_published(work):
            self._last_beat(work, work.ending or Ending.EXITED)
            return self._be_free(work)
        if self._tools.clock.now() >= work.beat_at:
            self._beat(work)
            work.beat_at = self._tools.clock.now() + BEAT_S
        return 0.0 if has_ended else POLL_S

    def _end_if_due(self, work: _Work) -> None:
        if work.container.exit_code() is not None:
            return
        if work.ending is None and (self._told_to_end or self._tools.host.is_preempted()):
            self._stop(work, Ending.PREEMPTED, PREEMPTED_GRACE_S)
        elif work.ending is not None and self._tools.clock.now() >= work.kill_at:
            work.container.kill()

    def _listen(self, work: _Work, *, has_ended: bool) -> bool:
        """Take what the container said; whether that was all, and was passed on. What cannot be now waits."""
        try:
            said: Output = work.container.output()
            work.take(said)
            work.pass_on(self._report_of_job)
            return not (said.has_more or work.reports)
        except TemporaryError as error:
            work.tries += has_ended
            if has_ended and work.tries < LAST_TRIES:
                raise
            log.warning("the log or a report of job %s waits: %s", work.job.job_id, error.message)
            return True

    def _report_of_job(self, job: Job, operation: str, data: dict[str, Any]) -> None:
        meta = Meta(
            schema=1,
            job_id=job.job_id,
            user_id=job.user_id,
            attempt=job.attempt,
            created_at=self._tools.clock.now(),
            sender="job",
            operation=operation,
            data=data,
        )
        try:
            self._tools.reporter.meta(meta)
        except PermanentError as error:
            log.error("a report of job %s is dropped: %s", job.job_id, error.message)

    def _beat(self, work: _Work) -> None:
        self._check_record(work)
        if work.ending is not Ending.FENCED:
            self._tools.reporter.beat(self._heartbeat(work, status="RUNNING"))

    def _check_record(self, work: _Work) -> None:
        stored = self._tools.jobs.load(work.job.job_id)
        job = None if stored is None else stored.job
        if job is None or job.state.is_terminal or job.attempt != work.job.attempt:
            log.error("attempt %d of job %s is over; its container is ended", work.job.attempt, work.job.job_id)
            self._stop(work, Ending.FENCED, 0.0)
        elif job.state is State.STOPPING and work.ending is None:
            self._stop(work, Ending.STOPPED, GRACE_S)

    def _stop(self, work: _Work, ending: Ending, grace_s: float) -> None:
        if work.ending is Ending.FENCED:
            return
        work.ending = ending
        work.kill_at = self._tools.clock.now() + grace_s
        if grace_s > 0:
            work.container.terminate()
        else:
            work.container.kill()

    def _has_published(self, work: _Work) -> bool:
        """Publish some of what there is; whether that was all."""
        work.published = work.published or work.container.publish(work.folder)
        return work.published is not None

    def _be_free(self, work: _Work) -> float:
        """The attempt is over: leave nothing of it here, and wait for the next one if it ended by itself."""
        now = self._tools.clock.now()
        self._idle_until = now + work.run.keep_alive_s if work.ending is None else now
        self._report(Report(worker=self.worker, idle_until=self._idle_until))
        work.container.discard()
        self._work = None
        return 0.0

    def _last_beat(self, work: _Work, ending: Ending) -> None:
        """It is left in the ledger first: if the message does not get through, the tick finds it there."""
        beat = work.last_beat = work.last_beat or self._final(work, ending)
        self._tools.jobs.say_last(beat)
        try:
            self._tools.reporter.beat(beat)
        except ZeroidleError:
            work.tries += 1
            if work.tries < LAST_TRIES:
                raise
            log.exception("the last beat of job %s did not get through", work.job.job_id)

    def _final(self, work: _Work, ending: Ending) -> Heartbeat:
        code = work.container.exit_code() or 0
        match ending:
            case Ending.PREEMPTED:
                return self._heartbeat(work, status="PREEMPTED", exit_code=code)
            case Ending.STOPPED:
                return self._heartbeat(work, status="STOPPED", exit_code=code)
            case _ if code == 0 and work.published is not None and work.published.left_out == 0:
                folder = work.folder
                result = Result(bucket=folder.bucket, prefix=folder.prefix, files=work.published.files)
                return self._heartbeat(work, status="SUCCEEDED", exit_code=code, result=result)
            case _:
                return self._heartbeat(work, status="FAILED", exit_code=code, failure=_failure(work, code))

    def _heartbeat(self, work: _Work, **said: object) -> Heartbeat:
        work.seq += 1
        return Heartbeat(
            schema=1,
            job_id=work.job.job_id,
            user_id=work.job.user_id,
            attempt=work.job.attempt,
            seq=work.seq,
            sent_at=self._tools.clock.now(),
            worker=self.worker,
            progress=work.progress,
            message=work.message,
            **said,  # type: ignore[arg-type]  # the last fields of the beat, by name
        )


class _NotStarted:
    """A container that could not be started: it has ended as soon as it is looked at."""

    def __init__(self, error: PermanentError) -> None:
        self.error = error

    def exit_code(self) -> int | None:
        return 125  # what `docker run` exits with when it cannot start a container

    def output(self) -> Output:
        return Output(message=self.error.message)

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def publish(self, folder: Folder) -> Published:
        return Published(0)

    def discard(self) -> None: ...


def _failure(work: _Work, code: int) -> ErrorBody:
    if isinstance(work.container, _NotStarted):
        error = work.container.error
        return ErrorBody(code=error.code, message=error.message, hint=error.hint)
    if code == 0 and work.published is not None:
        kept, left_out = work.published.files, work.published.left_out
        return ErrorBody(
            code="FILES_NOT_KEPT",
            message=f"{left_out} of {kept + left_out} files in the output folder could not be kept",
            hint="The end of its log names them: `zeroidle logs JOB`.",
            details={"files": kept, "left_out": left_out},
        )
    return ErrorBody(
        code="EXIT_CODE",
        message=f"the container exited with {code}",
        hint="Its logs tell why: `zeroidle logs JOB`.",
        details={"exit_code": code},
    )
