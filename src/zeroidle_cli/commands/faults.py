"""zeroidle faults: order what is to go wrong in the running local cloud, and see what a program makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zeroidle_cli import project
from zeroidle_cli.admin import ask
from zeroidle_cli.connection import running_at
from zeroidle_cli.options import JsonOption, StateOption
from zeroidle_cli.output import Column, out, print_json, table

app = typer.Typer(help="Order what goes wrong in the running local cloud.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def add(
    call: Annotated[
        str, typer.Argument(help="`storage.objects.insert`, `run.services.invoke`, ...; * stands for anything.")
    ],
    resource: Annotated[str, typer.Option(help="`bucket/name`, a topic, a service; * stands for anything.")] = "*",
    action: Annotated[
        str, typer.Option(help="fail, fail_after, delay, drop, disconnect, duplicate, reorder, kill or preempt.")
    ] = "fail",
    status: Annotated[int, typer.Option(help="HTTP status of fail and fail_after.")] = 503,
    code: Annotated[str, typer.Option(help="gRPC code in place of the status: RESOURCE_EXHAUSTED, ...")] = "",
    reason: Annotated[
        str, typer.Option(help="Of a VM that cannot be had, as ZONE_RESOURCE_POOL_EXHAUSTED or QUOTA_EXCEEDED.")
    ] = "",
    delay: Annotated[float, typer.Option(metavar="SECONDS", help="Of delay and reorder; virtual time.")] = 0.0,
    delay_max: Annotated[float, typer.Option(metavar="SECONDS", help="A random delay of up to so many.")] = 0.0,
    after_bytes: Annotated[
        int | None, typer.Option(help="disconnect: how much of the body arrives. None: no answer at all.")
    ] = None,
    times: Annotated[int, typer.Option(help="How many calls it hits; 0: all.")] = 1,
    for_s: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", help="How long it stands at most; virtual time.")
    ] = None,
    skip: Annotated[int, typer.Option(help="How many matching calls pass first.")] = 0,
    probability: Annotated[float, typer.Option(help="Of each matching call to be hit.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed hits the same calls.")] = 0,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Order a fault, and list what stands.

    Actions: fail answers an error without acting; fail_after acts, then answers it; delay acts late; drop closes the
    connection without acting (or loses one delivery); disconnect acts, and closes it before the answer or in the middle
    of it; duplicate and reorder are for deliveries; kill ends the instance that has the request, or a VM; preempt takes
    a VM back, so long after it was told.
    """
    order = {
        "call": call,
        "resource": resource,
        "action": action,
        "status": status,
        "code": code,
        "reason": reason,
        "delay_s": delay,
        "delay_max_s": delay_max,
        "after_bytes": after_bytes,
        "times": times or None,
        "for_s": for_s,
        "skip": skip,
        "probability": probability,
        "seed": seed,
    }
    _print(_asked(state, "POST", order), as_json=as_json)


@app.command("list")
def list_(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the orders that stand."""
    _print(_asked(state, "GET"), as_json=as_json)


@app.command()
def clear(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Withdraw all orders."""
    _print(_asked(state, "DELETE"), as_json=as_json)


def _asked(state: Path | None, method: str, order: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    faults: list[dict[str, Any]] = ask(running_at(project.find(), state), "faults", method, order)["faults"]
    return faults


def _print(faults: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"faults": faults})
    elif faults:
        columns = [Column("CALL"), Column("RESOURCE", long=True), Column("ACTION"), Column("LEFT", right=True)]
        out.print(table(columns, [[f["call"], f["resource"], _action(f), str(f["times"] or "all")] for f in faults]))


def _action(fault: dict[str, Any]) -> str:
    """`fail 503`, `delay 2 s`, with the chance of it where it has one."""
    told = fault["action"]
    if told in ("fail", "fail_after"):
        told += f" {fault['reason'] or fault['code'] or fault['status']}"
    elif fault["delay_s"] or fault["delay_max_s"]:
        told += f" {fault['delay_s']:g}" + (f"-{fault['delay_max_s']:g} s" if fault["delay_max_s"] else " s")
    if fault["after_bytes"] is not None:
        told += f" after {fault['after_bytes']} bytes"
    if fault["for_s"] is not None:
        told += f", for {fault['for_s']:g} s"
    return told if fault["probability"] == 1 else f"{told}, {fault['probability']:.0%} of them"
