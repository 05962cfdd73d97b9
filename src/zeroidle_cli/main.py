"""The entry point: which commands there are, and how an error leaves."""

from __future__ import annotations

import os
import sys

import typer

from zeroidle import __version__
from zeroidle.errors import PermanentError, TemporaryError, ZeroidleError
from zeroidle_cli.commands import jobs, logs, models, results, run, show, stop, up
from zeroidle_cli.output import out, print_error

app = typer.Typer(
    name="zeroidle",
    help="Event-driven GPU work on Google Cloud that costs nothing while idle; here, whole, on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(up.up)
app.command()(run.run)
app.command()(jobs.jobs)
app.command()(show.show)
app.command()(stop.stop)
app.command()(logs.logs)
app.command()(results.results)
app.add_typer(models.app, name="models")


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True)) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; errors raised on purpose are told, not traced."""
    try:
        app()
    except BrokenPipeError:
        # The reader of our output left; Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except ZeroidleError as error:
        print_error(error, as_json="--json" in sys.argv)
        sys.exit(_exit_code(error))


def _exit_code(error: ZeroidleError) -> int:
    match error:
        case PermanentError():
            return 1
        case TemporaryError():
            return 4
        case _:
            return 4


if __name__ == "__main__":
    main()
