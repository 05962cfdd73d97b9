"""What does an adapter change in its encoder?

An adapter is one safetensors file. Beside tensors that replace the encoder's or come in addition (biases, norms,
the classifier's head), named as in Hugging Face's ``BertForSequenceClassification``, it holds pairs
``<name>.down`` [rank, in] and ``<name>.up`` [out, rank], which stand for ``W + up @ down`` (LoRA: Hu et al., 2021,
arXiv:2106.09685, its scale multiplied into ``up``).
"""

from collections.abc import Mapping

import torch

DOWN, UP = ".down", ".up"


class AdapterError(ValueError):
    """The adapter does not fit the encoder."""


def as_classifier(encoder: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A bare encoder's tensors under the names they have in ``BertForSequenceClassification``."""
    # Old checkpoints store the positions 0, 1, 2, ... as a tensor; the classifier counts for itself.
    return {f"bert.{name}": tensor for name, tensor in encoder.items() if name != "embeddings.position_ids"}


def merge(encoder: Mapping[str, torch.Tensor], adapter: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The encoder's tensors with the adapter's changes, in fp32.

    Raises AdapterError when a pair is torn, a low-rank update names no tensor of the encoder, or shapes differ.
    """
    merged = {name: tensor.float() for name, tensor in encoder.items()}
    for name, tensor in adapter.items():
        if name.endswith(DOWN):
            weight = name.removesuffix(DOWN)
            merged[weight] = _updated(weight, merged.get(weight), tensor, adapter.get(weight + UP))
        elif not name.endswith(UP):
            merged[name] = _replaced(name, merged.get(name), tensor)
        elif name.removesuffix(UP) + DOWN not in adapter:
            raise AdapterError(f"the adapter has {name} without its {DOWN} half")
    return merged


def _updated(name: str, weight: torch.Tensor | None, down: torch.Tensor, up: torch.Tensor | None) -> torch.Tensor:
    if up is None:
        raise AdapterError(f"the adapter has {name}{DOWN} without its {UP} half")
    if weight is None:
        raise AdapterError(f"the adapter updates {name}, which the encoder does not have")
    if down.shape[0] != up.shape[1] or weight.shape != (up.shape[0], down.shape[1]):
        raise AdapterError(
            f"the adapter's update of {name} is {list(up.shape)} by {list(down.shape)}, "
            f"but the encoder's weight is {list(weight.shape)}"
        )
    # In fp64, so that the fp32 result does not depend on how a machine orders its sums.
    return (weight.double() + up.double() @ down.double()).float()


def _replaced(name: str, before: torch.Tensor | None, after: torch.Tensor) -> torch.Tensor:
    if before is not None and before.shape != after.shape:
        raise AdapterError(f"the adapter's {name} is {list(after.shape)}, the encoder's {list(before.shape)}")
    return after.float()
