"""zeroidle env: point a shell's Google clients and gcloud at the running local cloud."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from localcloud import environment
from zeroidle_cli import project
from zeroidle_cli.admin import ask
from zeroidle_cli.connection import running_at
from zeroidle_cli.options import JsonOption, StateOption
from zeroidle_cli.output import out, print_json


def env(
    state: StateOption = None,
    unset: Annotated[bool, typer.Option("--unset", help="Take the variables back; needs no local cloud.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the environment of the running local cloud: eval "$(zeroidle env)".

    Google's client libraries, gcloud and zeroidle then talk to it. gcloud gets a configuration of its own, without
    anybody's credentials.
    """
    here = project.find()
    if unset:
        _print_unset([*environment.names(), *here.environment], as_json=as_json)
        return
    told = ask(running_at(here, state), "environment")
    variables = {**told["clients"], **here.environment, **told["gcloud"]}
    _print_exports(variables, as_json=as_json)


def _print_exports(variables: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print_json(variables)
    else:
        out.file.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _print_unset(names: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json(names)
    else:
        out.file.write(f"unset {' '.join(names)}\n")
