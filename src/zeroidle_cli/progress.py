"""How are the jobs of this command doing? What a terminal shows while they run, and what a pipe gets told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Group
from rich.table import Table
from rich.text import Text

from zeroidle.contracts.records import Job, State
from zeroidle.errors import printable
from zeroidle_cli.output import STATE_STYLES, duration
from zeroidle_cli.uploads import Upload

# What is worth a line when there is not one for every file.
_URGENCY = {State.RUNNING: 0, State.STOPPING: 0, State.PROVISIONING: 1, State.QUEUED: 2, None: 3}
_LAST = 4
MANY = 8  # lines for files that do not all fit: a screen full of changes is read by nobody


@dataclass(frozen=True)
class Progress:
    """The files of a command, and the newest record known of each one's job."""

    started: Sequence[Upload]
    jobs: dict[str, Job] = field(default_factory=dict)

    def state(self, item: Upload) -> State | None:
        """None until the upload event has come."""
        job = self.jobs.get(item.job_id)
        return None if job is None else job.state

    def view(self, elapsed_s: float, height: int) -> Group:
        """At most `height` lines: one a file or, if they do not fit, a few that are at work; and a summary."""
        room = max(1, height - 1)
        shown = list(self.started)
        if len(shown) > room:
            shown = sorted(shown, key=lambda item: _URGENCY.get(self.state(item), _LAST))[: min(MANY, room - 1)]
        lines = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False, show_header=False)
        lines.add_column(no_wrap=True)
        lines.add_column()
        lines.add_column()
        for item in shown:
            job = self.jobs.get(item.job_id)
            word = "uploaded" if job is None else job.state.value.lower()
            lines.add_row(
                Text(word.ljust(len(State.PROVISIONING)), style=STATE_STYLES.get(word.upper(), "dim")),
                Text(printable(item.path.name, 200), no_wrap=True, overflow="ellipsis"),
                Text(stage_line(job), style="dim", no_wrap=True, overflow="ellipsis"),
            )
        hidden = len(self.started) - len(shown)
        below = [Text(f"… and {hidden:,} more", style="dim")] if hidden else []
        return Group(lines, *below, Text(self.summary(elapsed_s), style="dim", no_wrap=True, overflow="ellipsis"))

    def summary(self, elapsed_s: float) -> str:
        """`12 of 300 done · 1 failed · 3 running · 285 waiting · 12.3 s`; of one file only the time."""
        if len(self.started) == 1:
            return duration(elapsed_s)
        states = Counter(self.state(item) for item in self.started)
        done = sum(count for state, count in states.items() if state is not None and state.is_terminal)
        running = states[State.RUNNING] + states[State.STOPPING]
        counts = {
            "failed": states[State.FAILED],
            "stopped": states[State.STOPPED],
            "running": running,
            "waiting": len(self.started) - done - running,
        }
        told = [f"{count:,} {word}" for word, count in counts.items() if count]
        return " · ".join([f"{done:,} of {len(self.started):,} done", *told, duration(elapsed_s)])


class Teller:
    """Without a terminal: a line for each change of a job's state or stage."""

    def __init__(self, started: Sequence[Upload]) -> None:
        self._files = {item.job_id: item.path.name for item in started}
        self._told: dict[str, tuple[State, int]] = {}

    def lines(self, jobs: Mapping[str, Job]) -> list[str]:
        """What to say of these jobs that was not said yet."""
        news = {job_id: job for job_id, job in jobs.items() if self._told.get(job_id) != (job.state, len(job.stages))}
        self._told |= {job_id: (job.state, len(job.stages)) for job_id, job in news.items()}
        return [
            f"{printable(self._files[job_id], 200)}: {job.state.value.lower()}  {stage_line(job)}".rstrip()
            for job_id, job in news.items()
        ]


def stage_line(job: Job | None) -> str:
    """The stages of a job in a line: `preprocess 400 ms · inference 512/1,000 records`."""
    if job is None:
        return "waiting for the upload event"
    parts = []
    for stage in job.stages:
        if stage.finished_at is not None:
            parts.append(f"{stage.name} {duration(stage.finished_at - stage.started_at)}")
        elif job.state is State.RUNNING and stage.name == "inference" and job.progress and job.progress.total:
            parts.append(f"{stage.name} {job.progress.done:,}/{job.progress.total:,} {job.progress.unit}")
        else:
            parts.append(stage.name)
    if not parts and not job.state.is_terminal:
        return "starting"
    return " · ".join(parts)
