"""How are the columns of a table in text delimited?"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass

DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The delimiter, and how many columns the first row has by it."""

    delimiter: str
    width: int


def sniff(lines: Sequence[bytes]) -> Dialect:
    """The delimiter by which most rows are as wide as the first, and then the one that gives the most columns.

    Width 1 (and a comma) if none divides the first row, or if the widths by it agree in less than half of the rows.
    """
    texts = [line.decode(errors="replace").rstrip("\r") + "\n" for line in lines]
    best, best_score = Dialect(",", 1), (0.5, 1)
    for delimiter in DELIMITERS:
        rows = [row for row in csv.reader(texts, delimiter=delimiter) if row]
        if not rows or len(rows[0]) == 1:
            continue
        width = len(rows[0])
        score = (sum(len(row) == width for row in rows) / len(rows), width)
        if score > best_score:
            best, best_score = Dialect(delimiter, width), score
    return best
