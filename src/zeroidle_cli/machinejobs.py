"""What is there to say of a job on a machine? Where it runs, what it costs, what was tried for it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from zeroidle.contracts.machines import Provisioning, Tried
from zeroidle.contracts.messages import MachineRun
from zeroidle.contracts.records import Job, State
from zeroidle.core import capacity
from zeroidle.errors import printable
from zeroidle_cli.output import Column, age, duration, moment, state_text, table, usd

MAX_COMMAND = 500


def total_cost(job: Job, now: float) -> float:
    """What all attempts cost so far, in USD: of the one at hand up to now, not to its last heartbeat."""
    current = job.cost_usd
    worker, since = job.machines.worker, job.machines.claimed_at
    if worker is not None and since is not None and not job.state.is_terminal:
        current = max(current, (now - since) / 3600 * worker.usd_per_hour)
    return current + sum(attempt.cost_usd for attempt in job.history)


def command_of(run: MachineRun) -> str:
    """The image, if one was named, and the command, in a line that a shell would take."""
    words = [run.image, *run.command, *run.args] if run.image else [*run.command, *run.args]
    return printable(shlex.join(words), MAX_COMMAND)


def place_of(job: Job) -> str:
    """The machine it has, or those it wants: `1xl4 us-west1-b spot`."""
    if not isinstance(job.run, MachineRun):
        return ""
    wanted, worker = job.run.wanted, job.machines.worker
    words = [worker.vm.cluster, worker.zone] if worker is not None else [" or ".join(wanted.accelerators)]
    return " ".join([*words, *_how(wanted.provisioning)])


def ran_s(job: Job, now: float) -> float | None:
    """How long the current attempt has run, in seconds; None before it does."""
    return None if job.started_at is None else (job.finished_at or now) - job.started_at


def progress_of(job: Job) -> str:
    """`3 of 10 epochs`, and what the job said last."""
    told = []
    if job.progress is not None:
        total = "" if job.progress.total is None else f" of {job.progress.total:,}"
        told.append(f"{job.progress.done:,}{total} {job.progress.unit}")
    return " · ".join(printable(text, 200) for text in (*told, job.message) if text)


def ask_line(cluster: str, region: str, how: Provisioning, usd_per_hour: float) -> str:
    """One VM that was asked for."""
    return f"asked for {' '.join([cluster, 'in', region, *_how(how)])}, {hourly(usd_per_hour)}"


def hourly(usd_per_hour: float) -> str:
    """The price of a machine."""
    return f"${usd_per_hour:,.2f} an hour"


def tried_line(tried: Tried, now: float) -> str:
    """What came of asking at a place: `1xl4 in us-east1: STOCKOUT, again in 2 min`."""
    where = " ".join([tried.cluster, "in", tried.region, *_how(tried.provisioning)])
    return ", ".join(filter(None, (f"{where}: {printable(tried.code)}", next_try(tried, now))))


def next_try(tried: Tried, now: float) -> str:
    """When it may be asked there again, if that is still to come."""
    return "" if tried.next_at is None or tried.next_at <= now else f"again in {age(tried.next_at - now)}"


def story_table(story: Sequence[Tried], now: float) -> Table:
    """What was tried to get a machine, oldest first."""
    columns = [Column("TRIED", right=True), Column("ACCELERATOR"), Column("REGION"), Column("CODE", long=True)]
    rows = [
        [f"{age(now - each.at)} ago", each.cluster, each.region, each.code, next_try(each, now), each.message]
        for each in story
    ]
    return table([*columns, Column("THEN"), Column("MESSAGE", long=True)], rows)


def story_summary(story: Sequence[Tried], places: int) -> str:
    """`2 of 12 places refused`: of those that fit. Nothing where none did."""
    refused = {(each.cluster, each.region) for each in story if each.code != capacity.CLAIMED}
    return f"{len(refused)} of {max(places, len(refused))} places refused" if refused else ""


def attempts_table(job: Job, now: float) -> Table:
    """A line for each attempt: where, how long, what it cost and how it ended."""
    columns = [Column("ATTEMPT", right=True), Column("STATE"), Column("ON", long=True), Column("BEGAN (UTC)")]
    columns += [Column("RAN", right=True), Column("COST", right=True)]
    rows: list[list[str | Text]] = []
    for past in job.history:
        worker = past.worker
        on = "" if worker is None else f"{worker.vm.cluster} {worker.zone}"
        ran = None if past.started_at is None else past.ended_at - past.started_at
        cost = usd(past.cost_usd) if past.cost_usd else ""
        rows.append([str(past.number), past.reason.value, on, _time(past.started_at), duration(ran), cost])
    current = total_cost(job, now) - sum(past.cost_usd for past in job.history)
    on = place_of(job) if job.machines.worker is not None else ""
    rows.append(
        [
            str(job.attempt),
            state_text(job.state.value),
            on,
            _time(job.started_at),
            duration(ran_s(job, now)),
            usd(current) if current else "",
        ]
    )
    return table(columns, rows)


def timeline(job: Job) -> list[tuple[str, str]]:
    """What happened when, oldest first."""
    happened = [(job.created_at, "submitted")]
    for tried in job.machines.story:
        if tried.code == capacity.CLAIMED:
            happened.append((tried.at, f"claimed by a VM: {tried.cluster} in {tried.region}"))
        else:
            happened.append((tried.at, f"refused: {tried.cluster} in {tried.region}, {printable(tried.code)}"))
    happened += [(past.ended_at, f"attempt {past.number} ended: {past.reason.value}") for past in job.history]
    happened += [(vm.asked_at, f"asked for {vm.ref.cluster} in {vm.ref.region}") for vm in job.machines.vms]
    if job.stop is not None:
        happened.append((job.stop.at, f"told to stop by {job.stop.user_id}: {printable(job.stop.reason, 200)}"))
    if job.finished_at is not None:
        happened.append((job.finished_at, job.state.value))
    return [(moment(at), what) for at, what in sorted(happened, key=lambda each: each[0])]


def waits_for_a_machine(job: Job) -> bool:
    """Nobody has claimed its current attempt yet."""
    return isinstance(job.run, MachineRun) and job.state in (State.QUEUED, State.PROVISIONING)


def _time(at: float | None) -> str:
    """A moment where the head of the column says that it is UTC."""
    return moment(at).removesuffix(" UTC")


def _how(provisioning: Provisioning) -> tuple[str, ...]:
    return () if provisioning is Provisioning.STANDARD else (provisioning.value,)
