"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from zeroidle.errors import printable
from zeroidle_cli.exits import WrongUsage

StateOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="State of the local cloud (.zeroidle/state in the checkout)."),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobArgument: TypeAlias = Annotated[str, typer.Argument(metavar="JOB", help="Job id, its beginning, or `last`.")]
AcceleratorOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="CLUSTER,...", help="Kinds of machine, as 1xl4,1xa100-40gb: the first ones preferred."),
]
RegionOption: TypeAlias = Annotated[
    list[str] | None, typer.Option(metavar="REGION", help="Only there; repeatable. Anywhere if not given.")
]
SpotOption: TypeAlias = Annotated[bool, typer.Option("--spot", help="Cheap, but taken back at any time.")]
FlexStartOption: TypeAlias = Annotated[
    bool, typer.Option("--flex-start", help="Wait in Google's queue until there is capacity.")
]

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """`NAME=VALUE` of a repeatable option. Raises WrongUsage."""
    split = [text.partition("=") for text in given or ()]
    for name, sign, value in split:
        if not name or not sign:
            raise WrongUsage(f"{option} is {printable(name + value)}; expected two parts with = between them")
    return {name: value for name, _, value in split}


def listed(given: Sequence[str] | None) -> list[str]:
    """The words of a repeatable option that takes several with commas between them."""
    return [word.strip() for text in given or () for word in text.split(",") if word.strip()]


def seconds(text: str | None, option: str) -> int | None:
    """`90`, `90s`, `15m`, `2h`, `1d` in seconds. Raises WrongUsage."""
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise WrongUsage(f"{option} is {printable(text)!r}; expected a time such as 90s, 15m, 2h or 1d")
    return int(match[1]) * _UNITS_S[match[2]]
