"""May this request act on what is stored now?

https://cloud.google.com/storage/docs/request-preconditions
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from localcloud.storage.errors import condition_not_met, invalid, not_modified

_INT64_MAX = 2**63 - 1


class Versioned(Protocol):
    """Anything with a generation and a metageneration."""

    @property
    def generation(self) -> int: ...

    @property
    def metageneration(self) -> int: ...


class Preconditions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What must hold, or None for no condition. As a generation, 0 stands for "there is no live version"."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    def check(self, current: Versioned | None, *, reading: bool = False) -> None:
        """Raises StorageError: 412 where a condition does not hold, 304 for a read that has what it wants already."""
        unchanged = not_modified if reading else condition_not_met
        generation = 0 if current is None else current.generation
        metageneration = 0 if current is None else current.metageneration
        if self.generation_match is not None and self.generation_match != generation:
            raise condition_not_met("If-Match")
        if self.metageneration_match is not None and self.metageneration_match != metageneration:
            raise condition_not_met("If-Match")
        if self.generation_not_match is not None and self.generation_not_match == generation:
            raise unchanged("If-None-Match")
        if self.metageneration_not_match is not None and self.metageneration_not_match == metageneration:
            raise unchanged("If-None-Match")


NONE = Preconditions()


def from_query(query: Mapping[str, str], infix: str = "") -> Preconditions:
    """The conditions of a request; with `infix` "Source" those on the object that is copied."""
    if not any(name.startswith("if") for name in query):
        return NONE
    return Preconditions(
        generation_match=number(query, f"if{infix}GenerationMatch"),
        generation_not_match=number(query, f"if{infix}GenerationNotMatch"),
        metageneration_match=number(query, f"if{infix}MetagenerationMatch"),
        metageneration_not_match=number(query, f"if{infix}MetagenerationNotMatch"),
    )


def flag(query: Mapping[str, str], name: str) -> bool:
    """Whether a parameter is true, however it is written."""
    return query.get(name, "").lower() == "true"


def number(query: Mapping[str, str], name: str) -> int | None:
    """A parameter that is a non-negative int64, or None. Raises StorageError 400."""
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > _INT64_MAX:
        raise invalid(f"Invalid value for {name}: {text[:40]!r}, expected a non-negative integer.", ("parameter", name))
    return int(text)
