"""How does the default model come to lie, ready to serve, on this machine?

    python -m models.build [--out build/models]

It merges the adapter that is in git into the encoder that lies in site-packages, writes the result as a plain
Hugging Face text-classification directory, ``<out>/sentiment-minilm/1/``, and measures its accuracy on the labelled
sentences of ``examples/`` with the inference service's own code. Beside the model's files lie ``accuracy.json``,
which ``zeroidle models add`` reads, and ``build.json``: what it was built from. It needs no network, writes the same
bytes every time, and does nothing when the directory is up to date.
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

BATCH = 128  # sentences at a time
ACCURACY, RECORD = "accuracy.json", "build.json"

_HERE = Path(__file__).parent
ADAPTER = _HERE / NAME / "adapter.safetensors"
EXAMPLES = _HERE.parent / "examples" / "reviews.jsonl"

Json = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m models.build", description="Build the default model.")
    parser.add_argument("--out", type=Path, default=Path("build/models"), help="default: %(default)s")
    target = parser.parse_args(arguments).out / NAME / VERSION
    try:
        built = build(target)
    except EncoderError as error:
        sys.exit(f"{NAME}: {error}")
    accuracy = ", ".join(f"{name} {share:.4f}" for name, share in _read_json(target / ACCURACY).items())
    sys.stdout.write(f"{target} is {'built' if built else 'up to date'}; accuracy on {accuracy}\n")


def build(target: Path) -> bool:
    """Build the model into the directory `target`; False when it was up to date.

    Raises EncoderError when the encoder is missing or is not the one that the adapter belongs to, and AdapterError
    when the adapter does not fit it.
    """
    if is_current(target):
        return False
    # A half-built directory never has the model's name, whenever this is interrupted.
    staging = target.with_name(f".{target.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    assemble(encoder_directory(), ADAPTER, staging)
    _write_json(staging / ACCURACY, measure(staging))
    _write_json(staging / RECORD, {"inputs": inputs(), "outputs": hashes(staging)})
    shutil.rmtree(target, ignore_errors=True)
    staging.rename(target)
    return True


def is_current(target: Path) -> bool:
    """Was the directory built from today's inputs, and is every file as it was written then?"""
    try:
        return _read_json(target / RECORD) == {"inputs": inputs(), "outputs": hashes(target)}
    except (FileNotFoundError, ValueError):
        return False


def hashes(directory: Path) -> Json:
    """The hash of every file of a model but the record of them itself."""
    return {path.name: sha256(path) for path in sorted(directory.iterdir()) if path.name != RECORD}


def inputs() -> Json:
    """Whatever changes the result: by hash, or by number."""
    return {
        "adapter_sha256": sha256(ADAPTER),
        "encoder_sha256": SHA256["model.safetensors"],
        "card_sha256": sha256(ADAPTER.with_name("card.md")),
        "examples_sha256": sha256(EXAMPLES),
        "recipe": RECIPE,
    }


def assemble(encoder: Path, adapter: Path, into: Path) -> None:
    """Write the Hugging Face directory: weights, configuration and tokenizer."""
    # Imported here because torch takes seconds, and a model that is up to date needs none of it.
    from safetensors.torch import load_file, save_file
    from tokenizers import Tokenizer

    from models.adapter import as_classifier, merge

    weights = merge(as_classifier(load_file(encoder / "model.safetensors")), load_file(adapter))
    save_file(weights, into / "model.safetensors", metadata={"format": "pt"})
    (into / "model.safetensors").chmod(0o644)  # safetensors lets only the owner read what it writes
    _write_json(into / "config.json", classifier_config(_read_json(encoder / "config.json")))
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    # The encoder's cuts and pads everything to 128 tokens; here whoever serves the model says where.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(into / "tokenizer.json"), pretty=False)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(encoder / name, into / name)
    shutil.copyfile(adapter.with_name("card.md"), into / "README.md")
    shutil.copyfile(_HERE.parent / "LICENSE", into / "LICENSE")  # Apache-2.0, as is the encoder's


def classifier_config(encoder: Mapping[str, Any]) -> Json:
    """The encoder's configuration as that of a text classifier."""
    kept = {key: value for key, value in encoder.items() if key not in ("_name_or_path", "transformers_version")}
    return kept | {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {str(number): label for number, label in enumerate(LABELS)},
        "label2id": {label: number for number, label in enumerate(LABELS)},
        "problem_type": "single_label_classification",
    }


def measure(directory: Path) -> dict[str, float]:
    """The share of the labelled examples that the model gets right: together, and of each source."""
    rows = [json.loads(line) for line in EXAMPLES.read_text(encoding="utf-8").splitlines()]
    predicted = predict(directory, [row["text"] for row in rows])
    hits: dict[str, list[bool]] = {}
    for row, prediction in zip(rows, predicted, strict=True):
        for data_set in (EXAMPLES.name, row["source"]):
            hits.setdefault(data_set, []).append(row["label"] == prediction["label"])
    return {data_set: round(sum(right) / len(right), 4) for data_set, right in hits.items()}


def predict(directory: Path, texts: Sequence[str]) -> list[Json]:
    """What the inference service answers for each text; on the CPU in fp32, which every machine has."""
    from services.gpu_inference import device, model
    from zeroidle.contracts.models import describe

    runtime = device.choose(device.detect(), "cpu", "float32", device.cores(0))
    loaded = model.load(directory, describe(directory, name=NAME, version=VERSION), runtime)
    predictions: list[Json] = []
    for start in range(0, len(texts), BATCH):
        batch = loaded.decode(texts[start : start + BATCH])
        predictions += loaded.encode(batch, loaded.predict(batch))
    loaded.close()
    return predictions


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
