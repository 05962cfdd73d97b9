"""What is a model in the model bucket, and is this directory one?

    <name>/<version>/model.json           ModelIndex: written last, so a version without it does not exist yet
    <name>/<version>/config.json          Hugging Face's own files, each named in the index with its hash
    <name>/<version>/tokenizer.json
    <name>/<version>/model.safetensors    or model-00001-of-0000N.safetensors with model.safetensors.index.json

A version is immutable. Weights are safetensors only: a pickle runs code when it is read.
https://huggingface.co/docs/safetensors/
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from zeroidle.contracts import codec
from zeroidle.contracts.codec import Contract
from zeroidle.contracts.shards import Task
from zeroidle.errors import PermanentError, printable

INDEX = "model.json"
CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
# Read where they are there: the length limit, special tokens, and how sentence-transformers pools.
OPTIONAL = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "README.md",
    "LICENSE",
)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")

_FAMILIES = ("Bert", "Roberta", "XLMRoberta", "Camembert", "DistilBert")
_HEADS: dict[str, Task] = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "Model": "feature-extraction",
}
# What the inference service can run, by the name in `architectures` of config.json.
ARCHITECTURES: Mapping[str, Task] = {family + head: task for family in _FAMILIES for head, task in _HEADS.items()}

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
# A path below the version's folder; no component can begin with a dot, so none leaves it.
FileName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_][-A-Za-z0-9_.]*(/[A-Za-z0-9_][-A-Za-z0-9_.]*){0,3}$", max_length=200)
]


class ModelIndex(Contract, frozen=True, kw_only=True):
    """One version of one model: what it does, and the hash of every file of it."""

    schema: Literal[1] = 1
    name: Annotated[str, Meta(pattern=r"^[a-z0-9]([-a-z0-9._]{0,62}[a-z0-9])?$")]
    version: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][-A-Za-z0-9._]{0,63}$")]
    task: Task
    files: dict[FileName, Sha256]
    sha256: Sha256  # of the files map: names the content of the whole version
    accuracy: dict[str, float] = field(default_factory=dict)  # by data set, 0..1, as measured by whoever made it


def files_sha256(files: Mapping[str, str]) -> str:
    """One hash over all files: SHA-256 of `<hash>  <name>` lines in name order, as `sha256sum` prints them."""
    lines = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def describe(
    directory: Path, *, name: str = "", version: str = "1", accuracy: Mapping[str, float] | None = None
) -> ModelIndex:
    """The index of the Hugging Face model in `directory`; without a `name` the directory's own is taken.

    Only files that serve the model are listed; anything else there (optimizer states, pickles) is left behind.

    Raises:
        PermanentError: what is missing or not supported, and what would be right.
    """
    if not directory.is_dir():
        raise PermanentError(f"{printable(str(directory))} is not a directory", code="NOT_A_MODEL")
    weights = _weight_files(directory)
    for required in (CONFIG, TOKENIZER):
        if not (directory / required).is_file():
            raise PermanentError(
                f"{printable(str(directory))} has no {required}",
                code="NOT_A_MODEL",
                hint="Save model and tokenizer there with save_pretrained(); the tokenizer must be a fast one.",
            )
    task = infer_task(read_json(directory / CONFIG))
    optional = [file for file in OPTIONAL if (directory / file).is_file()]
    files = {file: _sha256(directory / file) for file in sorted([CONFIG, TOKENIZER, *weights, *optional])}
    index = {
        "name": name or directory.resolve().name.lower(),
        "version": version,
        "task": task,
        "files": files,
        "sha256": files_sha256(files),
        "accuracy": dict(accuracy or {}),
    }
    return codec.convert(index, ModelIndex, what="model index")


def infer_task(config: Mapping[str, Any]) -> Task:
    """What a model does, by the architecture its config.json names. Raises PermanentError for one we cannot run."""
    architectures = config.get("architectures")
    architecture = architectures[0] if isinstance(architectures, list) and architectures else None
    task = ARCHITECTURES.get(architecture) if isinstance(architecture, str) else None
    if task is None:
        raise PermanentError(
            f"architecture {printable(architecture)} is not supported",
            code="UNSUPPORTED_MODEL",
            hint=f"`architectures` of config.json must name one of: {', '.join(ARCHITECTURES)}.",
        )
    return task


def newest(versions: Iterable[str]) -> str | None:
    """The highest version in natural order: 10 is above 9, 1.10 above 1.9; None if there is none."""
    return max(versions, key=_natural, default=None)


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object. Raises PermanentError naming the file."""
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise PermanentError(f"{path.name} is not JSON: {printable(str(error))}", code="NOT_A_MODEL") from error
    if not isinstance(value, dict):
        raise PermanentError(f"{path.name} is not a JSON object", code="NOT_A_MODEL")
    return value


def _natural(version: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|[^\d]+", version)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def _weight_files(directory: Path) -> list[str]:
    """The safetensors files of a model, with their index if they are several."""
    if (directory / WEIGHTS_INDEX).is_file():
        shards = sorted(set(read_json(directory / WEIGHTS_INDEX).get("weight_map", {}).values()))
        missing = [shard for shard in shards if not (directory / shard).is_file()]
        if missing or not shards:
            raise PermanentError(
                f"{WEIGHTS_INDEX} names weights that are not there: {printable(missing)}", code="NOT_A_MODEL"
            )
        return [*shards, WEIGHTS_INDEX]
    if (directory / WEIGHTS).is_file():
        return [WEIGHTS]
    pickles = sorted(file.name for file in directory.iterdir() if file.suffix in PICKLES)
    if pickles:
        raise PermanentError(
            f"the weights are pickled ({', '.join(pickles)}); a pickle runs code when it is read",
            code="PICKLED_WEIGHTS",
            hint="Convert them where you trust the file: "
            "from_pretrained(DIR).save_pretrained(DIR, safe_serialization=True).",
        )
    raise PermanentError(f"{printable(str(directory))} has no {WEIGHTS}", code="NOT_A_MODEL")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
