"""Which directories are models, and what their index says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from zeroidle.contracts import codec
from zeroidle.contracts.models import ModelIndex, describe, files_sha256, newest
from zeroidle.errors import PermanentError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """What counts of a model here: names and architecture; nobody reads the weights."""
    path = tmp_path / "Sentiment"
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"architectures": ["BertForSequenceClassification"]}))
    (path / "tokenizer.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"weights")
    return path


def test_the_index_lists_every_file_with_its_hash(directory: Path) -> None:
    (directory / "optimizer.pt").write_bytes(b"left behind")

    index = describe(directory, version="2", accuracy={"movie": 0.8})

    assert (index.name, index.version, index.task) == ("sentiment", "2", "text-classification")
    assert set(index.files) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert index.files["model.safetensors"] == hashlib.sha256(b"weights").hexdigest()
    assert index.sha256 == files_sha256(index.files)
    assert codec.decode(codec.encode(index), ModelIndex) == index


def test_any_change_of_a_file_changes_the_hash_of_the_whole(directory: Path) -> None:
    before = describe(directory).sha256
    (directory / "tokenizer.json").write_text("{ }")

    assert describe(directory).sha256 != before


def test_weights_in_several_files_are_all_listed(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for shard in shards:
        (directory / shard).write_bytes(shard.encode())
    weight_map = {"weight_map": {"a": shards[0], "b": shards[1], "c": shards[1]}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(weight_map))

    assert {*shards, "model.safetensors.index.json"} < set(describe(directory).files)

    (directory / shards[1]).unlink()
    with pytest.raises(PermanentError, match="names weights that are not there"):
        describe(directory)


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "model.pt", "weights.pkl", "last.ckpt"])
def test_pickled_weights_are_refused_with_a_way_out(pickle: str, directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / pickle)

    with pytest.raises(PermanentError, match="a pickle runs code") as raised:
        describe(directory)

    assert raised.value.code == "PICKLED_WEIGHTS"
    assert "safe_serialization=True" in raised.value.hint


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(missing: str, directory: Path) -> None:
    (directory / missing).unlink()

    with pytest.raises(PermanentError, match=f"has no {missing}"):
        describe(directory)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        pytest.param({"architectures": ["LlamaForCausalLM"]}, "LlamaForCausalLM is not supported", id="another family"),
        pytest.param({}, "None is not supported", id="none named"),
        pytest.param({"architectures": [["x"]]}, "is not supported", id="no name"),
        pytest.param([], "is not a JSON object", id="no object"),
    ],
)
def test_an_architecture_that_cannot_be_run_is_refused(config: object, problem: str, directory: Path) -> None:
    (directory / "config.json").write_text(json.dumps(config))

    with pytest.raises(PermanentError, match=problem):
        describe(directory)


def test_the_supported_architectures_are_in_the_hint(directory: Path) -> None:
    (directory / "config.json").write_text("{}")

    with pytest.raises(PermanentError) as raised:
        describe(directory)

    assert "DistilBertForTokenClassification" in raised.value.hint


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        pytest.param(["9", "10"], "10", id="numbers"),
        pytest.param(["1.9", "1.10", "1.2"], "1.10", id="dotted"),
        pytest.param(["v2", "v10"], "v10", id="with a letter"),
        pytest.param(["2026-01-31", "2026-02-01"], "2026-02-01", id="dates"),
        pytest.param([], None, id="none"),
    ],
)
def test_the_newest_version_is_the_highest_in_natural_order(versions: list[str], expected: str | None) -> None:
    assert newest(versions) == expected
    assert newest(reversed(versions)) == expected
