"""How does a BERT-like encoder run without padding?

All tokens of a batch lie in one [tokens, hidden] tensor, sequence after sequence, sorted by length. Linear layers,
norms and activations don't care where a sequence ends. Attention does: each run of equally long sequences is one
dense [sequences, heads, length, width] call, so nothing is padded and nothing masked. Where only the first token of
a sequence is asked for (classification), the last layer is computed for these rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from zeroidle.errors import PermanentError, printable

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
}


@dataclass(frozen=True, slots=True)
class Names:
    """What an architecture calls its weights."""

    prefix: str  # absent in files of the bare encoder
    layer: str
    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    up: str
    down: str
    output_norm: str


_BERT = Names(
    prefix="bert.",
    layer="encoder.layer.{}.",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output_norm="output.LayerNorm",
)
_ROBERTA = Names(**{**{f: getattr(_BERT, f) for f in Names.__slots__}, "prefix": "roberta."})
_DISTILBERT = Names(
    prefix="distilbert.",
    layer="transformer.layer.{}.",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    output_norm="output_layer_norm",
)
NAMES: Mapping[str, Names] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": _DISTILBERT,
}


class Weights:
    """The tensors of a checkpoint by name, on a device in a precision."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str, device: str, dtype: torch.dtype) -> None:
        # Checkpoints converted from TensorFlow call a norm's weight gamma and its bias beta.
        self._tensors = {_modern(name): tensor for name, tensor in tensors.items()}
        self._prefix = prefix
        self._device, self._dtype = device, dtype

    def get(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """One tensor, with or without the architecture's prefix. Raises PermanentError if it is not there."""
        tensor = self._tensors.get(self._prefix + name)
        if tensor is None:
            tensor = self._tensors.get(name)
        if tensor is None:
            raise PermanentError(f"the weights hold no {printable(name)!r}", code="NOT_A_MODEL")
        return tensor.to(self._device, dtype or self._dtype).contiguous()

    def has(self, name: str) -> bool:
        """Is there such a tensor?"""
        return self._prefix + name in self._tensors or name in self._tensors

    def linear(self, *names: str, dtype: torch.dtype | None = None) -> Linear:
        """One linear layer; several names are one fused layer with their outputs side by side."""
        return Linear(
            torch.cat([self.get(f"{name}.weight", dtype) for name in names]),
            torch.cat([self.get(f"{name}.bias", dtype) for name in names]),
        )

    def norm(self, name: str, epsilon: float) -> Norm:
        """One layer norm."""
        return Norm(self.get(f"{name}.weight"), self.get(f"{name}.bias"), epsilon)


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x W' + b."""

    weight: Tensor
    bias: Tensor

    @property
    def size_bytes(self) -> int:
        """Memory of its weights."""
        return self.weight.nbytes + self.bias.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, in] -> [rows, out]."""
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer norm over the last dimension."""

    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        """Same shape."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class Run:
    """`count` sequences of `length` tokens each, from row `start` on."""

    start: int
    count: int
    length: int


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one transformer layer. The last one has query and key-value apart, to compute few rows."""

    query: Linear
    key_value: Linear
    query_key_value: Linear
    attention_output: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    output_norm: Norm

    @property
    def size_bytes(self) -> int:
        """Memory of its weights; norms are too small to count."""
        return sum(x.size_bytes for x in (self.query_key_value, self.attention_output, self.up, self.down))


def runs_of(lengths: Sequence[int]) -> list[Run]:
    """Runs of equal lengths, in the order given; sorted lengths give the fewest."""
    runs, start = [], 0
    for length, same in groupby(lengths):
        count = len(list(same))
        runs.append(Run(start, count, length))
        start += count * length
    return runs


