"""How is this job on a machine doing? Each thing that happens to it as a line, and where it stands now."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from rich.live import Live
from rich.text import Text

from zeroidle.contracts.machines import Tried, Vm, VmRef
from zeroidle.contracts.records import Job, Reason, State
from zeroidle.core import capacity
from zeroidle_cli.connection import Connection
from zeroidle_cli.ledger import Ledger
from zeroidle_cli.machinejobs import ask_line, progress_of, total_cost, tried_line
from zeroidle_cli.output import STATE_STYLES, age, duration, err, is_live, usd
from zeroidle_cli.watch import Watch

REFRESH_PER_S = 4


class News:
    """What of a job was not told yet. `progress` says whether that is worth lines, too."""

    def __init__(self, *, progress: bool) -> None:
        self._progress = progress
        self._ended = 0
        self._claimed = 0
        self._asked: set[tuple[VmRef, float]] = set()
        self._story: set[Tried] = set()
        self._state: tuple[int, State, Reason | None] | None = None
        self._told_progress = ""

    def lines(self, job: Job, now: float) -> list[str]:
        """What to say of it, oldest first."""
        lines = [*self._attempts(job), *self._capacity(job, now), *self._worker(job), *self._standing(job, now)]
        told = progress_of(job)
        if self._progress and told not in ("", self._told_progress):
            lines.append(told)
        self._told_progress = told
        return [f"{age(now - job.created_at):>7}  {line}" for line in lines]

    def _attempts(self, job: Job) -> list[str]:
        new = [past for past in job.history if past.number > self._ended]
        self._ended = max([self._ended, *(past.number for past in new)])
        return [f"attempt {past.number} ended: {past.reason.value}, {past.failure.message}" for past in new]

    def _capacity(self, job: Job, now: float) -> list[str]:
        asked = [vm for vm in job.machines.vms if (vm.ref, vm.asked_at) not in self._asked]
        self._asked |= {(vm.ref, vm.asked_at) for vm in asked}
        story = [each for each in job.machines.story if each not in self._story and each.code != capacity.CLAIMED]
        self._story |= set(story)
        refused = [tried_line(each, now) for each in story]
        # What was refused already was asked for before that, what was not, after.
        return [*_asks(asked, given_up=True), *refused, *_asks(asked, given_up=False)]

    def _worker(self, job: Job) -> list[str]:
        worker = job.machines.worker
        if worker is None or job.attempt <= self._claimed:
            return []
        self._claimed = job.attempt
        return [f"runs on {worker.vm.name}, {worker.vm.cluster} in {worker.zone}"]

    def _standing(self, job: Job, now: float) -> list[str]:
        before, self._state = self._state, (job.attempt, job.state, job.reason)
        if before == self._state:
            return []
        reason = "" if job.reason is None else job.reason.value
        match job.state:
            case State.QUEUED if reason:
                until = "" if job.deadline_at is None else f", gives up in {age(job.deadline_at - now)}"
                return [f"waits: {reason}{until}"]
            case State.STOPPING:
                return [f"is being stopped: {reason}"]
            case _:
                return []


def _asks(vms: Sequence[Vm], *, given_up: bool) -> list[str]:
    return [
        ask_line(vm.ref.cluster, vm.ref.region, vm.ref.provisioning, vm.usd_per_hour)
        for vm in vms
        if vm.given_up is given_up
    ]


def status_line(job: Job | None, elapsed_s: float, now: float) -> Text:
    """Where it stands, on one line."""
    if job is None:
        return Text(f"waiting for the start to be taken · {duration(elapsed_s)}", "dim", no_wrap=True)
    line = Text(job.state.value.lower(), STATE_STYLES[job.state.value], no_wrap=True, overflow="ellipsis")
    cost = total_cost(job, now)
    attempt = f"attempt {job.attempt}" if job.attempt > 1 else ""
    parts = [attempt, progress_of(job), f"about {usd(cost)}" if cost else "", duration(elapsed_s)]
    return line.append("".join(f" · {part}" for part in parts if part), "dim")


def until_over(connection: Connection, job_id: str) -> Job:
    """The record once the job is over; what happens to it is told on stderr meanwhile."""
    clock, live, begun = connection.clock, is_live(), time.monotonic()
    jobs: dict[str, Job] = {}
    news, ahead_s = News(progress=not live), 0.0  # by so much a local cloud's clock may have been moved

    def view() -> Text:
        return status_line(jobs.get(job_id), time.monotonic() - begun, time.time() + ahead_s)

    drawn = Live(get_renderable=view, console=err, refresh_per_second=REFRESH_PER_S, transient=True)
    with drawn if live else contextlib.nullcontext():
        for changed in Watch(Ledger(connection), [job_id]).changes():
            jobs.update(changed)
            for job in changed.values():
                now = clock.now()
                ahead_s = now - time.time()
                for line in news.lines(job, now):
                    err.print(line, markup=False, soft_wrap=True)
    return jobs[job_id]
