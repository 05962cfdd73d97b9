"""What does the source text say? YAML or JSON as plain nodes that remember their place.

Scalars and tags are those of the YAML 1.2 core schema: `yes` and `on` are strings, there are no timestamps and no octal
by a leading zero. Reading is bounded: by the size of the source, the depth of nesting, and what aliases expand to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from localcloud.workflows import values
from localcloud.workflows.errors import DeploymentError, Position

MAX_SOURCE_BYTES = 128 * 1024
_MAX_NODES = 30_000  # bounds what aliases expand to, and the time a deployment takes
_MAX_DEPTH = 100

_INT = re.compile(r"[-+]?\d+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?", re.ASCII)
_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_CORE = "tag:yaml.org,2002:"
_TAGGED = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}
_SURROGATES = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar's text; `is_plain` if it stands without quotes and is no block, so that it may be a number."""

    text: str
    is_plain: bool
    position: Position
    size = 1


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list. `size` counts the nodes in it, each as often as it appears."""

    items: tuple[Node, ...]
    position: Position
    size: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """A map, in the order of the source."""

    entries: tuple[tuple[Node, Node], ...]
    position: Position
    size: int


Node: TypeAlias = Scalar | Sequence | Mapping


def load(text: str) -> Node:
    """The root node of a workflow's source.

    Raises:
        DeploymentError: it is too large, or neither YAML nor JSON.
    """
    if len(text) > MAX_SOURCE_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
        raise DeploymentError(f"failed to build: source is larger than {MAX_SOURCE_BYTES} bytes")
    try:
        return _Composer(yaml.parse(_yaml(text), Loader=yaml.CSafeLoader)).document()
    except (yaml.YAMLError, UnicodeError) as error:
        mark = getattr(error, "problem_mark", None)
        position = None if mark is None else Position(mark.line + 1, mark.column + 1)
        raise DeploymentError(f"failed to build: parse error: {' '.join(str(error).split())}", position=position) from (
            error
        )


def _yaml(text: str) -> str:
    """The same text, or, of JSON, text that YAML takes too: no tabs between tokens, no escaped surrogate pairs."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    return _SURROGATES.sub(_joined, text.replace("\t", " "))  # JSON has no raw tabs in strings


def _joined(match: re.Match[str]) -> str:
    high, low = (int(half, 16) for half in match.groups())
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


class _Composer:
    """Nodes from the parser's events, without recursion into what an alias repeats."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, Node] = {}

    def document(self) -> Node:
        event = next(self._events)
        while isinstance(event, (yaml.StreamStartEvent, yaml.DocumentStartEvent)):
            event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise DeploymentError("failed to build: the source is empty")
        root = self._node(event, 0)
        next(self._events)  # the end of the document
        if not isinstance(next(self._events), yaml.StreamEndEvent):
            raise DeploymentError("failed to build: parse error: the source has more than one document")
        return root

    def _node(self, event: Any, depth: int) -> Node:
        position = _position(event)
        if depth > _MAX_DEPTH:
            raise _extent(position)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _failure(position, f"parse error: alias '*{event.anchor}' names nothing that stands before it")
            return self._anchors[event.anchor]
        if isinstance(event, yaml.ScalarEvent):
            node: Node = _tagged_scalar(event, position)
        elif isinstance(event, yaml.SequenceStartEvent):
            _check_tag(event, position, "seq")
            node = self._sequence(position, depth)
        else:
            _check_tag(event, position, "map")
            node = self._mapping(position, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _sequence(self, position: Position, depth: int) -> Node:
        items, size = [], 1
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
            size = _checked(size + items[-1].size, position)
        return Sequence(tuple(items), position, size)

    def _mapping(self, position: Position, depth: int) -> Node:
        entries, size = [], 1
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            entries.append((key, value))
            size = _checked(size + key.size + value.size, position)
        return Mapping(tuple(entries), position, size)


def _tagged_scalar(event: Any, position: Position) -> Scalar:
    """The scalar, read as its tag says where it has one: `!!str 5` is a string, `!!int "5"` an integer."""
    if event.tag is None:
        return Scalar(event.value, event.style in (None, ""), position)
    if event.tag == "!":  # https://yaml.org/spec/1.2.2/#691-node-tags
        return Scalar(event.value, False, position)
    tag = _check_tag(event, position, "str", *_TAGGED)
    if tag == "str":
        return Scalar(event.value, False, position)
    value = scalar(Scalar(event.value, True, position))
    if type(value) not in _TAGGED[tag]:
        raise _failure(position, f"parse error: {event.value[:40]!r} is not of its tag !!{tag}")
    return Scalar(repr(float(value)) if tag == "float" else event.value, True, position)


def _check_tag(event: Any, position: Position, *known: str) -> str:
    tag = (event.tag or f"{_CORE}{known[0]}").removeprefix(_CORE)
    if tag not in known and tag != "!":
        raise _failure(position, f"parse error: the tag {tag[:40]!r} is not one of {', '.join(known)}")
    return tag


def _checked(size: int, position: Position) -> int:
    if size > _MAX_NODES:
        raise _extent(position)
    return size


def _extent(position: Position) -> DeploymentError:
    return _failure(position, "parse error: the source is nested too deeply or repeats itself")


def _position(event: Any) -> Position:
    """Where the node starts, and its length if it is on one line."""
    start, end = event.start_mark, event.end_mark
    return Position(start.line + 1, start.column + 1, end.column - start.column if end.line == start.line else 0)


def entries(node: Node, what: str) -> list[tuple[str, Node, Node]]:
    """(key, key node, value node) of a map. Raises DeploymentError for anything else, and for a key given twice."""
    if not isinstance(node, Mapping):
        raise problem(node, f"{what} must be a map")
    found: dict[str, tuple[str, Node, Node]] = {}
    for key, value in node.entries:
        if not isinstance(key, Scalar):
            raise problem(key, f"keys of {what} must be scalars")
        if key.text in found:
            raise problem(key, f"{what} has the key {key.text!r} twice")
        found[key.text] = (key.text, key, value)
    return list(found.values())


def items(node: Node, what: str) -> tuple[Node, ...]:
    """The elements of a list. Raises DeploymentError for anything else."""
    if not isinstance(node, Sequence):
        raise problem(node, f"{what} must be a list")
    return node.items


def scalar(node: Scalar) -> Any:
    """The value of a scalar: null, boolean, integer, double or string. Raises DeploymentError."""
    text = node.text
    if not node.is_plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        number = int(text, 0) if text[:2] in ("0o", "0x") else _integer(text)
        if not values.INT_MIN <= number <= values.INT_MAX:
            raise problem(node, f"integer {text[:40]} does not fit in 64 bits")
        return number
    if _FLOAT.fullmatch(text):
        double = float(text)
        if double in (float("inf"), float("-inf")):
            raise problem(node, f"number {text[:40]} does not fit in a double")
        return double
    return text


def _integer(text: str) -> int:
    return int(text) if len(text) < 30 else values.INT_MAX + 1  # Python refuses thousands of digits


def text_of(node: Node, what: str) -> str:
    """A scalar as a name. Raises DeploymentError for a list or map."""
    if not isinstance(node, Scalar):
        raise problem(node, f"{what} must be a string")
    return node.text


def problem(node: Node, message: str) -> DeploymentError:
    """A deployment error at a place of the source."""
    return _failure(node.position, f"line {node.position.line}: {message}")


def _failure(position: Position, message: str) -> DeploymentError:
    return DeploymentError(f"failed to build: {message}", position=position)
