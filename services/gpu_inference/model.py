"""What does a model do? Load from files, decode texts to tokens, predict tensors, encode them as predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from tokenizers import Tokenizer

from services.gpu_inference.device import Runtime
from services.gpu_inference.heads import Head, read_head
from services.gpu_inference.packed import NAMES, Encoder, Weights
from zeroidle.contracts.models import CONFIG, TOKENIZER, ModelIndex, infer_task, read_json
from zeroidle.contracts.shards import EMBEDDING, ENTITIES, LABEL, SCORE, SCORES, Task
from zeroidle.errors import PermanentError, TemporaryError, printable

Prediction = dict[str, Any]  # the columns of one record, by name
Output = NDArray[np.float32]  # [labels], [tokens, labels] or [hidden], by task

# Of one token at most this many characters: what lies behind cannot be read by the model and is not tokenized.
CHARS_PER_TOKEN = 256
UNLIMITED = 10**9  # a tokenizer without a limit says so with a huge number


@dataclass(frozen=True, slots=True)
class Encoded:
    """One text as the model reads it."""

    text: str
    ids: list[int]
    truncated: bool
    offsets: list[tuple[int, int]] | None = None  # characters of each token; for token-classification
    special: list[int] | None = None  # 1 for a token that is not of the text


class Model:
    """One loaded model. `decode` and `encode` may run in any thread; `predict` in one at a time."""

    def __init__(
        self, index: ModelIndex, encoder: Encoder, head: Head, tokenizer: Tokenizer, runtime: Runtime, size: int
    ) -> None:
        self.index = index
        self.runtime = runtime
        self.size_bytes = size
        self._encoder, self._head, self._tokenizer = encoder, head, tokenizer
        self._max_chars = int((tokenizer.truncation or {"max_length": 512})["max_length"]) * CHARS_PER_TOKEN
        # On a CPU a batch is cut into a part per core: threads inside each operation would wait for each other.
        self._lanes = (
            ThreadPoolExecutor(runtime.threads, "lane", initializer=torch.set_num_threads, initargs=(1,))
            if runtime.device == "cpu"
            else None
        )

    @property
    def name(self) -> str:
        """name@version."""
        return f"{self.index.name}@{self.index.version}"

    @property
    def task(self) -> Task:
        """What it predicts."""
        return self.index.task

    @property
    def labels(self) -> list[str]:
        """In the order of scores."""
        return self._head.labels

    def decode(self, texts: Sequence[str]) -> list[Encoded]:
        """Texts to tokens, cut to what the model reads."""
        cut = [text[: self._max_chars] for text in texts]
        if self.task == "token-classification":
            return [
                Encoded(
                    text=text,
                    ids=encoding.ids,
                    truncated=_is_cut(encoding, text, short),
                    offsets=encoding.offsets,
                    special=encoding.special_tokens_mask,
                )
                for text, short, encoding in zip(texts, cut, self._tokenizer.encode_batch(cut), strict=True)
            ]
        encodings = self._tokenizer.encode_batch_fast(cut)
        return [
            Encoded(text=text, ids=encoding.ids, truncated=_is_cut(encoding, text, short))
            for text, short, encoding in zip(texts, cut, encodings, strict=True)
        ]

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        """One output for each text, in order. Any batch: it is sorted and split inside."""
        order = sorted(range(len(batch)), key=lambda index: len(batch[index].ids))
        parts = split([len(batch[index].ids) for index in order], self.runtime.threads if self._lanes else 1)
        sequences = [[batch[index].ids for index in order[part]] for part in parts]
        run = self._lanes.map if self._lanes else map
        with _memory():
            results = [output for outputs in run(self._predict_sorted, sequences) for output in outputs]
        placed: list[Output] = [results[0]] * len(batch) if batch else []
        for position, output in zip(order, results, strict=True):
            placed[position] = output
        return placed

    def encode(self, batch: Sequence[Encoded], outputs: Sequence[Output]) -> list[Prediction]:
        """Outputs as what a caller reads."""
        return [self._prediction(item, output) for item, output in zip(batch, outputs, strict=True)]

    def close(self) -> None:
        """Let the threads go; the memory goes with the last reference."""
        if self._lanes:
            self._lanes.shutdown(wait=False)

    def _predict_sorted(self, sequences: Sequence[Sequence[int]]) -> list[Output]:
        return self._head.apply(self._encoder, sequences)

    def _prediction(self, item: Encoded, output: Output) -> Prediction:
        if self.task == "feature-extraction":
            return {EMBEDDING: output.tolist()}
        if self.task == "token-classification":
            return {ENTITIES: entities(item, output, self.labels)}
        best = int(output.argmax())
        return {LABEL: self.labels[best], SCORE: float(output[best]), SCORES: output.tolist()}


def load(directory: Path, index: ModelIndex, runtime: Runtime) -> Model:
    """The model in `directory`.

    Raises PermanentError for one that we cannot run, naming what is wrong; TemporaryError when the device is full.
    """
    config = read_json(directory / CONFIG)
    if (task := infer_task(config)) != index.task:
        raise PermanentError(
            f"the index says {index.task}, {CONFIG} says {task}", code="NOT_A_MODEL", hint="Add the model again."
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise PermanentError("only absolute position embeddings are supported", code="UNSUPPORTED_MODEL")
    names = NAMES.get(str(config.get("model_type")))
    if names is None:
        raise PermanentError(
            f"model_type {printable(config.get('model_type'))!r} is not supported; supported: {', '.join(NAMES)}",
            code="UNSUPPORTED_MODEL",
        )
    with _memory():
        weights = Weights(_tensors(directory, index), names.prefix, runtime.device, runtime.torch_dtype)
        try:
            encoder = Encoder(weights, names, config)
            head = read_head(weights, config, directory, task)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise PermanentError(
                f"{CONFIG} does not make sense: {printable(str(error))}", code="NOT_A_MODEL"
            ) from error
    tokenizer = _tokenizer(directory, encoder, task)
    return Model(index, encoder, head, tokenizer, runtime, encoder.size_bytes + head.size_bytes)


def split(lengths: Sequence[int], parts: int) -> list[slice]:
    """Neighbouring sequences in up to `parts` parts of about equally many tokens."""
    slices: list[slice] = []
    total, start, seen = sum(lengths), 0, 0
    for index, length in enumerate(lengths):
        seen += length
        # The part ends with the sequence that reaches its share of all tokens.
        if seen * parts >= total * (len(slices) + 1):
            slices.append(slice(start, index + 1))
            start = index + 1
    return slices


def entities(item: Encoded, scores: Output, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Neighbouring tokens of one entity as one, with character offsets.

    The `simple` aggregation of Hugging Face's pipeline: B- begins a new entity, its score is the mean of its tokens.
    """
    found: list[dict[str, Any]] = []
    last = ""
    tokens = zip(item.offsets or [], item.special or [], scores, strict=True)
    for (start, end), special, row in tokens:
        if special:
            continue
        best = int(row.argmax())
        begins, tag = _tag(labels[best])
        if tag == "O":
            last = tag
            continue
        if found and tag == last and not begins:
            found[-1]["scores"].append(float(row[best]))
            found[-1]["end"] = end
        else:
            found.append({"label": tag, "scores": [float(row[best])], "start": start, "end": end})
        last = tag
    return [
        {
            "label": entity["label"],
            "score": float(np.mean(entity["scores"])),
            "start": entity["start"],
            "end": entity["end"],
            "text": item.text[entity["start"] : entity["end"]],
        }
        for entity in found
    ]


