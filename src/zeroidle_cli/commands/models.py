"""zeroidle models: what can the inference service run?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zeroidle.contracts import codec
from zeroidle.contracts import models as contract
from zeroidle.contracts.models import ModelIndex
from zeroidle.contracts.services import ModelRef, ObjectRef
from zeroidle.errors import Conflict, InvalidMessage, PermanentError
from zeroidle.ports import ABSENT
from zeroidle_cli import project
from zeroidle_cli.connection import Connection, connect
from zeroidle_cli.exits import EXIT_CODES
from zeroidle_cli.options import JsonOption, StateOption
from zeroidle_cli.output import Column, err, escape, out, print_json, table

ACCURACY_FILE = "accuracy.json"
SHORT_HASH = 16

app = typer.Typer(help="Add, list and remove models of the model bucket.", no_args_is_help=True, rich_markup_mode=None)


@app.command(epilog=EXIT_CODES)
def add(
    directory: Annotated[Path, typer.Argument(help="A Hugging Face model directory with safetensors weights.")],
    name: Annotated[
        str, typer.Option(help="Its name; the directory's, or for DIR/VERSION the parent's, if not given.")
    ] = "",
    version: Annotated[str, typer.Option(help="Its version; a version never changes.")] = "",
    if_missing: Annotated[bool, typer.Option(help="A version that is there already is no error.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a model into the model bucket.

    Text classification, token classification and feature extraction, BERT family (config.json tells).
    """
    default_name, default_version = _named(directory)
    index = contract.describe(
        directory, name=name or default_name, version=version or default_version, accuracy=_accuracy(directory)
    )
    with connect(project.find(), state) as connection:
        added = put(connection, directory, index, if_missing=if_missing)
    if as_json:
        print_json({"model": index, "added": added})
        return
    err.print(f"{index.name}@{index.version} {'added' if added else 'is there already'}: {index.task}")
    for data_set, accuracy in index.accuracy.items():
        err.print(f"  accuracy on {escape(data_set)}: {accuracy:.1%}")


@app.command("list", epilog=EXIT_CODES)
def list_models(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the models of the model bucket."""
    with connect(project.find(), state) as connection:
        indexes, unreadable = _indexes(connection)
    default = connection.project.bundle.default_model
    if as_json:
        print_json({"models": indexes, "unreadable": unreadable, "default": default})
        return
    if not indexes and not unreadable:
        err.print("No models. `zeroidle models add DIR` adds one; `make setup` builds the default one.")
        return
    rows = [[*_facts(index, default), index.sha256[:SHORT_HASH]] for index in indexes]
    rows += [[name, "unreadable", problem, ""] for name, problem in unreadable.items()]
    out.print(table([Column("MODEL"), Column("TASK"), Column("ACCURACY", long=True), Column("SHA-256")], rows))


@app.command(epilog=EXIT_CODES)
def remove(
    model: Annotated[str, typer.Argument(help="NAME@VERSION, or NAME for all its versions.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    state: StateOption = None,
) -> None:
    """Remove a model from the model bucket."""
    ref = ModelRef.parse(model)
    with connect(project.find(), state) as connection:
        prefix = f"{ref.name}/{ref.version}/" if ref.version else f"{ref.name}/"
        objects = [info.ref for info in connection.objects.list(connection.bucket("models"), prefix)]
        if not objects:
            raise PermanentError(f"there is no model {model!r}", code="NO_SUCH_MODEL", hint="zeroidle models list")
        if not yes and not _confirmed(f"Remove {model} ({len(objects)} objects)?"):
            err.print("Nothing was removed.")
            return
        # The index first: without it the version does not exist, whatever happens next.
        for item in sorted(objects, key=lambda item: not item.name.endswith(f"/{contract.INDEX}")):
            connection.objects.delete(ObjectRef(bucket=item.bucket, name=item.name))
    err.print(f"{model} removed")


def _named(directory: Path) -> tuple[str, str]:
    """Name and version from a path: `sentiment-minilm/1` is version 1 of sentiment-minilm."""
    path = directory.resolve()
    if path.name[:1].isdigit():
        return path.parent.name.lower(), path.name
    return path.name.lower(), "1"


def _accuracy(directory: Path) -> dict[str, float]:
    """What the maker measured: `accuracy.json`, data set -> share."""
    path = directory / ACCURACY_FILE
    return codec.decode(path.read_bytes(), dict[str, float], what=str(path)) if path.is_file() else {}


def _confirmed(question: str) -> bool:
    """Whether the person at the terminal says yes. Raises PermanentError where there is none to ask."""
    if not sys.stdin.isatty():
        raise PermanentError(
            "removing a model has to be confirmed, and there is no terminal to ask at",
            code="NOT_CONFIRMED",
            hint="--yes confirms it.",
        )
    return typer.confirm(question, err=True)


def _facts(index: ModelIndex, default: str) -> list[str]:
    star = " (default)" if index.name == default else ""
    accuracy = ", ".join(f"{name} {value:.1%}" for name, value in index.accuracy.items())
    return [f"{index.name}@{index.version}{star}", index.task, accuracy]


def put(connection: Connection, directory: Path, index: ModelIndex, *, if_missing: bool) -> bool:
    """Write the files, the index last; whether there was anything to do. Raises PermanentError (MODEL_EXISTS)."""
    bucket, prefix = connection.bucket("models"), f"{index.name}/{index.version}"
    ref = ObjectRef(bucket=bucket, name=f"{prefix}/{contract.INDEX}")
    if connection.objects.stat(ref) is not None:
        standing = codec.decode(connection.objects.read(ref)[0], ModelIndex, what=ref.name)
        if standing.sha256 == index.sha256 or if_missing:
            return False
        raise _exists(index)
    for name in index.files:
        connection.objects.write(ObjectRef(bucket=bucket, name=f"{prefix}/{name}"), directory / name)
    try:
        connection.objects.write(ref, codec.encode(index), content_type="application/json", if_generation=ABSENT)
    except Conflict as error:
        raise _exists(index) from error
    return True


def _exists(index: ModelIndex) -> PermanentError:
    return PermanentError(
        f"{index.name}@{index.version} is there already with other files",
        code="MODEL_EXISTS",
        hint="A version never changes; give the new one another --version.",
    )


def _indexes(connection: Connection) -> tuple[list[ModelIndex], dict[str, str]]:
    """The index of every model, and what is wrong with those that cannot be read."""
    indexes, unreadable = [], {}
    for info in connection.objects.list(connection.bucket("models"), ""):
        folder, _, file = info.ref.name.rpartition("/")
        if file != contract.INDEX:
            continue
        try:
            indexes.append(codec.decode(connection.objects.read(info.ref)[0], ModelIndex, what=info.ref.name))
        except InvalidMessage as error:
            unreadable[folder.replace("/", "@")] = error.message
    return indexes, unreadable
