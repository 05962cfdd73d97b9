"""The entry point: which commands there are, and how an error leaves."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from zeroidle import __version__
from zeroidle_cli import exits, failures
from zeroidle_cli.commands import (
    env,
    faults,
    jobs,
    logs,
    meta,
    models,
    offers,
    results,
    run,
    show,
    stop,
    submit,
    up,
    workflows,
)
from zeroidle_cli.output import out, print_error

app = typer.Typer(
    name="zeroidle",
    help="Event-driven GPU work on Google Cloud that costs nothing while idle; here, whole, on this machine.",
    epilog=exits.EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (up.up, env.env, run.run, jobs.jobs, results.results, stop.stop, offers.offers, meta.meta):
    app.command(epilog=exits.EXIT_CODES)(command)
app.command(epilog=exits.MACHINE_EXIT_CODES)(show.show)
app.command(epilog=exits.MACHINE_EXIT_CODES)(logs.logs)
# What stands behind the first word is that command's own.
app.command(epilog=exits.MACHINE_EXIT_CODES, context_settings={"allow_interspersed_args": False})(submit.submit)
app.add_typer(faults.app, name="faults")
app.add_typer(models.app, name="models")
app.add_typer(workflows.app, name="workflows")


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """What stands before a command; its help is that of `app`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit. Errors are told, not traced."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(args=given, prog_name="zeroidle")
    except BrokenPipeError:
        # The reader of our output left; Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as exception:  # noqa: BLE001  # the last frame: whatever comes is told here
        error = failures.explained(exception)
        as_json = "--json" in given
        if not as_json and "trace" in error.details:
            sys.stderr.write(str(error.details["trace"]))
        print_error(error, as_json=as_json)
        sys.exit(exits.of_error(error))


if __name__ == "__main__":
    main()
