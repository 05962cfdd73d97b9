"""What is shown while jobs run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_output import printed
from tests.core.job_factories import NOW, a_job
from zeroidle.contracts.messages import Progress as Counted
from zeroidle.contracts.records import Job, State
from zeroidle.contracts.services import ObjectRef, Stage
from zeroidle_cli.progress import Progress, Teller, stage_line
from zeroidle_cli.uploads import Upload

STAGES = [Stage(name="preprocess", started_at=NOW, finished_at=NOW + 2.2), Stage(name="inference", started_at=NOW + 3)]


def files(count: int) -> list[Upload]:
    return [Upload(Path(f"file-{n}.txt"), ObjectRef(bucket="input", name="x"), f"job-{n}") for n in range(count)]


def test_each_file_has_a_line_while_they_fit() -> None:
    progress = Progress(files(2), {"job-0": a_job(State.RUNNING, job_id="job-0", stages=STAGES)})

    lines = printed(progress.view(12.3, height=24), 80)

    assert lines == [
        "running       file-0.txt  preprocess 2.2 s · inference",
        "uploaded      file-1.txt  waiting for the upload event",
        "0 of 2 done · 1 running · 1 waiting · 12.3 s",
    ]


@pytest.mark.parametrize("count", [1, 5, 21, 22, 23, 24, 500], ids=str)
@pytest.mark.parametrize("height", [3, 23], ids=str)
def test_the_view_never_exceeds_the_terminal(count: int, height: int) -> None:
    started = files(count)
    started[0] = Upload(Path("long" * 100), started[0].ref, started[0].job_id)

    lines = printed(Progress(started).view(1.0, height=height), 80)

    assert len(lines) <= height
    assert max(map(len, lines)) <= 80


def test_of_many_files_those_at_work_are_shown() -> None:
    jobs = {f"job-{n}": a_job(State.SUCCEEDED, job_id=f"job-{n}") for n in range(40)}
    jobs["job-33"] = a_job(State.RUNNING, job_id="job-33")
    jobs["job-34"] = a_job(State.FAILED, job_id="job-34")

    lines = printed(Progress(files(50), jobs).view(61.0, height=10), 80)

    assert lines[0].split()[:2] == ["running", "file-33.txt"]
    assert lines[-2] == "… and 42 more"
    assert lines[-1] == "39 of 50 done · 1 failed · 1 running · 10 waiting · 61.0 s"


def test_one_file_needs_no_summary_but_the_time() -> None:
    assert Progress(files(1)).summary(3.0) == "3.0 s"


def test_without_a_terminal_each_change_is_told_once() -> None:
    teller = Teller(files(1))
    running = a_job(State.RUNNING, job_id="job-0", stages=STAGES[:1])

    told = [
        teller.lines({"job-0": job}) for job in (running, running, a_job(State.SUCCEEDED, job_id="job-0", stages=[]))
    ]

    assert told == [["file-0.txt: running  preprocess 2.2 s"], [], ["file-0.txt: succeeded"]]


@pytest.mark.parametrize(
    ("job", "line"),
    [
        pytest.param(None, "waiting for the upload event", id="no record"),
        pytest.param(a_job(State.QUEUED), "starting", id="queued"),
        pytest.param(
            a_job(State.RUNNING, stages=STAGES, progress=Counted(done=512, total=1000, unit="records")),
            "preprocess 2.2 s · inference 512/1,000 records",
            id="counted",
        ),
        pytest.param(a_job(State.FAILED, stages=[]), "", id="failed before any"),
    ],
)
def test_the_stages_of_a_job_stand_in_a_line(job: Job | None, line: str) -> None:
    assert stage_line(job) == line