class Encoder:
    """The encoder of a checkpoint. `config` is its config.json."""

    def __init__(self, weights: Weights, names: Names, config: Mapping[str, Any]) -> None:
        read = partial(_setting, config)
        self.heads = int(read("num_attention_heads", "n_heads"))
        epsilon = float(config.get("layer_norm_eps", 1e-12))
        self._activation = _activation(read("hidden_act", "activation"))
        self._words = weights.get("embeddings.word_embeddings.weight")
        # Each token is of type 0 (no sentence pairs here), so its embedding is a constant of every position.
        self._positions = weights.get("embeddings.position_embeddings.weight")
        if weights.has("embeddings.token_type_embeddings.weight"):
            self._positions = self._positions + weights.get("embeddings.token_type_embeddings.weight")[0]
        # RoBERTa counts positions from behind its padding token's id.
        self.first_position = int(config.get("pad_token_id", 1)) + 1 if names is _ROBERTA else 0
        self._norm = weights.norm("embeddings.LayerNorm", epsilon)
        depth = int(read("num_hidden_layers", "n_layers"))
        self._layers = [_layer(weights, names, index, epsilon) for index in range(depth)]
        if self.hidden % self.heads:
            raise PermanentError(f"hidden size {self.hidden} does not divide into {self.heads} heads")

    @property
    def hidden(self) -> int:
        """Width of a token's vector."""
        return self._words.shape[1]

    @property
    def size_bytes(self) -> int:
        """Memory of its weights."""
        own = self._words.nbytes + self._positions.nbytes
        return own + sum(layer.size_bytes for layer in self._layers)

    @property
    def vocabulary(self) -> int:
        """How many token ids there are."""
        return self._words.shape[0]

    @property
    def max_tokens(self) -> int:
        """Longest sequence that has positions."""
        return self._positions.shape[0] - self.first_position

    @torch.inference_mode()
    def first_rows(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """The last hidden state of each sequence's first token: [sequences, hidden]. Sort them by length first."""
        runs = runs_of([len(sequence) for sequence in sequences])
        x = self._embed(sequences, runs)
        for layer in self._layers[:-1]:
            x = self._whole(layer, x, runs)
        return self._first(self._layers[-1], x, runs)

    @torch.inference_mode()
    def all_rows(self, sequences: Sequence[Sequence[int]]) -> tuple[Tensor, list[Run]]:
        """The last hidden state of every token, [tokens, hidden], and where its sequence lies."""
        runs = runs_of([len(sequence) for sequence in sequences])
        x = self._embed(sequences, runs)
        for layer in self._layers:
            x = self._whole(layer, x, runs)
        return x, runs

    def _embed(self, sequences: Sequence[Sequence[int]], runs: Sequence[Run]) -> Tensor:
        device = self._words.device
        ids = torch.tensor([token for sequence in sequences for token in sequence], device=device)
        first = self.first_position
        positions = torch.cat([torch.arange(first, first + run.length).repeat(run.count) for run in runs])
        x = F.embedding(ids, self._words).add_(F.embedding(positions.to(device), self._positions))
        return self._norm(x)

    def _whole(self, layer: Layer, x: Tensor, runs: Sequence[Run]) -> Tensor:
        """One layer for every row."""
        query_key_value = layer.query_key_value(x)
        return self._rest(layer, x, self._attend(query_key_value, runs))

    def _first(self, layer: Layer, x: Tensor, runs: Sequence[Run]) -> Tensor:
        """One layer for the first row of each sequence; these attend to all rows."""
        starts = [torch.arange(run.start, run.start + run.count * run.length, run.length) for run in runs]
        first = x[torch.cat(starts).to(x.device)]
        query, key_value = layer.query(first), layer.key_value(x)
        attended, row = [], 0
        for run in runs:
            keys = key_value[run.start : run.start + run.count * run.length]
            key, value = keys.view(run.count, run.length, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
            one = query[row : row + run.count].view(run.count, self.heads, 1, -1)
            attended.append(F.scaled_dot_product_attention(one, key, value).reshape(run.count, -1))
            row += run.count
        return self._rest(layer, first, torch.cat(attended))

    def _attend(self, query_key_value: Tensor, runs: Sequence[Run]) -> Tensor:
        attended = []
        for run in runs:
            rows = query_key_value[run.start : run.start + run.count * run.length]
            query, key, value = rows.view(run.count, run.length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            result = F.scaled_dot_product_attention(query, key, value)
            attended.append(result.transpose(1, 2).reshape(run.count * run.length, -1))
        return torch.cat(attended)

    def _rest(self, layer: Layer, x: Tensor, attended: Tensor) -> Tensor:
        x = layer.attention_norm(layer.attention_output(attended).add_(x))
        return layer.output_norm(layer.down(self._activation(layer.up(x))).add_(x))


def _layer(weights: Weights, names: Names, index: int, epsilon: float) -> Layer:
    at = names.layer.format(index)
    query, key, value = (at + name for name in (names.query, names.key, names.value))
    fused = weights.linear(query, key, value)
    width = fused.weight.shape[0] // 3
    return Layer(
        # Views of the fused weights: nothing is stored twice.
        query=Linear(fused.weight[:width], fused.bias[:width]),
        key_value=Linear(fused.weight[width:], fused.bias[width:]),
        query_key_value=fused,
        attention_output=weights.linear(at + names.attention_output),
        attention_norm=weights.norm(at + names.attention_norm, epsilon),
        up=weights.linear(at + names.up),
        down=weights.linear(at + names.down),
        output_norm=weights.norm(at + names.output_norm, epsilon),
    )


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name not in ACTIVATIONS:
        raise PermanentError(
            f"activation {printable(name)!r} is not supported; supported are {', '.join(ACTIVATIONS)}",
            code="UNSUPPORTED_MODEL",
        )
    return ACTIVATIONS[name]


def _setting(config: Mapping[str, Any], *names: str) -> Any:
    """The value of the first of `names` that config.json has: architectures name the same thing differently."""
    for name in names:
        if name in config:
            return config[name]
    raise PermanentError(f"config.json has no {names[0]!r}", code="NOT_A_MODEL")


def _modern(name: str) -> str:
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
