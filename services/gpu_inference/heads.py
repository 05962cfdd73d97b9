"""What stands on top of the encoder? One head a task; each turns packed sequences into one array a sequence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from services.gpu_inference.packed import Encoder, Linear, Run, Weights
from zeroidle.contracts.models import read_json
from zeroidle.contracts.shards import Task
from zeroidle.errors import PermanentError, printable

Sequences = Sequence[Sequence[int]]


class Head(Protocol):
    """Turns sequences, sorted by length, into one float32 array each."""

    labels: list[str]

    def apply(self, encoder: Encoder, sequences: Sequences) -> list[NDArray[np.float32]]:
        """The arrays, in order."""

    @property
    def size_bytes(self) -> int:
        """Memory of its weights."""


class Classifier:
    """One label a text: scores [labels]. Computed in float32 whatever the encoder's precision, as it costs nothing."""

    def __init__(
        self,
        dense: Linear,
        activation: Callable[[Tensor], Tensor],
        out: Linear,
        labels: list[str],
        config: Mapping[str, Any],
    ) -> None:
        self.labels = labels
        self._dense, self._activation, self._out = dense, activation, out
        self._to_scores = _scores(config, len(labels))

    @property
    def size_bytes(self) -> int:
        """Memory of its weights."""
        return self._dense.size_bytes + self._out.size_bytes

    @torch.inference_mode()
    def apply(self, encoder: Encoder, sequences: Sequences) -> list[NDArray[np.float32]]:
        """Scores of each sequence's labels."""
        pooled = self._activation(self._dense(encoder.first_rows(sequences).float()))
        return list(_finite(self._to_scores(self._out(pooled))))


class TokenClassifier:
    """One label a token: scores [tokens, labels]."""

    def __init__(self, out: Linear, labels: list[str]) -> None:
        self.labels = labels
        self._out = out

    @property
    def size_bytes(self) -> int:
        """Memory of its weights."""
        return self._out.size_bytes

    @torch.inference_mode()
    def apply(self, encoder: Encoder, sequences: Sequences) -> list[NDArray[np.float32]]:
        """Scores of each token's labels."""
        rows, _ = encoder.all_rows(sequences)
        scores = _finite(F.softmax(self._out(rows.float()), dim=-1))
        return np.split(scores, np.cumsum([len(sequence) for sequence in sequences])[:-1])


class Pooling:
    """One vector a text: the mean of its tokens, or its first token's, as sentence-transformers' files say."""

    def __init__(self, *, first: bool, normalize: bool) -> None:
        self.labels: list[str] = []
        self.size_bytes = 0
        self._first, self._normalize = first, normalize

    @torch.inference_mode()
    def apply(self, encoder: Encoder, sequences: Sequences) -> list[NDArray[np.float32]]:
        """The vector of each sequence."""
        vectors = encoder.first_rows(sequences).float() if self._first else self._means(encoder, sequences)
        if self._normalize:
            vectors = F.normalize(vectors, dim=-1)
        return list(_finite(vectors))

    def _means(self, encoder: Encoder, sequences: Sequences) -> Tensor:
        rows, runs = encoder.all_rows(sequences)
        return torch.cat([_mean(rows, run) for run in runs])


def read_head(weights: Weights, config: Mapping[str, Any], directory: Path, task: Task) -> Head:
    """The head of a checkpoint."""
    if task == "feature-extraction":
        return _pooling(directory)
    labels = _labels(config)
    if task == "token-classification":
        out = weights.linear("classifier", dtype=torch.float32)
        _check(out, labels)
        return TokenClassifier(out, labels)
    dense, activation, last = _CLASSIFIERS[str(config["model_type"])]
    out = weights.linear(last, dtype=torch.float32)
    _check(out, labels)
    return Classifier(weights.linear(dense, dtype=torch.float32), activation, out, labels, config)


_CLASSIFIERS: Mapping[str, tuple[str, Callable[[Tensor], Tensor], str]] = {
    "bert": ("pooler.dense", torch.tanh, "classifier"),
    "roberta": ("classifier.dense", torch.tanh, "classifier.out_proj"),
    "xlm-roberta": ("classifier.dense", torch.tanh, "classifier.out_proj"),
    "camembert": ("classifier.dense", torch.tanh, "classifier.out_proj"),
    "distilbert": ("pre_classifier", torch.relu, "classifier"),
}


def _pooling(directory: Path) -> Pooling:
    config, modules = directory / "1_Pooling" / "config.json", directory / "modules.json"
    pooling = read_json(config) if config.is_file() else {}
    first = bool(pooling.get("pooling_mode_cls_token"))
    if pooling and not first and not pooling.get("pooling_mode_mean_tokens"):
        raise PermanentError(
            "1_Pooling/config.json must ask for the mean of all tokens or for the first one", code="UNSUPPORTED_MODEL"
        )
    # A list of the modules that follow each other, each with its Python type.
    normalize = modules.is_file() and b"sentence_transformers.models.Normalize" in modules.read_bytes()
    return Pooling(first=first, normalize=normalize)


def _finite(outputs: Tensor) -> NDArray[np.float32]:
    """The outputs in memory. Raises PermanentError when one is no number: JSON has none such, and it means nothing."""
    array: NDArray[np.float32] = outputs.cpu().numpy()
    if not np.isfinite(array).all():
        raise PermanentError(
            "the model gives outputs that are not numbers",
            code="NOT_FINITE",
            hint="Its weights are damaged, or overflow in this precision: DTYPE=float32 has the widest range.",
        )
    return array


def _mean(rows: Tensor, run: Run) -> Tensor:
    part = rows[run.start : run.start + run.count * run.length]
    return part.view(run.count, run.length, -1).float().mean(dim=1)


def _labels(config: Mapping[str, Any]) -> list[str]:
    """In the order of the head's outputs; Hugging Face's default names where config.json has none."""
    names = config.get("id2label")
    if not isinstance(names, dict):
        return [f"LABEL_{index}" for index in range(int(config.get("num_labels", 2)))]
    try:
        labels = [str(names[str(index)]) for index in range(len(names))]
    except KeyError as error:
        raise PermanentError(
            f"id2label of config.json must number its labels from 0 (found {printable(sorted(names))})",
            code="NOT_A_MODEL",
        ) from error
    if len(set(labels)) < len(labels):
        raise PermanentError("id2label of config.json gives two outputs one name", code="NOT_A_MODEL")
    return labels


def _check(out: Linear, labels: Sequence[str]) -> None:
    if out.weight.shape[0] != len(labels):
        raise PermanentError(
            f"config.json names {len(labels)} labels, the weights have {out.weight.shape[0]}", code="NOT_A_MODEL"
        )


def _scores(config: Mapping[str, Any], labels: int) -> Callable[[Tensor], Tensor]:
    """How logits become scores, chosen as by Hugging Face's text-classification pipeline."""
    kind = config.get("problem_type")
    if kind == "regression":
        return lambda logits: logits
    if kind == "multi_label_classification" or labels == 1:
        return torch.sigmoid
    return lambda logits: F.softmax(logits, dim=-1)
