"""Which objects does a listing show, page by page?

https://cloud.google.com/storage/docs/json_api/v1/objects/list
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left, bisect_right
from collections.abc import Mapping

import msgspec
import re2

from localcloud.storage.errors import invalid
from localcloud.storage.index import Index
from localcloud.storage.preconditions import flag, number
from localcloud.storage.resources import StoredObject

MAX_RESULTS = 1000


class Query(msgspec.Struct, frozen=True):
    """What to list. `delimiter` folds names that have it after the prefix; `versions` shows noncurrent ones too."""

    prefix: str = ""
    delimiter: str = ""
    start: str = ""  # first name, inclusive
    end: str = ""  # last name, exclusive; empty for none
    glob: str = ""
    versions: bool = False
    trailing_delimiter: bool = False
    max_results: int = MAX_RESULTS
    page_token: str = ""
    soft_deleted: bool = False  # instead of what is there: what can be restored

    @classmethod
    def from_parameters(cls, query: Mapping[str, str]) -> Query:
        """The parameters of a request. Raises StorageError 400."""
        limit = number(query, "maxResults")
        if "filter" in query:
            raise invalid(
                "filter is not emulated: objects cannot be listed by their contexts.", ("parameter", "filter")
            )
        soft_deleted = flag(query, "softDeleted")
        versions = flag(query, "versions")
        if soft_deleted and versions:
            raise invalid("softDeleted and versions exclude each other.", ("parameter", "softDeleted"))
        return cls(
            prefix=query.get("prefix", ""),
            delimiter=query.get("delimiter", ""),
            start=query.get("startOffset", ""),
            end=query.get("endOffset", ""),
            glob=query.get("matchGlob", ""),
            versions=versions or soft_deleted,
            trailing_delimiter=flag(query, "includeTrailingDelimiter"),
            max_results=min(limit or MAX_RESULTS, MAX_RESULTS),
            page_token=query.get("pageToken", ""),
            soft_deleted=soft_deleted,
        )


class Page(msgspec.Struct):
    """One page: objects and folded prefixes, both in order; the token of the next page, empty at the end."""

    items: list[StoredObject] = []
    prefixes: list[str] = []
    next_token: str = ""


def list_page(index: Index, query: Query) -> Page:
    """One page of the bucket. Costs what the page shows, not what the bucket holds."""
    page = Page()
    matches = _glob(query.glob) if query.glob else None
    name, generation = decode_token(query.page_token)
    position = bisect_left(index.names, max(name, query.start, query.prefix))
    shown = 0
    while position < len(index.names):
        name = index.names[position]
        if not name.startswith(query.prefix) or (query.end and name >= query.end):
            break
        versions = index.versions(name) if query.versions else _live(index, name)
        if generation:  # the last page ended within the versions of this name
            versions = [item for item in versions if item.generation > generation]
            generation = 0
        if not versions or (matches is not None and not matches.fullmatch(name)):
            position += 1
            continue
        folded = _folded(name, query)
        if folded:
            items = versions if query.trailing_delimiter and name == folded else []
            # A folder and its own object stay together, even on a page of one.
            if shown and shown + len(items) + 1 > query.max_results:
                page.next_token = encode_token(name)
                return page
            page.items += items
            page.prefixes.append(folded)
            shown += len(items) + 1
            position = bisect_right(index.names, folded, position, key=lambda name: name[: len(folded)])
            continue
        for item in versions:
            if shown == query.max_results:
                page.next_token = _resume_at(page, name)
                return page
            page.items.append(item)
            shown += 1
        position += 1
    return page


def encode_token(name: str, generation: int = 0) -> str:
    """A page token: go on at `name`, behind its version `generation`."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode((name, generation))).decode()


def decode_token(token: str) -> tuple[str, int]:
    """Raises StorageError 400."""
    if not token:
        return "", 0
    try:
        data = base64.b64decode(token, altchars=b"-_", validate=True)
        return msgspec.msgpack.decode(data, type=tuple[str, int])
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise invalid(f"Invalid page token: {token[:60]!r}.", ("parameter", "pageToken")) from error


def _resume_at(page: Page, name: str) -> str:
    last = page.items[-1] if page.items else None
    return encode_token(name, last.generation if last is not None and last.name == name else 0)


def _live(index: Index, name: str) -> list[StoredObject]:
    item = index.live.get(name)
    return [] if item is None else [item]


def _folded(name: str, query: Query) -> str:
    """The prefix that stands for the name, or nothing."""
    if not query.delimiter:
        return ""
    end = name.find(query.delimiter, len(query.prefix))
    return "" if end < 0 else name[: end + len(query.delimiter)]


def _glob(pattern: str) -> re2._Regexp:
    """A glob as a regular expression: `*` and `?` stay within a folder, `**` does not. Raises StorageError 400."""
    try:
        # RE2: a hostile pattern takes linear time.
        return re2.compile(_translate(pattern))
    except re2.error as error:
        raise invalid(f"Invalid matchGlob: {pattern[:60]!r}.", ("parameter", "matchGlob")) from error


def _translate(pattern: str) -> str:
    result, position, depth = ["(?s)"], 0, 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if pattern.startswith("**/", position - 1):
            result.append("(?:.*/)?")
            position += 2
        elif pattern.startswith("**", position - 1):
            result.append(".*")
            position += 1
        elif character == "*":
            result.append("[^/]*")
        elif character == "?":
            result.append("[^/]")
        elif character == "[" and (end := pattern.find("]", position + 1)) > 0:
            members = pattern[position:end]
            negated = "^" if members[0] in "!^" else ""
            result.append(f"[{negated}{re2.escape(members[len(negated) :]).replace(chr(92) + '-', '-')}]")
            position = end + 1
        elif character == "{":
            result.append("(?:")
            depth += 1
        elif character == "}" and depth:
            result.append(")")
            depth -= 1
        elif character == "," and depth:
            result.append("|")
        elif character == "\\" and position < len(pattern):
            result.append(re2.escape(pattern[position]))
            position += 1
        else:
            result.append(re2.escape(character))
    return "".join(result)
