"""Is the split a pure function of the sentences, and does it keep apart what belongs apart?"""

import io
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from models import vader
from models.vader import Split


def a_sentence(text: str, group: str) -> vader.Sentence:
    return vader.Sentence(id="movie-1", text=text, label="positive", source="movie", group=group)


def a_group_in(part: Split, prefix: str = "amazon") -> str:
    return next(name for n in range(1000) if vader.split_of(name := f"{prefix}/{n}") is part)


def an_sdist(path: Path, **files: str) -> Path:
    resources = io.BytesIO()
    names = dict.fromkeys(("tweets", "movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets"), "")
    with tarfile.open(fileobj=resources, mode="w:gz") as tar:
        for name, text in (names | files).items():
            add(tar, f"hutto_ICWSM_2014/{name}_GroundTruth.txt", text.encode())
    with tarfile.open(path, mode="w:gz") as tar:
        root = "vaderSentiment-3.3.2/additional_resources"
        add(tar, f"{root}/hutto_ICWSM_2014.tar.gz", resources.getvalue())
    return path


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def test_a_rating_becomes_a_label_and_a_neutral_sentence_is_left_out(tmp_path: Path) -> None:
    sdist = an_sdist(
        tmp_path / "sdist.tar.gz",
        tweets="7\t2.5\tLove  it &lt;3\r\n8\t-0.5\tMeh.\r\n9\t0.5\tFine.\r\n",
        amazonReviewSnippets="17_3\t-1.2\tit broke.\r\n",
    )

    assert vader.sentences(sdist) == [
        vader.Sentence("tweet-7", "Love it <3", "positive", "tweet", group="love it 3"),
        vader.Sentence("amazon-17_3", "it broke.", "negative", "amazon", group="amazon/17"),
    ]


def test_the_split_of_a_group_never_changes() -> None:
    # Pinned: another split would put sentences of the shipped examples into the next training run.
    assert [vader.split_of(f"amazon/{n}") for n in (1, 11, 13, 14)] == [
        Split.TRAIN,
        Split.TEST,
        Split.TRAIN,
        Split.TEST,
    ]


def test_about_a_tenth_of_the_groups_is_held_out_for_each_of_validation_and_test() -> None:
    counts = Counter(vader.split_of(f"group {n}") for n in range(10_000))

    assert counts[Split.TEST] == pytest.approx(1000, rel=0.1)
    assert counts[Split.VALIDATION] == pytest.approx(1000, rel=0.1)


def test_sentences_of_one_document_stay_together() -> None:
    groups = {vader.group_of("amazon", f"17_{n}", f"sentence {n}") for n in range(20)}

    assert groups == {"amazon/17"}


@pytest.mark.parametrize(
    "variant", ["so good!!!", "So, GOOD", " so   good :)"], ids=["punctuation", "case", "spacing and smiley"]
)
def test_variants_of_one_wording_stay_together(variant: str) -> None:
    assert vader.group_of("tweet", "1", variant) == vader.group_of("tweet", "2", "so good")


def test_a_wording_that_is_held_out_is_dropped_from_training() -> None:
    shared = [a_sentence("Wow!", a_group_in(part)) for part in Split]

    parts = vader.split(shared)

    assert parts == {Split.TEST: [shared[list(Split).index(Split.TEST)]], Split.VALIDATION: [], Split.TRAIN: []}


def test_a_held_out_wording_counts_once_and_training_keeps_its_variants() -> None:
    for part, kept in ((Split.TEST, 1), (Split.VALIDATION, 1), (Split.TRAIN, 2)):
        group = a_group_in(part)

        assert len(vader.split([a_sentence("Wow", group), a_sentence("wow!!", group)])[part]) == kept
