"""How does the default model come to lie, ready to serve, on this machine?

    python -m models.build [--out build/models]

It merges the adapter that is in git into the encoder that lies in site-packages, writes the result as a plain
Hugging Face text-classification directory, ``<out>/sentiment-minilm/1/``, and measures its accuracy on the labelled
sentences of ``examples/``, into ``accuracy.json`` beside the weights. It needs no network, writes the same bytes
every time, and does nothing when the directory is up to date.
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.encoder import SHA256, EncoderError, encoder_directory
from models.vader import LABELS

NAME, VERSION = "sentiment-minilm", "1"
RECIPE = 1  # to be raised when the same adapter is to be built differently

_HERE = Path(__file__).parent
ADAPTER = _HERE / NAME / "adapter.safetensors"
EXAMPLES = _HERE.parent / "examples" / "reviews.jsonl"

Json = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m models.build", description="Build the default model.")
    parser.add_argument("--out", type=Path, default=Path("build/models"), help="default: %(default)s")
    try:
        directory, accuracy, built = build(parser.parse_args(arguments).out)
    except EncoderError as error:
        sys.exit(f"{NAME}: {error}")
    state = "built" if built else "up to date"
    sys.stdout.write(
        f"{directory} is {state}; accuracy {accuracy['accuracy']:.4f} "
        f"on {accuracy['records']} sentences held out of training\n"
    )


def build(out: Path) -> tuple[Path, Json, bool]:
    """Return the model's directory, its accuracy record, and whether it had to be built.

    Raises EncoderError when the encoder is missing or is not the one that the adapter belongs to, and AdapterError
    when the adapter does not fit it.
    """
    target = out / NAME / VERSION
    if (accuracy := current_accuracy(target)) is not None:
        return target, accuracy, False
    # A half-built directory never has the model's name, whenever this is interrupted.
    staging = target.with_name(f".{VERSION}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    assemble(encoder_directory(), ADAPTER, staging)
    accuracy = measure(staging)
    _write_json(staging / "accuracy.json", accuracy)
    shutil.rmtree(target, ignore_errors=True)
    staging.rename(target)
    return target, accuracy, True


def current_accuracy(target: Path) -> Json | None:
    """The accuracy record of a directory built from today's inputs; None when it has to be built."""
    try:
        accuracy: Json = json.loads((target / "accuracy.json").read_text())
        unchanged = accuracy["inputs"] == inputs() and accuracy["weights_sha256"] == sha256(
            target / "model.safetensors"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return accuracy if unchanged else None


def inputs() -> Json:
    """Whatever changes the result: by hash, or by number."""
    return {
        "adapter_sha256": sha256(ADAPTER),
        "encoder_sha256": SHA256["model.safetensors"],
        "examples_sha256": sha256(EXAMPLES),
        "recipe": RECIPE,
    }


def assemble(encoder: Path, adapter: Path, into: Path) -> None:
    """Write the Hugging Face directory: weights, configuration and tokenizer."""
    # Imported here because torch takes seconds, and a model that is up to date needs none of it.
    from safetensors.torch import load_file, save_file

    from models.adapter import as_classifier, merge

    weights = merge(as_classifier(load_file(encoder / "model.safetensors")), load_file(adapter))
    save_file(weights, into / "model.safetensors", metadata={"format": "pt"})
    _write_json(into / "config.json", classifier_config(_read_json(encoder / "config.json")))
    _write_json(into / "tokenizer.json", unbounded(_read_json(encoder / "tokenizer.json")))
    for name in ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copyfile(encoder / name, into / name)


def classifier_config(encoder: Mapping[str, Any]) -> Json:
    """The encoder's configuration as that of a text classifier."""
    kept = {key: value for key, value in encoder.items() if key not in ("_name_or_path", "transformers_version")}
    return kept | {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {str(number): label for number, label in enumerate(LABELS)},
        "label2id": {label: number for number, label in enumerate(LABELS)},
        "problem_type": "single_label_classification",
    }


def unbounded(tokenizer: Mapping[str, Any]) -> Json:
    """The tokenizer without the encoder's fixed length of 128: who serves the model says where to cut and pad."""
    return {**tokenizer, "truncation": None, "padding": None}


def measure(directory: Path) -> Json:
    """How many of the labelled examples the model gets right, together and per source."""
    from services.gpu_inference.model import load

    rows = [json.loads(line) for line in EXAMPLES.read_text(encoding="utf-8").splitlines()]
    labels = load(directory).labels([row["text"] for row in rows])
    by_source: dict[str, list[bool]] = {}
    for row, label in zip(rows, labels, strict=True):
        by_source.setdefault(row["source"], []).append(row["label"] == label)
    right = [hit for hits in by_source.values() for hit in hits]
    return {
        "model": f"{NAME}@{VERSION}",
        "data": "examples/reviews.jsonl",
        "records": len(right),
        "correct": sum(right),
        "accuracy": round(sum(right) / len(right), 4),
        "by_source": {source: round(sum(hits) / len(hits), 4) for source, hits in sorted(by_source.items())},
        "weights_sha256": sha256(directory / "model.safetensors"),
        "inputs": inputs(),
    }


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> Json:
    value: Json = json.loads(path.read_text(encoding="utf-8"))
    return value


def _write_json(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
