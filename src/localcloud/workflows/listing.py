"""Which resources does a list request ask for, in which order, and where does its page end?"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from localcloud.workflows.errors import ApiError, invalid
from localcloud.workflows.filters import Field, Fields

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """One page, the token of the next one, and how many resources there are on all, where that is known."""

    items: Sequence[_T]
    next_token: str
    total: int | None


@dataclass(frozen=True, slots=True)
class Listing(Generic[_T]):
    """How a kind of resource is listed. `key` names one within the list, `default` and `most` are sizes of a page."""

    fields: Fields
    order: Sequence[str]  # fields that may be ordered by
    key: Callable[[_T], str]
    default: int
    most: int

    def page(
        self,
        resources: Sequence[_T],
        *,
        filter_text: str = "",
        order_by: str = "",
        size: int = 0,
        token: str = "",
        skip: int = 0,
        most: int | None = None,
    ) -> Page[_T]:
        """One page of `resources`, which come in the order that holds where none is asked for.

        Raises:
            ApiError: INVALID_ARGUMENT.
        """
        if skip < 0:
            raise invalid(f"skip is negative: {skip}")
        count = self._count(size, most)
        passes = self.fields.predicate(filter_text)
        chosen = self._ordered([each for each in resources if passes(each)], order_by)
        # A token is of its list only: all else in the request has to be the same.
        kind = _kind(filter_text, order_by)
        first = self._after(chosen, token, kind) + skip
        last = first + count
        more = last < len(chosen)
        return Page(chosen[first:last], _token(self.key(chosen[last - 1]), kind) if more else "", len(chosen))

    def next_page(
        self,
        parent: str,
        behind: Callable[[str], Iterator[tuple[str, _T]]],
        *,
        size: int = 0,
        token: str = "",
        most: int | None = None,
    ) -> Page[_T]:
        """One page of all resources of a parent in the order that holds where none is asked for; no more are read.

        `behind` gives the resources behind a mark, each with its own; an empty mark is the beginning.

        Raises:
            ApiError: INVALID_ARGUMENT.
        """
        count, kind = self._count(size, most), _kind(parent)
        found = list(islice(behind(_mark(token, kind) if token else ""), count + 1))
        more = len(found) > count
        return Page([each for _, each in found[:count]], _token(found[count - 1][0], kind) if more else "", None)

    def _count(self, size: int, most: int | None) -> int:
        if size < 0:
            raise invalid(f"page_size is negative: {size}")
        return min(size or self.default, self.most if most is None else most)

    def _after(self, chosen: Sequence[_T], token: str, kind: str) -> int:
        if not token:
            return 0
        keys, key = [self.key(each) for each in chosen], _mark(token, kind)
        if key not in keys:
            raise _another_list()
        return keys.index(key) + 1

    def _ordered(self, chosen: list[_T], order_by: str) -> list[_T]:
        # Stable sorts, the least significant field first.
        for part in reversed([part.split() for part in order_by.split(",") if part.strip()]):
            if len(part) > 2 or (len(part) == 2 and part[1] not in ("asc", "desc")):
                raise invalid(f"order_by {' '.join(part)[:80]!r} is not <field> [asc|desc]")
            if part[0] not in self.order:
                raise invalid(f"order_by: {part[0][:80]!r} is not one of {', '.join(self.order)}")
            chosen = sorted(chosen, key=_sort_key(self.fields.find(part[0])), reverse=part[-1] == "desc")
        return chosen


def _sort_key(field: Field) -> Callable[[Any], tuple[bool, Any]]:
    def key(resource: Any) -> tuple[bool, Any]:
        value = field.read(resource)
        return value is None, value

    return key


def _kind(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


def _token(mark: str, kind: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([mark, kind]).encode()).decode()


def _mark(token: str, kind: str) -> str:
    """What the token of a list of this kind points behind. Raises ApiError INVALID_ARGUMENT."""
    try:
        mark, given = json.loads(base64.urlsafe_b64decode(token.encode()))
        mark.encode()
    except (ValueError, TypeError, AttributeError) as error:
        raise invalid("page_token is malformed") from error
    if given != kind:
        raise _another_list()
    return str(mark)


def _another_list() -> ApiError:
    return invalid("page_token is of another list; repeat the request that gave it, with the token alone added")