@contextmanager
def _memory() -> Iterator[None]:
    """A full device is worth another try: other models or a large batch may have left by then."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TemporaryError(f"the device is out of memory: {printable(str(error))}", code="NO_MEMORY") from error


def _tag(label: str) -> tuple[bool, str]:
    """Does it begin an entity, and of which kind? A label without B- or I- goes on."""
    if label.startswith(("B-", "I-")):
        return label.startswith("B-"), label[2:]
    return False, label


def _is_cut(encoding: Any, text: str, short: str) -> bool:
    return len(short) < len(text) or bool(encoding.overflowing)


def _tensors(directory: Path, index: ModelIndex) -> Mapping[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for name in index.files:
        if name.endswith(".safetensors"):
            try:
                tensors.update(load_file(directory / name))
            except (safetensors.SafetensorError, OSError) as error:
                raise PermanentError(
                    f"{name} is not safetensors: {printable(str(error))}", code="NOT_A_MODEL"
                ) from error
    return tensors


def _tokenizer(directory: Path, encoder: Encoder, task: Task) -> Tokenizer:
    """The tokenizer, cutting at the length that model and tokenizer allow."""
    try:
        tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
    except Exception as error:  # tokenizers raises nothing narrower
        raise PermanentError(f"{TOKENIZER} cannot be read: {printable(str(error))}", code="NOT_A_MODEL") from error
    if tokenizer.get_vocab_size() > encoder.vocabulary:
        raise PermanentError(
            f"{TOKENIZER} has {tokenizer.get_vocab_size()} tokens, the weights {encoder.vocabulary}",
            code="NOT_A_MODEL",
            hint="Tokenizer and weights are of different models.",
        )
    if tokenizer.num_special_tokens_to_add(False) == 0:
        raise PermanentError(
            f"{TOKENIZER} adds no special tokens, so an empty text would have none",
            code="NOT_A_MODEL",
            hint="Save the tokenizer with its post-processor: BERT reads [CLS] text [SEP].",
        )
    limits = [encoder.max_tokens, _limit(directory / "tokenizer_config.json", "model_max_length")]
    if task == "feature-extraction":
        limits.append(_limit(directory / "sentence_bert_config.json", "max_seq_length"))
    tokenizer.enable_truncation(min(limits))
    tokenizer.no_padding()
    return tokenizer


def _limit(path: Path, key: str) -> int:
    value = read_json(path).get(key) if path.is_file() else None
    return int(value) if isinstance(value, int | float) and 0 < value < UNLIMITED else UNLIMITED
