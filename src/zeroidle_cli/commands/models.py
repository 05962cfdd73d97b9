"""zeroidle models: what can the inference service run?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from zeroidle.contracts import codec
from zeroidle.contracts import models as contract
from zeroidle.contracts.models import ModelIndex
from zeroidle.contracts.services import ObjectRef
from zeroidle.errors import Conflict, PermanentError
from zeroidle.ports import ABSENT
from zeroidle_cli import project
from zeroidle_cli.connection import Connection, connect
from zeroidle_cli.options import JsonOption, StateOption
from zeroidle_cli.output import err, escape, out, print_json

ACCURACY_FILE = "accuracy.json"

app = typer.Typer(help="Add, list and remove models of the model bucket.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
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


@app.command("list")
def list_models(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the models of the model bucket."""
    with connect(project.find(), state) as connection:
        indexes = _indexes(connection)
    default = connection.project.bundle.default_model
    if as_json:
        print_json({"models": indexes, "default": default})
        return
    table = Table(box=None, padding=(0, 2), show_edge=False)
    for column in ("MODEL", "TASK", "ACCURACY", "SHA-256"):
        table.add_column(column)
    for index in indexes:
        accuracy = ", ".join(f"{name} {value:.1%}" for name, value in index.accuracy.items())
        star = " (default)" if index.name == default else ""
        table.add_row(f"{index.name}@{index.version}{star}", index.task, escape(accuracy), index.sha256[:16])
    out.print(table)


@app.command()
def remove(
    model: Annotated[str, typer.Argument(help="NAME@VERSION, or NAME for all its versions.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    state: StateOption = None,
) -> None:
    """Remove a model from the model bucket."""
    ref = contract.parse_model(model)
    with connect(project.find(), state) as connection:
        prefix = f"{ref.name}/{ref.version}/" if ref.version else f"{ref.name}/"
        objects = [info.ref for info in connection.objects.list(connection.bucket("models"), prefix)]
        if not objects:
            raise PermanentError(f"there is no model {model!r}", code="NO_SUCH_MODEL", hint="zeroidle models list")
        if not yes:
            typer.confirm(f"Remove {model} ({len(objects)} objects)?", abort=True, err=True)
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
    return {name: float(value) for name, value in json.loads(path.read_bytes()).items()} if path.is_file() else {}


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


def _indexes(connection: Connection) -> list[ModelIndex]:
    bucket = connection.bucket("models")
    refs = [info.ref for info in connection.objects.list(bucket, "") if info.ref.name.endswith(f"/{contract.INDEX}")]
    return [codec.decode(connection.objects.read(ref)[0], ModelIndex, what=ref.name) for ref in refs]
