"""Are the example files what examples/README.md says, and were they held out of training?"""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from models import vader

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def reviews() -> list[dict[str, str]]:
    return [json.loads(line) for line in (EXAMPLES / "reviews.jsonl").read_text("utf-8").splitlines()]


def test_every_review_has_an_id_a_text_a_label_and_a_source(reviews: list[dict[str, str]]) -> None:
    for review in reviews:
        assert set(review) == {"id", "text", "label", "source"}
        assert review["text"].strip() == review["text"] != ""
        assert review["label"] in vader.LABELS
        assert review["source"] in ("movie", "amazon")


def test_there_are_a_thousand_reviews_or_more_and_no_id_twice(reviews: list[dict[str, str]]) -> None:
    assert len({review["id"] for review in reviews}) == len(reviews) >= 1000


def test_both_labels_are_well_represented(reviews: list[dict[str, str]]) -> None:
    counts = Counter(review["label"] for review in reviews)

    assert min(counts.values()) > 0.4 * len(reviews)


def test_every_review_belongs_to_the_test_split(reviews: list[dict[str, str]]) -> None:
    for review in reviews:
        number = review["id"].removeprefix(f"{review['source']}-")
        group = vader.group_of(review["source"], number, review["text"])

        assert vader.split_of(group) is vader.Split.TEST


def test_training_would_drop_every_wording_of_the_reviews(reviews: list[dict[str, str]]) -> None:
    held_out = [
        vader.Sentence(
            id=review["id"],
            text=review["text"],
            label=review["label"],
            source=review["source"],
            group=vader.group_of(review["source"], review["id"].removeprefix(f"{review['source']}-"), review["text"]),
        )
        for review in reviews
    ]
    elsewhere = [vader.Sentence(row.id, row.text.upper(), row.label, "tweet", group="amazon/1") for row in held_out]

    parts = vader.split([*elsewhere, *held_out])

    assert vader.split_of("amazon/1") is vader.Split.TRAIN
    assert parts[vader.Split.TRAIN] == []
    assert parts[vader.Split.TEST] == held_out


def test_the_products_have_their_text_in_a_column_of_another_name() -> None:
    with (EXAMPLES / "products.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    assert list(rows[0]) == ["order", "product", "review", "stars", "bought_on"]
    assert all(row["review"].strip() for row in rows)
    assert len(rows) == 20


@pytest.mark.slow
def test_the_sign_can_be_read() -> None:
    ocr = pytest.importorskip("rapidocr_onnxruntime", reason="the preprocess unit's OCR is not installed")

    found, _ = ocr.RapidOCR()(str(EXAMPLES / "sign.png"))

    assert [text for _, text, _ in found] == [
        "The lift is broken again,",
        "the stairs are dirty,",
        "and nobody says sorry.",
    ]
