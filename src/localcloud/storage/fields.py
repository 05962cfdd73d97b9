"""Which parts of an answer did the caller ask for? Partial responses: `fields=items(name,size),nextPageToken`.

A field that the answer lacks is left out without a word; the real service refuses names that its schema lacks.
https://cloud.google.com/storage/docs/json_api#partial-response
"""

from __future__ import annotations

from typing import Any

from localcloud.storage.errors import StorageError, invalid, printable

MAX_DEPTH = 20
Selection = dict[str, "Selection"]  # an empty one selects everything below


def select(value: dict[str, Any], text: str | None) -> dict[str, Any]:
    """What `text` selects of a JSON object; all of it if there is no selection. Raises StorageError 400."""
    if not text:
        return value
    chosen = _pick(value, _Parser(text).selection())
    assert isinstance(chosen, dict)  # noqa: S101  # a dict comes out where one goes in
    return chosen


def _pick(value: Any, selection: Selection) -> Any:
    if not selection or not isinstance(value, (dict, list)):
        return value
    if isinstance(value, list):
        return [_pick(element, selection) for element in value]
    if "*" in selection:
        return {name: _pick(member, selection["*"]) for name, member in value.items()}
    return {name: _pick(value[name], below) for name, below in selection.items() if name in value}


class _Parser:
    """`list = path ("," path)*`, `path = name ("/" path | "(" list ")")?`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def selection(self) -> Selection:
        selection = self._list(0)
        if self._position < len(self._text):
            raise self._error()
        return selection

    def _list(self, depth: int) -> Selection:
        if depth > MAX_DEPTH:
            raise self._error()
        selection: Selection = {}
        while True:
            name, below = self._path(depth)
            known = selection.get(name)
            # "a,a/b" is all of a.
            selection[name] = below if known is None else _joined(known, below)
            if not self._takes(","):
                return selection

    def _path(self, depth: int) -> tuple[str, Selection]:
        start = self._position
        while self._position < len(self._text) and self._text[self._position] not in ",/()":
            self._position += 1
        name = self._text[start : self._position].strip()
        if not name:
            raise self._error()
        below: Selection = {}
        if self._takes("/"):
            if depth > MAX_DEPTH:
                raise self._error()
            inner, under = self._path(depth + 1)
            below = {inner: under}
        elif self._takes("("):
            below = self._list(depth + 1)
            if not self._takes(")"):
                raise self._error()
        return name, below

    def _takes(self, character: str) -> bool:
        taken = self._text.startswith(character, self._position)
        self._position += taken
        return taken

    def _error(self) -> StorageError:
        return invalid(f"Invalid field selection {printable(self._text)}", ("parameter", "fields"))


def _joined(one: Selection, other: Selection) -> Selection:
    if not one or not other:
        return {}
    return {
        name: _joined(one[name], other[name]) if name in one and name in other else {**one, **other}[name]
        for name in {**one, **other}
    }
