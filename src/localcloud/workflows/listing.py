"""Which resources does a list request ask for, in which order, and where does its page end?"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from localcloud.workflows.errors import invalid
from localcloud.workflows.filters import Field, Fields

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """One page, the token of the next one, and how many resources there are on all."""

    items: Sequence[_T]
    next_token: str
    total: int


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
        if size < 0:
            raise invalid(f"page_size is negative: {size}")
        if skip < 0:
            raise invalid(f"skip is negative: {skip}")
        passes = self.fields.predicate(filter_text)
        chosen = self._ordered([each for each in resources if passes(each)], order_by)
        # A token is of its list only: all else in the request has to be the same.
        mark = hashlib.sha256(json.dumps([filter_text, order_by]).encode()).hexdigest()[:8]
        first = self._after(chosen, token, mark) + skip
        last = first + min(size or self.default, self.most if most is None else most)
        more = last < len(chosen)
        return Page(chosen[first:last], _token(self.key(chosen[last - 1]), mark) if more else "", len(chosen))

    def _after(self, chosen: Sequence[_T], token: str, mark: str) -> int:
        if not token:
            return 0
        try:
            key, given = json.loads(base64.urlsafe_b64decode(token.encode()))
        except (ValueError, TypeError) as error:
            raise invalid("page_token is malformed") from error
        keys = [self.key(each) for each in chosen]
        if given != mark or key not in keys:
            raise invalid("page_token is of another list; repeat the request that gave it, with the token alone added")
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


def _token(key: str, mark: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([key, mark]).encode()).decode()
