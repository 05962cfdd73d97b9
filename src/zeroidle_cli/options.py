"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

StateOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="State of the local cloud (.zeroidle/state in the checkout)."),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobArgument: TypeAlias = Annotated[str, typer.Argument(metavar="JOB", help="Job id, its beginning, or `last`.")]
