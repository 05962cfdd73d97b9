"""What is said of jobs on machines: while they run, in the list, one by one, and as an exit code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from tests.cli.machine_factories import (
    CATALOG,
    RUN,
    STOCKOUT,
    a_vm,
    asked,
    claimed,
    failed,
    preempted,
    progressing,
    queued,
    refused,
    running,
    second_attempt,
    succeeded,
)
from tests.cli.test_output import printed
from tests.core.job_factories import NOW, a_job, stop_requested
from zeroidle.contracts.records import Job, Reason, State
from zeroidle.core import events
from zeroidle.core.capacity import Block
from zeroidle.core.job import advance
from zeroidle.core.placement import Market
from zeroidle_cli.commands.jobs import jobs_table
from zeroidle_cli.commands.show import facts_of
from zeroidle_cli.exits import of_machine_job, of_shown
from zeroidle_cli.follow import News, status_line
from zeroidle_cli.machinejobs import attempts_table, command_of, story_summary, story_table, timeline, total_cost
from zeroidle_cli.offers import document, offers_table, ranked


@pytest.mark.parametrize(
    ("job", "code"),
    [
        pytest.param(queued(), 101, id="queued"),
        pytest.param(running(), 101, id="running"),
        pytest.param(succeeded(running(), NOW + 20), 0, id="succeeded"),
        pytest.param(failed(running(), NOW + 20), 100, id="failed"),
        pytest.param(advance(queued(), stop_requested(), NOW), 103, id="stopped"),
    ],
)
def test_how_a_job_on_a_machine_stands_is_an_exit_code(job: Job, code: int) -> None:
    assert of_machine_job(job) == of_shown(job) == code


def test_a_command_is_shown_as_a_shell_would_take_it() -> None:
    run = replace(RUN, image="gcr.io/me/train:1", command=["sh", "-c", "date > $ZEROIDLE_OUTPUT/a\x1b"])

    assert command_of(run) == "gcr.io/me/train:1 sh -c 'date > $ZEROIDLE_OUTPUT/a\\x1b'"


def test_to_look_at_a_job_of_a_file_says_nothing_by_its_exit_code() -> None:
    assert of_shown(a_job(State.FAILED)) == 0


def test_all_that_happens_is_told_once_and_in_order() -> None:
    news, first, other = News(progress=True), a_vm("us-central1"), a_vm(at=NOW + 5)
    job = asked(queued(), first)
    told = [news.lines(job, NOW + 1)]
    job = asked(refused(job, first, NOW + 5), other)
    told.append(news.lines(job, NOW + 6))
    told.append(news.lines(job, NOW + 7))
    job = progressing(claimed(job, other, NOW + 10), 3, NOW + 12)
    told.append(news.lines(job, NOW + 12))
    job = preempted(job, NOW + 100)
    told.append(news.lines(job, NOW + 100))

    assert [[line.strip() for line in lines] for lines in told] == [
        ["1 s  asked for 1xl4 in us-central1 spot, $0.40 an hour"],
        [
            f"6 s  1xl4 in us-central1 spot: {STOCKOUT}, again in 1 min",
            "6 s  asked for 1xl4 in us-west1 spot, $0.40 an hour",
        ],
        [],
        ["12 s  runs on train-a1, 1xl4 in us-west1-b", "12 s  3 of 10 epochs"],
        [
            "1 min  attempt 1 ended: PREEMPTED, the VM of attempt 1 was taken back",
            "1 min  waits: PREEMPTED, gives up in 5 min",
        ],
    ]


def test_of_a_job_seen_late_the_refused_machine_comes_before_its_refusal() -> None:
    first, other = (
        a_vm("us-central1"),
        a_vm(at=NOW + 4),
    )  # asked for by a plan that was made before the refusal was written
    job = asked(refused(asked(queued(), first), first, NOW + 5), other)

    lines = News(progress=False).lines(job, NOW + 6)

    assert [line.split()[2] for line in lines] == ["asked", "1xl4", "asked"]
    assert "us-central1" in lines[0]
    assert "us-west1" in lines[2]


def test_where_there_is_no_capacity_it_is_said_how_long_it_waits() -> None:
    job = advance(queued(), events.NothingOffered(1, Reason.NO_CAPACITY), NOW + 1)

    assert [line.strip() for line in News(progress=False).lines(job, NOW + 60)] == [
        "1 min  waits: NO_CAPACITY, gives up in 4 min"
    ]


def test_the_status_line_tells_progress_and_what_it_costs_by_now() -> None:
    job = progressing(second_attempt(), 3, NOW + 130)

    assert status_line(job, 30.0, NOW + 480).plain == "running · attempt 2 · 3 of 10 epochs · about $0.0500 · 30.0 s"
    assert status_line(None, 2.0, NOW).plain == "waiting for the start to be taken · 2.0 s"


def test_the_cost_is_that_of_all_attempts_up_to_now_or_to_the_end() -> None:
    job = second_attempt()  # 90 s, and again since 120 s

    assert total_cost(job, NOW + 120 + 3600) == pytest.approx(0.4 * (90 + 3600) / 3600, abs=1e-5)
    assert total_cost(succeeded(job, NOW + 480), NOW + 9999) == pytest.approx(0.4 * (90 + 360) / 3600, abs=1e-5)


def shown(table: object, width: int) -> list[str]:
    return printed(table, width)


@pytest.mark.parametrize("width", [80, 140], ids=str)
def test_jobs_on_machines_and_of_files_fit_in_one_list(width: int) -> None:
    jobs = [failed(second_attempt(), NOW + 300), running(job_id="x" * 30), a_job(State.SUCCEEDED)]
    ids = {job.job_id: job.job_id[:12] for job in jobs}

    header, first, second, third = shown(jobs_table(jobs, (), ids, NOW + 600, wide=width >= 120), width)

    assert all(len(line) <= width for line in (header, first, second, third))
    assert "FAILED" in first
    assert "exit code 3" in first
    assert "RUNNING" in second
    assert "in.txt" in third
    if width == 140:
        assert header.split()[:3] + header.split()[-3:] == ["JOB", "WHAT", "MACHINE", "RAN", "RECOVERIES", "COST"]
        assert "python train.py" in first
        assert first.split()[-2] == "1"
        assert "1xl4 us-west1-b spot" in second
    else:
        assert "1xl4" in second


def test_the_capacity_story_tells_what_was_tried_when_why_not_and_when_again() -> None:
    job = second_attempt()

    lines = shown(story_table(job.machines.story, NOW + 65), 140)

    assert story_summary(job.machines.story, 2) == "1 of 2 places refused"
    assert lines[1].split(maxsplit=4) == [
        "1",
        "min",
        "ago",
        "1xl4",
        f"us-central1  {STOCKOUT}  again in 1 min  no capacity",
    ]
    assert story_summary(running().machines.story, 2) == ""


def test_each_attempt_has_a_line_with_its_end_its_place_and_its_cost() -> None:
    lines = shown(attempts_table(second_attempt(), NOW + 480), 80)

    assert max(map(len, lines)) <= 80
    assert [line.split()[:2] for line in lines[1:]] == [["1", "PREEMPTED"], ["2", "RUNNING"]]
    assert all("1xl4 us-west1-b" in line for line in lines[1:])
    assert [line.split()[-1] for line in lines[1:]] == ["$0.0100", "$0.0400"]


def test_the_timeline_is_in_order() -> None:
    told = [what for _, what in timeline(succeeded(second_attempt(), NOW + 200))]

    assert told[0] == "submitted"
    assert told[-1] == "SUCCEEDED"
    assert told.index("attempt 1 ended: PREEMPTED") > told.index("claimed by a VM: 1xl4 in us-west1")


def test_the_facts_of_a_job_on_a_machine() -> None:
    facts = dict(facts_of(failed(running(), NOW + 100), "gs://output/jobs/train/a1/output/", NOW + 200))

    assert facts["runs"] == "python train.py"
    assert facts["wants"] == "1xl4, spot"
    assert facts["on"] == "train-a1, 1xl4 us-west1-b spot, $0.40 an hour"
    assert facts["exit code"] == "3"
    assert facts["result"].endswith("/output/")


def test_offers_are_those_of_placement_with_what_keeps_them_closed() -> None:
    market = Market(blocks=(Block("1xl4", "us-central1", STOCKOUT, NOW, NOW + 120),))

    found = ranked(RUN.wanted, CATALOG, market, NOW)
    lines = shown(offers_table(found, CATALOG, NOW, {("1xl4", "us-west1")}), 110)

    assert lines[1].split() == ["1xl4", "g2-standard-12", "1", "us-west1", "0.40", "open", "✔"]
    assert f"{STOCKOUT}, opens in 2 min" in lines[2]
    told = [document(offer, CATALOG, {("1xl4", "us-west1")}) for offer in found]
    assert [(each["region"], each["open"], each["chosen"], each["closed_for"]) for each in told] == [
        ("us-west1", True, True, None),
        ("us-central1", False, False, Reason.NO_CAPACITY),
    ]


@pytest.mark.parametrize(
    "table", [lambda job: story_table(job.machines.story, NOW), lambda job: attempts_table(job, NOW)]
)
def test_what_the_cloud_says_reaches_the_terminal_without_control_codes(table: Callable[[Job], object]) -> None:
    vm = a_vm()
    job = refused(asked(queued(), vm), vm, NOW, code="\x1b[2J")

    assert "\x1b" not in "".join(shown(table(job), 140))
