"""How is a JSON file read: one record, or a list of records or strings?

The list may also stand in an object, under one of WRAPPERS; if it is the first member it is streamed like a bare list,
by the decoder of the standard library, one record after the other. (ijson, the usual choice, builds a path for every
level: a file of 100 kB of opening brackets costs it gigabytes.)
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from itertools import chain, islice

from services.preprocess.encoding import encoding_of
from services.preprocess.fields import Fields, choose_fields
from services.preprocess.readers.jsonl import SAMPLE_RECORDS
from services.preprocess.records import MAX_RECORD_BYTES, Batch, Collector, Reading
from services.preprocess.source import Source
from zeroidle.errors import PermanentError, printable

WRAPPERS = ("instances", "records", "data")
CHUNK_BYTES = 2**18
BATCH_RECORDS = 1024
# A single object is decoded whole, into some ten times its size.
MAX_OBJECT_BYTES = 16 * 2**20

_LIST = re.compile(r'\s*(?:\{\s*"(?:' + "|".join(WRAPPERS) + r')"\s*:\s*)?\[')
_SPACE = re.compile(r"\s*")
_decode = json.JSONDecoder().raw_decode


def read(source: Source) -> Reading:
    """The records of a JSON file; `line` is a record's place in the list, from 1.

    Raises:
        PermanentError: CORRUPT, where the JSON breaks (also from the batches); TOO_LARGE.
    """
    values = _values(_Text(source))
    sample = list(islice(values, SAMPLE_RECORDS))
    records = [value for value in sample if isinstance(value, dict)]
    only_strings = bool(sample) and all(isinstance(value, str) for value in sample)
    fields = Fields(reason="the records are strings") if only_strings else choose_fields(records, source.options)
    return Reading("json", fields, _batches(chain(sample, values), fields), encoding_of(source.head))


def _batches(values: Iterator[object], fields: Fields) -> Iterator[Batch]:
    collector = Collector(fields)
    for place, value in enumerate(values, 1):
        if isinstance(value, str):
            collector.add(place, value, None, None, value)
        else:
            collector.take(place, value, value)
        if len(collector) >= BATCH_RECORDS:
            yield collector.drain()
    yield collector.drain()


class _Text:
    """A window on the decoded text: `buffer` from `at` on is what is not read yet."""

    def __init__(self, source: Source) -> None:
        self.buffer = ""
        self.at = 0
        self.is_ended = False
        self._source = source
        # What is not UTF-8 becomes lone surrogates, for which the record it stands in is set aside.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="surrogateescape")

    def grow(self) -> None:
        """Drop what was read, and add a chunk."""
        chunk = self._source.read(CHUNK_BYTES)
        self.is_ended = not chunk
        self.buffer = self.buffer[self.at :] + self._decoder.decode(chunk, final=self.is_ended)
        self.at = 0

    def skip_space(self) -> str:
        """Go to the next character that is none, and return it; empty at the end."""
        while True:
            match = _SPACE.match(self.buffer, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if self.is_ended:
                return ""
            self.grow()


def _values(text: _Text) -> Iterator[object]:
    text.skip_space()
    start = _LIST.match(text.buffer)
    if start is None:
        yield from _single(text)
        return
    text.at = start.end()
    if text.skip_space() == "]":
        return
    place = 1
    while True:
        yield _next_value(text, MAX_RECORD_BYTES, f"record {place}")
        match text.skip_space():
            case ",":
                text.at += 1
                place += 1
                text.skip_space()
            case "]":
                return
            case found:
                raise _corrupt(f"after record {place} stands {printable(found)!r}, not a comma or the end of the list")


def _single(text: _Text) -> Iterator[object]:
    value = _next_value(text, MAX_OBJECT_BYTES, "the object")
    for name in WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(name), list):
            yield from value[name]
            return
    yield value


def _next_value(text: _Text, limit: int, what: str) -> object:
    while True:
        try:
            value, end = _decode(text.buffer, text.at)
        except RecursionError as error:
            raise _corrupt(f"{what} is nested too deeply") from error
        except ValueError as error:  # incomplete, or no JSON
            if text.is_ended:
                raise _corrupt(f"{what}: {error}") from error
            if len(text.buffer) - text.at > limit:
                raise PermanentError(
                    f"{what} is larger than {limit} bytes, or its JSON is broken: {error}",
                    code="TOO_LARGE",
                    hint="Write one JSON object a line (.jsonl): there a record that is too large is only set aside.",
                ) from error
        else:
            # A number that touches the end of the window may go on behind it.
            if end < len(text.buffer) or text.is_ended:
                text.at = end
                return value
        text.grow()


def _corrupt(message: str) -> PermanentError:
    return PermanentError(
        f"the file is not valid JSON: {message}", code="CORRUPT", hint="Check it with `python -m json.tool`."
    )
