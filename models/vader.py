"""Which labelled sentences are there, and which split does each belong to?

The sentences are the ground truth published with VADER (Hutto and Gilbert, ICWSM 2014; MIT licence), which lies
in the source distribution of the PyPI package ``vaderSentiment``: tweets, sentences of movie reviews, of Amazon
reviews and of New York Times editorials, each rated from -4 to 4 by some twenty people.
"""

import hashlib
import html
import io
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from models.pypi import Pin

SDIST = Pin(
    package="vaderSentiment",
    version="3.3.2",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    file="vaderSentiment-3.3.2.tar.gz",
)
_RESOURCES = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"

LABELS = ("negative", "positive")
NEUTRAL_BAND = 0.5
"""A mean rating at most this far from 0 has no clear label, and the sentence is left out."""

# What each file is called here. The ids of Amazon and NYT sentences are "<document>_<sentence>".
_FILES = {
    "tweet": "tweets",
    "movie": "movieReviewSnippets",
    "amazon": "amazonReviewSnippets",
    "nyt": "nytEditorialSnippets",
}
SOURCES = tuple(_FILES)


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Sentence:
    """One labelled sentence; `group` names what must not be torn over two splits."""

    id: str
    text: str
    label: str
    source: str
    group: str


def sentences(sdist: Path) -> list[Sentence]:
    """All clearly positive or negative sentences of the source distribution, in the order of its files."""
    resources = io.BytesIO(_member(io.BytesIO(sdist.read_bytes()), _RESOURCES))
    rows: list[Sentence] = []
    for source, name in _FILES.items():
        resources.seek(0)
        text = _member(resources, f"hutto_ICWSM_2014/{name}_GroundTruth.txt").decode("utf-8")
        rows += (row for line in text.splitlines() if (row := _sentence(source, line)))
    return rows


def group_of(source: str, number: str, text: str) -> str:
    """What must stay together: the document where the number names one ("17_3"), else the wording."""
    document, several, _ = number.partition("_")
    return f"{source}/{document}" if several else wording(text)


def split_of(group: str) -> Split:
    """The split of a group, by the hash of its name: 80 % train, 10 % validation, 10 % test."""
    bucket = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") % 10
    return {0: Split.TEST, 1: Split.VALIDATION}.get(bucket, Split.TRAIN)


def split(rows: Iterable[Sentence]) -> dict[Split, list[Sentence]]:
    """The sentences by split, no wording in two of them.

    The same words can occur in two documents ("wow"), whose groups fall into different splits: test keeps its
    sentence, then validation. These two also keep one sentence per wording, so that a tweet that was rated six
    times with one to six exclamation marks counts once.
    """
    by_split: dict[Split, list[Sentence]] = {Split.TEST: [], Split.VALIDATION: [], Split.TRAIN: []}
    ordered = list(rows)
    held_out: set[str] = set()
    for part in (Split.TEST, Split.VALIDATION):
        for row in ordered:
            words = wording(row.text)
            if split_of(row.group) is part and words not in held_out:
                held_out.add(words)
                by_split[part].append(row)
    by_split[Split.TRAIN] = [
        row for row in ordered if split_of(row.group) is Split.TRAIN and wording(row.text) not in held_out
    ]
    return by_split


def wording(text: str) -> str:
    """The words of a text alone: equal for texts that differ in case, punctuation or spacing."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _sentence(source: str, line: str) -> Sentence | None:
    number, rating, raw = line.split("\t", 2)
    if abs(float(rating)) <= NEUTRAL_BAND:
        return None
    text = " ".join(html.unescape(raw).split())
    return Sentence(
        id=f"{source}-{number}",
        text=text,
        label=LABELS[float(rating) > 0],
        source=source,
        group=group_of(source, number, text),
    )


def _member(archive: io.BytesIO, name: str) -> bytes:
    with tarfile.open(fileobj=archive, mode="r:gz") as tar:
        member = tar.extractfile(name)
        if member is None:
            raise ValueError(f"{name} is not a file of {SDIST.file}")
        return member.read()
