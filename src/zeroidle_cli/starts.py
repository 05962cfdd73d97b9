"""What does `zeroidle submit` ask for? Its options as a start message, checked as the function that gets it does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from zeroidle.contracts import codec
from zeroidle.contracts.machines import Provisioning, Wanted
from zeroidle.contracts.messages import MachineRun, Start
from zeroidle.core import placement
from zeroidle.core.placement import Catalog
from zeroidle.errors import InvalidMessage
from zeroidle_cli.exits import WrongUsage

# Where a field of the message comes from.
OPTIONS = {
    "job_id": "--job-id",
    "user_id": "--user",
    "labels": "--label",
    "limits.max_runtime_s": "--max-runtime",
    "limits.max_cost_usd": "--max-cost",
    "limits.provision_timeout_s": "--provision-timeout",
    "limits.max_errors": "--max-errors",
    "limits.max_interruptions": "--max-interruptions",
    "run.wanted.accelerators": "--accelerator",
    "run.wanted.regions": "--region",
    "run.wanted.hedge": "--hedge",
    "run.image": "--image",
    "run.command": "the command behind `--`",
    "run.env": "--env",
    "run.keep_alive_s": "--keep-alive",
}
LIST_OFFERS = "`zeroidle offers` lists what there is."
MAX_NAME_CHARS = 20
# What runs something else; the job is named after that.
_INTERPRETERS = re.compile(r"(python|pypy)[0-9.]*|(ba|da|z)?sh|node|env|uv|torchrun|accelerate|run|launch")


def way_of_buying(spot: bool, flex_start: bool) -> Provisioning:
    """Raises WrongUsage if both are asked for."""
    if spot and flex_start:
        raise WrongUsage("--spot and --flex-start exclude each other")
    return Provisioning.SPOT if spot else Provisioning.FLEX_START if flex_start else Provisioning.STANDARD


def start(
    *,
    job_id: str,
    user_id: str,
    wanted: Mapping[str, Any],
    run: Mapping[str, Any],
    limits: Mapping[str, Any],
    labels: Mapping[str, str],
) -> Start:
    """The message; what is None was not asked for. Raises WrongUsage naming field and option."""
    body = {
        "schema": 1,
        "job_id": job_id,
        "user_id": user_id,
        "run": {"kind": "machine", "wanted": dict(wanted), **_given(run)},
        "limits": _given(limits),
        "labels": dict(labels),
    }
    try:
        return codec.convert(body, Start, what="submit")
    except InvalidMessage as error:
        raise WrongUsage(error.message, hint=_hint(error.message)) from error


def check(wanted: Wanted, catalog: Catalog) -> None:
    """Raises WrongUsage if there is no machine that could ever fit."""
    problem = placement.problem(wanted, catalog)
    if problem is not None:
        raise WrongUsage(problem, hint=LIST_OFFERS)


def offers_words(wanted: Wanted) -> list[str]:
    """The command that lists all places that fit."""
    words = ["offers", "--accelerator", ",".join(wanted.accelerators)]
    words += [word for region in wanted.regions for word in ("--region", region)]
    return words if wanted.provisioning is Provisioning.STANDARD else [*words, f"--{wanted.provisioning.value}"]


def readable_id(image: str | None, command: Sequence[str], suffix: str) -> str:
    """`train-k3x9q` of `python train.py`, `bert-k3x9q` of the image `registry/bert:2`."""
    words = [word.split()[0] for word in command if word.strip() and not word.startswith("-")]
    paths = [PurePosixPath(word) for word in words]
    said = [path.name.split(".")[0] for path in paths if not _INTERPRETERS.fullmatch(path.name)]
    if not said and image is not None and not words:
        said = [re.split("[:@]", PurePosixPath(image).name)[0]]
    slug = re.sub("[^a-z0-9]+", "-", said[0].lower() if said else "")[:MAX_NAME_CHARS].strip("-")
    if not slug or not slug[0].isalpha():
        slug = f"job-{slug}".rstrip("-")
    return f"{slug}-{suffix}"


def run_of(message: Start) -> MachineRun:
    """What it asks for. Raises TypeError for a start of another kind."""
    if not isinstance(message.run, MachineRun):
        raise TypeError(f"job {message.job_id} does not run on machines")
    return message.run


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _hint(problem: str) -> str:
    field = re.search(r"field ([a-z_.]+)", problem)
    name = "" if field is None else field[1]
    found = [option for path, option in OPTIONS.items() if name == path or name.startswith((f"{path}.", f"{path}["))]
    return f"It comes from {found[0]}." if found else ""
