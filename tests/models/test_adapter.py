"""Does an adapter change exactly what it names, and is one that does not fit refused?"""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from models.adapter import AdapterError, as_classifier, merge
from models.build import ADAPTER
from models.encoder import SHA256

WEIGHT = "bert.encoder.layer.0.output.dense.weight"
ENCODER = {WEIGHT: torch.ones(4, 6), "bert.pooler.dense.bias": torch.zeros(4)}
DOWN, UP = torch.full((2, 6), 0.5), torch.full((4, 2), 3.0)


def test_a_low_rank_pair_is_added_to_its_weight() -> None:
    merged = merge(ENCODER, {f"{WEIGHT}.down": DOWN.half(), f"{WEIGHT}.up": UP.half()})

    assert torch.equal(merged[WEIGHT], torch.full((4, 6), 1.0 + 2 * 0.5 * 3.0))


def test_a_whole_tensor_replaces_or_comes_in_addition() -> None:
    merged = merge(ENCODER, {"bert.pooler.dense.bias": torch.ones(4).half(), "classifier.bias": torch.ones(2)})

    assert torch.equal(merged["bert.pooler.dense.bias"], torch.ones(4))
    assert set(merged) == {*ENCODER, "classifier.bias"}


def test_the_encoder_itself_is_left_as_it_was() -> None:
    merge(ENCODER, {f"{WEIGHT}.down": DOWN, f"{WEIGHT}.up": UP})

    assert torch.equal(ENCODER[WEIGHT], torch.ones(4, 6))


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        pytest.param({f"{WEIGHT}.down": DOWN}, r"without its \.up half", id="no up"),
        pytest.param({f"{WEIGHT}.up": UP}, r"without its \.down half", id="no down"),
        pytest.param({"x.down": DOWN, "x.up": UP}, "which the encoder does not have", id="unknown weight"),
        pytest.param({f"{WEIGHT}.down": DOWN, f"{WEIGHT}.up": UP[:3]}, r"weight is \[4, 6\]", id="wrong rows"),
        pytest.param({f"{WEIGHT}.down": DOWN[:1], f"{WEIGHT}.up": UP}, r"\[4, 2\] by \[1, 6\]", id="ranks"),
        pytest.param({"bert.pooler.dense.bias": torch.ones(5)}, r"is \[5\], the encoder's \[4\]", id="vector"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(adapter: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        merge(ENCODER, adapter)


def test_an_encoder_takes_the_classifier_s_names_without_its_stored_positions() -> None:
    named = as_classifier({"embeddings.position_ids": torch.arange(2), "pooler.dense.bias": torch.zeros(4)})

    assert list(named) == ["bert.pooler.dense.bias"]


def test_the_shipped_adapter_is_small_and_updates_every_linear_layer() -> None:
    adapter = load_file(ADAPTER)
    linears = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
    linears += ("intermediate.dense", "output.dense")

    updated = {name.removesuffix(".weight.down") for name in adapter if name.endswith(".down")}

    assert updated == {f"bert.encoder.layer.{n}.{linear}" for n in range(6) for linear in linears}
    assert ADAPTER.stat().st_size < 2_000_000


def test_the_shipped_adapter_was_trained_on_the_encoder_that_is_pinned() -> None:
    with safe_open(ADAPTER, framework="pt") as file:
        assert file.metadata() == {"encoder_sha256": SHA256["model.safetensors"]}
