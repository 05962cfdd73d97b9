"""How are the columns of a table in text delimited?"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass

DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The delimiter, how many columns the first row has by it, and which share of the others is as wide."""

    delimiter: str
    width: int
    agreement: float


def sniff(lines: Sequence[bytes]) -> Dialect:
    """The delimiter by which most rows are as wide as the first, and of several the one that gives the most columns.

    A comma and width 1 if none divides the first row.
    """
    # csv refuses a return within a row; where it stands says nothing about delimiters.
    texts = [line.decode(errors="replace").rstrip("\r").replace("\r", " ") + "\n" for line in lines]
    best = Dialect(",", 1, 0.0)
    for delimiter in DELIMITERS:
        try:
            header, *rows = [row for row in csv.reader(texts, delimiter=delimiter) if row] or [[]]
        except csv.Error:  # a cell beyond csv's limit
            continue
        agreement = sum(len(row) == len(header) for row in rows) / len(rows) if rows else 0.0
        if len(header) > 1 and (agreement, len(header)) > (best.agreement, best.width):
            best = Dialect(delimiter, len(header), agreement)
    return best
