"""What do the predictions say, taken together? Counts, confidence, accuracy, examples; shard by shard, memory bounded.

The numbers are sums, so they don't depend on the order of the shards; examples are the best few seen so far.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zeroidle.contracts import shards

BINS = 20  # of the confidence histogram, over [0, 1]
EXAMPLES = 6  # kept of each kind
EXCERPT_CHARS = 280


@dataclass(slots=True)
class Example:
    """A record worth showing; `expected` is the input's own label, if it had one."""

    text: str
    label: str
    score: float
    line: int
    expected: str | None = None


@dataclass(slots=True)
class Tally:
    """What was counted so far."""

    records: int = 0
    labels: Counter[str] = field(
        default_factory=Counter
    )  # by predicted label; entities by type for token-classification
    histogram: dict[str, np.ndarray] = field(default_factory=dict)  # predicted label -> counts by bin
    score_sum: float = 0.0
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)  # (expected, predicted)
    surest: dict[str, list[Example]] = field(default_factory=dict)
    least_sure: list[Example] = field(default_factory=list)
    mistakes: list[Example] = field(default_factory=list)
    dimensions: int = 0  # of the embeddings of feature-extraction

    def add(self, inputs: pa.Table, predictions: pa.Table, classes: list[str]) -> None:
        """Count one shard: its input rows and their predictions, row by row the same records."""
        self.records += predictions.num_rows
        names = predictions.column_names
        if shards.LABEL in names:
            self._add_classes(inputs, predictions, classes)
        elif shards.ENTITIES in names:
            entities = pc.list_flatten(predictions[shards.ENTITIES].combine_chunks())
            self.labels.update(pc.struct_field(entities, "label").to_pylist())
        elif predictions.num_rows:
            self.dimensions = len(predictions[shards.EMBEDDING][0])

    @property
    def mean_confidence(self) -> float | None:
        """Mean score of the predicted labels, or None where there are no labels."""
        return self.score_sum / self.records if self.histogram and self.records else None

    @property
    def accuracy(self) -> float | None:
        """Share of the labelled records predicted right, or None without labelled records."""
        labelled = self.confusion.total()
        return (
            sum(n for (expected, got), n in self.confusion.items() if expected == got) / labelled if labelled else None
        )

    def _add_classes(self, inputs: pa.Table, predictions: pa.Table, classes: list[str]) -> None:
        labels = np.asarray(predictions[shards.LABEL].to_pylist(), dtype=object)
        scores = predictions[shards.SCORE].to_numpy().astype(np.float64)
        self.score_sum += float(scores.sum())
        bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1).clip(0)
        names, codes = np.unique(labels, return_inverse=True)
        counted = np.bincount(codes * BINS + bins, minlength=len(names) * BINS).reshape(-1, BINS)
        for label, counts in zip(names, counted, strict=True):
            self.labels[label] += int(counts.sum())
            self.histogram[label] = self.histogram.get(label, 0) + counts
        expected = _known_labels(inputs[shards.LABEL].to_pylist(), classes)
        self.confusion.update((e, got) for e, got in zip(expected, labels, strict=True) if e is not None)
        self._keep_examples(inputs, labels, scores, expected)

    def _keep_examples(
        self, inputs: pa.Table, labels: np.ndarray, scores: np.ndarray, expected: list[str | None]
    ) -> None:
        def examples(rows: np.ndarray) -> list[Example]:
            return [_example(inputs, int(row), labels, scores, expected) for row in rows]

        by_score = np.argsort(scores, kind="stable")
        by_label = by_score[np.argsort(labels[by_score], kind="stable")]
        for rows in np.split(by_label, np.flatnonzero(labels[by_label][1:] != labels[by_label][:-1]) + 1):
            kept = self.surest.setdefault(str(labels[rows[0]]), [])
            best = rows[::-1][:EXAMPLES]
            if len(kept) == EXAMPLES:
                best = best[scores[best] > kept[-1].score]
            kept[:] = sorted(kept + examples(best), key=lambda e: -e.score)[:EXAMPLES]
        self.least_sure = sorted(self.least_sure + examples(by_score[:EXAMPLES]), key=lambda e: e.score)[:EXAMPLES]
        wrong = np.asarray([e is not None and e != got for e, got in zip(expected, labels, strict=True)], dtype=bool)
        worst = by_score[wrong[by_score]][::-1][:EXAMPLES]
        self.mistakes = sorted(self.mistakes + examples(worst), key=lambda e: -e.score)[:EXAMPLES]


def _known_labels(values: list[str | None], classes: list[str]) -> list[str | None]:
    """The input's labels in the model's spelling; None where there is none or the model doesn't know it.

    Data sets write classes as names in any case, or as their number ("1").
    """
    known: dict[str, str] = {str(index): name for index, name in enumerate(classes)}
    known.update({name.casefold(): name for name in classes})
    return [None if value is None else known.get(value.strip().casefold()) for value in values]


def _example(inputs: pa.Table, row: int, labels: np.ndarray, scores: np.ndarray, expected: list[str | None]) -> Example:
    text: Any = inputs[shards.TEXT][row].as_py()
    cut = text if len(text) <= EXCERPT_CHARS else text[: EXCERPT_CHARS - 1] + "…"
    return Example(cut, str(labels[row]), float(scores[row]), inputs[shards.LINE][row].as_py() or 0, expected[row])
