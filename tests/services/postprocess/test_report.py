"""The page stays readable whatever the model's labels are."""

from __future__ import annotations

import pyarrow as pa
import pytest

from services.postprocess import report, summary
from services.postprocess.tally import EXAMPLES, Tally
from tests.services.postprocess.attempts import a_request
from tests.services.postprocess.crashing_objects import CrashingObjects
from zeroidle.contracts import codec, shards


def a_page(objects: CrashingObjects, classes: list[str], records: int) -> tuple[str, Tally]:
    """The report of records whose labels go round the classes, each expected to be the one before."""
    request = a_request(1)
    manifest = codec.decode(objects.read(request.work.child(shards.MANIFEST))[0], shards.Manifest)
    told = shards.PredictionMetadata(
        task="text-classification", labels=classes, model="m@1", model_sha256="ab" * 32, device="cpu", dtype="float32",
        records=records, tokens=1, truncated=0, elapsed_s=1.0,
    )  # fmt: skip
    rows = range(records)
    lines, labels = pa.array(rows, pa.int64()), [classes[row % len(classes)] for row in rows]
    expected = [classes[(row - 1) % len(classes)] for row in rows]
    inputs = pa.table({shards.LINE: lines, shards.TEXT: [f"text {row}" for row in rows], shards.LABEL: expected})
    scores = pa.array([(row + 1) / records for row in rows], pa.float32())
    tally = Tally()
    tally.add(inputs, pa.table({shards.LABEL: labels, shards.SCORE: scores}), classes)
    result = summary.build(request, manifest, [told], tally, started=100.0, now=105.0)
    return report.render(result, tally, []), tally


def test_of_a_thousand_classes_the_most_frequent_are_shown_and_the_others_together(objects: CrashingObjects) -> None:
    page, tally = a_page(objects, [f"class-{number:03}" for number in range(1000)], 2010)

    assert len(page) < 100_000
    assert "988 more" in page
    assert "The 12 most frequent of 1,000 classes" in page
    assert "surely class-000" in page  # one of those that come three times
    assert "surely class-999" not in page
    assert tally.labels.total() == sum(counts.sum() for counts in tally.histogram.values()) == 2010


def test_a_model_with_one_label_has_a_report(objects: CrashingObjects) -> None:
    page, _ = a_page(objects, ["toxic"], 10)

    assert "surely toxic" in page
    assert "more</span>" not in page


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        pytest.param("<script>", "&lt;script&gt;", id="tag"),
        pytest.param('" onload="x', "&#34; onload=&#34;x", id="attribute"),
        pytest.param("{{ 7 * 7 }}", "{{ 7 * 7 }}", id="template"),
    ],
)
def test_labels_are_escaped(objects: CrashingObjects, label: str, shown: str) -> None:
    page, _ = a_page(objects, [label, "other"], 10)

    assert shown in page
    assert label == shown or label not in page


def test_the_surest_examples_of_a_label_come_from_all_shards() -> None:
    tally = Tally()
    for shard in range(3):
        rows = range(shard * 10, shard * 10 + 10)
        lines = pa.array(rows, pa.int64())
        inputs = pa.table({shards.LINE: lines, shards.TEXT: ["t"] * 10, shards.LABEL: pa.nulls(10, pa.string())})
        scores = pa.array([((row * 7) % 30) / 30 for row in rows], pa.float32())
        tally.add(inputs, pa.table({shards.LABEL: ["a", "b"] * 5, shards.SCORE: scores}), ["a", "b"])

    for label, offset in (("a", 0), ("b", 1)):
        best = sorted(((row * 7) % 30 / 30 for row in range(30) if row % 2 == offset), reverse=True)
        assert [example.score for example in tally.surest[label]] == pytest.approx(best[:EXAMPLES])
