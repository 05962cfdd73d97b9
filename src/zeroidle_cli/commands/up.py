"""zeroidle up: run the local cloud until Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
import webbrowser
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zeroidle_cli import project
from zeroidle_cli.connection import serve
from zeroidle_cli.options import JsonOption, StateOption
from zeroidle_cli.output import err, escape, out, print_json
from zeroidle_cli.project import Project

if TYPE_CHECKING:
    from localcloud.cloud import LocalCloud

HTTP_PORT, GRPC_PORT = 9000, 9001
PUBSUB_PORT = 8085  # where Google's emulator usually listens
WATCH_S = 0.5


class PubSub(Enum):
    """Whose Pub/Sub the clients talk to."""

    EMBEDDED = "embedded"
    OFFICIAL = "official"


def up(
    state: StateOption = None,
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of storage, services and the admin API; 0 takes a free one.")
    ] = HTTP_PORT,
    grpc_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of Pub/Sub and Workflows; 0 takes a free one.")
    ] = GRPC_PORT,
    pubsub: Annotated[
        PubSub, typer.Option(help="Whose Pub/Sub: ours, or Google's own emulator where gcloud has installed it.")
    ] = PubSub.EMBEDDED,
    pubsub_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of Google's emulator, if it is asked for; 0 takes a free one.")
    ] = PUBSUB_PORT,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="A host outside this machine that workflows may call; repeatable."),
    ] = None,
    open_console: Annotated[bool, typer.Option("--open", help="Show the console in a browser.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the local cloud until Ctrl-C.

    At its HTTP address is the console, a live page on what it holds and does. Prints the endpoints and the buckets;
    `zeroidle env` points Google's client libraries and gcloud here. Upload to the input bucket with any of them, or
    with `zeroidle run`. Everything in the state directory is there again next time.
    """
    here = project.find()
    folder = (state or here.default_state).resolve()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with serve(
        here,
        folder,
        http_port=http_port,
        grpc_port=grpc_port,
        official_pubsub=pubsub is PubSub.OFFICIAL,
        pubsub_port=pubsub_port,
        allowed_hosts=tuple(allow_host or ()),
    ) as cloud:
        told = _told(here, cloud, folder)
        if as_json:
            print_json(told)
        else:
            _print(told, here.command(folder, "env"), here.command(folder, "run", "examples/reviews.jsonl"))
        out.file.flush()
        if open_console and not webbrowser.open(told["console"]):
            err.print(f"No browser could be started; open {told['console']}")
        _watch(cloud, ended)
        err.print("[dim]ending[/]")
    err.print("Ended. Nothing is left running; the state is kept.")


def _told(here: Project, cloud: LocalCloud, state: Path) -> dict[str, Any]:
    from zeroidle_cli import deployment  # with the local cloud, which takes a second to import

    return {
        "console": f"{cloud.http_url}/",
        "http": cloud.http_url,
        "grpc": cloud.grpc_address,
        "state": str(state),
        "buckets": {key: here.bucket(key) for key in here.bundle.buckets},
        "topics": sorted(here.bundle.topics),
        "environment": deployment.environment(here, cloud),
    }


def _print(told: dict[str, Any], environment: str, example: str) -> None:
    out.print(f"[bold]zeroidle[/] local cloud at [bold]{told['http']}[/], gRPC {told['grpc']}", soft_wrap=True)
    out.print(f"\nconsole {told['console']}", soft_wrap=True)
    out.print(f"state   {escape(told['state'])}", soft_wrap=True)
    for key, name in told["buckets"].items():
        out.print(f"bucket  {key:<7} gs://{name}")
    out.print(f"topics  {', '.join(told['topics'])}", soft_wrap=True)
    out.print("\nIn another terminal, point Google's client libraries and gcloud here:")
    out.print(f'  eval "$({escape(environment)})"', soft_wrap=True)
    out.print(f"\nor just try it:\n  {escape(example)}\n\nCtrl-C ends it.\n", soft_wrap=True)


def _watch(cloud: LocalCloud, ended: threading.Event) -> None:
    """Say which instances come and go."""
    seen: dict[str, str] = {}
    while not ended.wait(WATCH_S):
        now = cloud.call(lambda: _phases(cloud))
        for name in sorted(now.keys() | seen.keys()):
            phase = now.get(name, "gone")
            if seen.get(name) != phase:
                err.print(f"[dim]{time.strftime('%H:%M:%S')}  {phase:<8}  {name}[/]")
        seen = now


def _phases(cloud: LocalCloud) -> dict[str, str]:
    """Phase by name of the instance, which begins with that of its service."""
    return {each.name: each.phase.value for service in cloud.run.services() for each in service.instances}
