"""zeroidle submit: run a container on a GPU machine, and follow it to its end."""

from __future__ import annotations

import contextlib
import getpass
import secrets
import sys
import time
from typing import Annotated, Any

import typer

from zeroidle.contracts.messages import Start
from zeroidle.contracts.records import Job, State
from zeroidle_cli import messages, project, starts
from zeroidle_cli.connection import Connection, connect
from zeroidle_cli.exits import INTERRUPTED, WrongUsage, of_machine_job
from zeroidle_cli.follow import until_over
from zeroidle_cli.ledger import Ledger
from zeroidle_cli.machinejobs import total_cost
from zeroidle_cli.offers import Place, document, first_choice, market, offers_table, ranked
from zeroidle_cli.options import (
    AcceleratorOption,
    FlexStartOption,
    JsonOption,
    RegionOption,
    SpotOption,
    StateOption,
    listed,
    pairs,
    seconds,
)
from zeroidle_cli.output import STATE_STYLES, duration, err, escape, is_live, out, print_json, usd

SHOWN_OFFERS = 12
SETTLE_S = 2.0  # for the last messages of a cloud that ends with this command
DECLINED = 1
# Without the letters and digits that are taken for one another.
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
_SUFFIX_CHARS = 5


def submit(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help="What to run in the container.")
    ] = None,
    accelerator: AcceleratorOption = None,
    image: Annotated[str | None, typer.Option(help="Container image; the bundle's if not given.")] = None,
    region: RegionOption = None,
    spot: SpotOption = False,
    flex_start: FlexStartOption = False,
    hedge: Annotated[
        int | None, typer.Option(metavar="N", help="Ask N regions at once (1 or 2), keep the first VM that comes up.")
    ] = None,
    keep_alive: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long the VM then waits for the next job, as 10m.")
    ] = None,
    env: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="For the container; repeatable.")] = None,
    max_runtime: Annotated[str | None, typer.Option(metavar="TIME", help="Of one attempt, as 90m or 2h.")] = None,
    max_cost: Annotated[float | None, typer.Option(metavar="USD", help="Of one attempt.")] = None,
    provision_timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long to try to get a machine, as 30m.")
    ] = None,
    max_errors: Annotated[int | None, typer.Option(metavar="N", help="New attempts after failures of its own.")] = None,
    max_interruptions: Annotated[
        int | None, typer.Option(metavar="N", help="New attempts after losing its VM.")
    ] = None,
    job_id: Annotated[str | None, typer.Option(help="Its id; one like train-k3x9q is made if not given.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Repeatable.")] = None,
    user: Annotated[str | None, typer.Option(help="Whose job it is; you, if not given.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Don't follow the job.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a command, or an image, on a GPU machine: shows the offers, asks, and follows the job to its end.

    What the job writes to the folder named in ZEROIDLE_OUTPUT is its result. Ctrl-C detaches; the job goes on. Uses the
    running local cloud, or starts one for as long as the command takes.
    """
    here = project.find()
    if not yes and not _can_ask():
        raise WrongUsage("nobody can be asked whether to go on: this is not a terminal", hint="-y goes on without.")
    accelerators = listed(accelerator)
    if not accelerators:
        raise WrongUsage("--accelerator is missing", hint=starts.LIST_OFFERS)
    words = command or []
    suffix = "".join(secrets.choice(_ALPHABET) for _ in range(_SUFFIX_CHARS))
    start = starts.start(
        job_id=job_id or starts.readable_id(image, words, suffix),
        user_id=user or getpass.getuser(),
        wanted={
            "accelerators": accelerators,
            "regions": listed(region),
            "provisioning": starts.way_of_buying(spot, flex_start).value,
            "hedge": 1 if hedge is None else hedge,
        },
        run={
            "image": image,
            "command": words,
            "env": pairs(env, "--env"),
            "keep_alive_s": seconds(keep_alive, "--keep-alive"),
        },
        limits={
            "max_runtime_s": seconds(max_runtime, "--max-runtime"),
            "max_cost_usd": max_cost,
            "provision_timeout_s": seconds(provision_timeout, "--provision-timeout"),
            "max_errors": max_errors,
            "max_interruptions": max_interruptions,
        },
        labels=pairs(label, "--label"),
    )
    with contextlib.ExitStack() as ending:
        with err.status("[dim]connecting to the local cloud[/]") if is_live() else contextlib.nullcontext():
            connection = ending.enter_context(connect(here, state))
        if detach:
            connection.require_cloud_that_stays("--detach out")
        _check(connection, start)
        offered = _offer(connection, start)
        if not yes and not typer.confirm("Proceed?", default=True, err=True):
            err.print("Nothing was submitted.")
            raise typer.Exit(DECLINED)
        messages.publish(connection, messages.START, start)
        if not as_json:
            out.print(start.job_id)
            out.file.flush()
        job = _heard(connection, start.job_id) if detach else _follow(connection, start.job_id)
        if as_json:
            print_json({"job_id": start.job_id, "job": job, "offers": offered})
        elif job is not None and not detach:
            _print_end(connection, job)
        else:
            _print_commands(connection, start.job_id)
    raise typer.Exit(0 if detach or job is None else of_machine_job(job))


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _check(connection: Connection, start: Start) -> None:
    """What only the cloud knows. Raises WrongUsage."""
    starts.check(starts.run_of(start).wanted, connection.deployment.catalog)
    there = Ledger(connection).find(start.job_id)
    if there is not None:
        told = f"field job_id: there is a job {start.job_id} already; it is {there.state.value}"
        raise WrongUsage(told, hint="Choose another --job-id.")


def _offer(connection: Connection, start: Start) -> list[dict[str, Any]]:
    """Show what there is and what would be taken; all of it for programs."""
    deployment, known, now = connection.deployment, market(connection), connection.clock.now()
    run = starts.run_of(start)
    found = ranked(run.wanted, deployment.catalog, known, now)
    chosen = first_choice(start, deployment, known, now)
    err.print(offers_table(found[:SHOWN_OFFERS], deployment.catalog, now, chosen or set()))
    if len(found) > SHOWN_OFFERS:
        told = f"{SHOWN_OFFERS} of {len(found)} shown; all: {connection.command(*starts.offers_words(run.wanted))}"
        err.print(f"[dim]{escape(told)}[/]", soft_wrap=True)
    _say_what_follows(chosen, len(known.entries))
    prices = [each.usd_per_hour for each in found if (each.cluster, each.region) in (chosen or set())]
    if prices:
        limits = start.limits.over(deployment.machine_limits)
        most = max(prices) * limits.max_runtime_s / 3600
        most = most if limits.max_cost_usd is None else min(most, limits.max_cost_usd)
        told = f"at most about {usd(most)} an attempt, which may run {duration(limits.max_runtime_s)}"
        err.print(f"{start.job_id}: {told}")
    return [document(each, deployment.catalog, chosen or set()) for each in found]


def _say_what_follows(chosen: set[Place] | None, live: int) -> None:
    if chosen is None:
        err.print("A VM of an earlier job waits, and may take it.")
    elif not chosen:
        err.print("No place is open now; the job will wait for one.")


def _heard(connection: Connection, job_id: str) -> Job | None:
    """The first record of the job, so that other commands find it; None if it is long in coming."""
    ledger, end = Ledger(connection), time.monotonic() + messages.HEARD_S
    while (job := ledger.find(job_id)) is None and time.monotonic() < end:
        time.sleep(messages.POLL_S)
    return job


def _follow(connection: Connection, job_id: str) -> Job:
    try:
        job = until_over(connection, job_id)
        if connection.cloud is not None:
            _settle(connection)
    except KeyboardInterrupt:
        _say_detached(connection, job_id)
        raise typer.Exit(INTERRUPTED) from None
    return job


def _settle(connection: Connection) -> None:
    """Let the cloud in this process take what comes after a job's last beat."""
    end = time.monotonic() + SETTLE_S
    while connection.cloud is not None and time.monotonic() < end and not connection.cloud.is_idle():
        time.sleep(messages.POLL_S)


def _say_detached(connection: Connection, job_id: str) -> None:
    if connection.cloud is not None:
        told = f"Interrupted. The job goes on as soon as a local cloud runs: {connection.command('up')}"
    else:
        told = "Detached; the job goes on."
    err.print(escape(told), soft_wrap=True)
    _print_commands(connection, job_id)


def _print_commands(connection: Connection, job_id: str) -> None:
    commands = [("logs", job_id, "-f"), ("show", job_id), ("stop", job_id), ("results", job_id, "--save", "DIR")]
    for words in commands:
        err.print(f"  [dim]{escape(connection.command(*words))}[/]", soft_wrap=True)


def _print_end(connection: Connection, job: Job) -> None:
    """How it ended, where its files are, and what to do."""
    now = job.finished_at or job.created_at
    cost = total_cost(job, now)
    facts = [f"in {duration(now - job.created_at)}", f"about {usd(cost)}" if cost else ""]
    if job.attempt > 1:
        facts.append(f"{job.attempt} attempts")
    style = STATE_STYLES[job.state.value]
    reason = f" {job.reason.value}" if job.reason else ""
    out.print(f"[{style}]{job.state.value}[/]{reason} {' · '.join(filter(None, facts))}")
    if job.failure is not None:
        for line in filter(None, (f"{job.failure.code}: {job.failure.message}", job.failure.hint)):
            out.print(f"  {escape(line)}", soft_wrap=True)
    words: list[tuple[str, ...]] = [("logs", job.job_id)]
    if job.result is not None and job.result.files:
        out.print(f"  {job.result.files:,} file{'s' if job.result.files != 1 else ''}")
        words.insert(0, ("results", job.job_id, "--save", "DIR"))
    if job.state is not State.SUCCEEDED:
        words.append(("show", job.job_id))
    for each in words:
        out.print(f"  [dim]{escape(connection.command(*each))}[/]", soft_wrap=True)
