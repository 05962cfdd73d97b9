"""`text`. Regular expressions are RE2, leftmost-longest.

https://cloud.google.com/workflows/docs/reference/stdlib/text/replace_all_regex
"""

from __future__ import annotations

import functools
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

import re2

from localcloud.workflows import choices, values
from localcloud.workflows.errors import value_error
from localcloud.workflows.functions import expect, pure
from localcloud.workflows.values import Value

_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


def _text(value: Value, what: str = "source") -> str:
    return str(expect(value, str, what))


@functools.lru_cache(maxsize=256)
def _compiled(regexp: str) -> Any:
    options = re2.Options()
    options.longest_match = True
    options.log_errors = False
    try:
        return re2.compile(regexp, options)
    except re2.error as error:
        raise value_error(f"invalid regular expression {regexp!r}: {error}") from error


def _regexp(value: Value) -> Any:
    return _compiled(_text(value, "regexp"))


def _matches(pattern: Any, content: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each match in UTF-8, from left to right, as RE2 replaces all: no empty one right behind another.

    The binding's own iteration finds an empty match twice where it looks past characters for it.
    """
    at, last_end = 0, -1
    while at <= len(content) and (match := pattern.search(content, at)) is not None:
        start, end = match.span()
        if start != end or start != last_end:
            yield start, end
        last_end = at = end
        if start == end:  # on behind the next character
            at += 1
            while at < len(content) and content[at] & 0xC0 == 0x80:
                at += 1


def _decoded(content: bytes) -> str:
    return content.decode(errors="replace")  # `\C` matches a part of a character


@pure("text.encode")
def _encode(text: Value, charset: Value = "UTF-8") -> Value:
    try:
        return _text(text, "text").encode(_text(charset, "charset"))
    except (LookupError, ValueError) as error:  # a ValueError where the name has a NUL
        raise value_error(f"cannot encode as {charset!r}: {error}") from error


@pure("text.decode")
def _decode(data: Value, charset: Value = "UTF-8") -> Value:
    try:
        text = bytes(expect(data, bytes, "data")).decode(_text(charset, "charset"))
    except (LookupError, ValueError) as error:  # a ValueError where the name has a NUL
        raise value_error(f"cannot decode as {charset!r}: {error}") from error
    values.check_length(len(text))
    return values.without_surrogates(text)  # which UTF-7 and the like can write


@pure("text.find_all")
def _find_all(source: Value, substr: Value) -> Value:
    return [match.start() for match in re.finditer(re.escape(_text(substr, "substr")), _text(source))]


@pure("text.find_all_regex")
def _find_all_regex(source: Value, regexp: Value) -> Value:
    found, content, index, at = [], _text(source).encode(), 0, 0
    for start, end in _matches(_regexp(regexp), content):
        index, at = index + len(_decoded(content[at:start])), start  # counted in characters
        found.append({"index": index, "match": _decoded(content[start:end])})
    return found


@pure("text.match_regex")
def _match_regex(source: Value, regexp: Value) -> Value:
    return _regexp(regexp).search(_text(source)) is not None


@pure("text.replace_all")
def _replace_all(source: Value, substr: Value, repl: Value) -> Value:
    content, old, new = _text(source).encode(), _text(substr, "substr"), _text(repl, "repl")
    values.check_length(len(content) + source.count(old) * (len(new.encode()) - len(old.encode())))
    return source.replace(old, new)


@pure("text.replace_all_regex")
def _replace_all_regex(source: Value, regexp: Value, repl: Value) -> Value:
    replacement, content = _text(repl, "repl").encode(), _text(source).encode()
    parts, at, length = [], 0, len(content)
    for start, end in _matches(_regexp(regexp), content):
        parts += [content[at:start], replacement]
        at = end
        length += len(replacement) - (end - start)
    values.check_length(length)
    return _decoded(b"".join([*parts, content[at:]]))


@pure("text.split")
def _split(source: Value, separator: Value) -> Value:
    if not _text(separator, "separator"):
        raise choices.empty_separator()
    return _text(source).split(separator)


@pure("text.substring")
def _substring(source: Value, start: Value, end: Value) -> Value:
    text, first, last = _text(source), expect(start, int, "start"), expect(end, int, "end")
    if (problem := choices.substring_bounds(first, last, len(text))) is not None:
        raise problem
    return text[first:last]


@pure("text.to_lower")
def _to_lower(source: Value) -> Value:
    return _text(source).lower()


@pure("text.to_upper")
def _to_upper(source: Value) -> Value:
    return _text(source).upper()


@pure("text.url_encode")
def _url_encode(source: Value) -> Value:
    return urllib.parse.quote(_text(source), safe="")


@pure("text.url_encode_plus")
def _url_encode_plus(source: Value) -> Value:
    return urllib.parse.quote_plus(_text(source), safe="")


@pure("text.url_decode")
def _url_decode(source: Value) -> Value:
    if _BAD_ESCAPE.search(_text(source)):
        raise value_error(f"invalid URL escape in {source!r}")
    try:
        return urllib.parse.unquote_plus(source, errors="strict")
    except UnicodeDecodeError as error:
        raise value_error(f"the URL escapes in {source!r} are not UTF-8") from error
