"""What does the source text say? YAML or JSON as plain nodes that remember their place.

Scalars follow the YAML 1.2 core schema: `yes` and `on` are strings (not documented for the real service, whose own
booleans are true and false), there are no timestamps and no octal by a leading zero.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from localcloud.workflows import values
from localcloud.workflows.errors import DeploymentError, Position

MAX_SOURCE_BYTES = 128 * 1024
_MAX_NODES = 100_000  # aliases may repeat a node; bounds what they expand to
_MAX_DEPTH = 100

_INT = re.compile(r"[-+]?\d+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?", re.ASCII)
_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def load(text: str) -> yaml.Node:
    """The root node of a workflow's source.

    Raises:
        DeploymentError: it is too large, or neither YAML nor JSON.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
        raise DeploymentError(f"failed to build: source is larger than {MAX_SOURCE_BYTES} bytes")
    try:
        root = yaml.compose(_yaml(text), Loader=yaml.CSafeLoader)
        if root is None:
            raise DeploymentError("failed to build: the source is empty")
        _check_extent(root)
    except (yaml.YAMLError, UnicodeError) as error:
        raise DeploymentError(f"failed to build: parse error: {_one_line(error)}") from error
    except RecursionError as error:
        raise DeploymentError("failed to build: parse error: the source is nested too deeply") from error
    return root


def _yaml(text: str) -> str:
    """The same text, or, of JSON that YAML would not take (tabs, surrogate escapes), JSON that it does."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        content = json.loads(text)
    except ValueError:
        return text
    plain = text.replace("\t", " ")  # JSON has no raw tabs in strings
    return json.dumps(content, ensure_ascii=False, indent=2) if "\\u" in plain else plain


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _check_extent(root: yaml.Node) -> None:
    pending, seen = [(root, 0)], 0
    while pending:
        node, depth = pending.pop()
        seen += 1
        if seen > _MAX_NODES or depth > _MAX_DEPTH:
            raise DeploymentError("failed to build: parse error: the source is nested too deeply or repeats itself")
        children = node.value if isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) else ()
        for child in children:
            pending += [(part, depth + 1) for part in (child if isinstance(child, tuple) else (child,))]


def position(node: yaml.Node) -> Position:
    """Where the node starts, and its length if it is on one line."""
    start, end = node.start_mark, node.end_mark
    length = end.column - start.column if end.line == start.line else 0
    return Position(start.line + 1, start.column + 1, length)


def is_map(node: yaml.Node) -> bool:
    """A map?"""
    return isinstance(node, yaml.MappingNode)


def is_list(node: yaml.Node) -> bool:
    """A list?"""
    return isinstance(node, yaml.SequenceNode)


def entries(node: yaml.Node, what: str) -> list[tuple[str, yaml.Node, yaml.Node]]:
    """(key, key node, value node) of a map. Raises DeploymentError for anything else, and for a key given twice."""
    if not is_map(node):
        raise problem(node, f"{what} must be a map")
    found: list[tuple[str, yaml.Node, yaml.Node]] = []
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise problem(key, f"keys of {what} must be scalars")
        if any(key.value == name for name, _, _ in found):
            raise problem(key, f"{what} has the key {key.value!r} twice")
        found.append((key.value, key, value))
    return found


def items(node: yaml.Node, what: str) -> list[yaml.Node]:
    """The elements of a list. Raises DeploymentError for anything else."""
    if not is_list(node):
        raise problem(node, f"{what} must be a list")
    return list(node.value)


def scalar(node: yaml.Node) -> Any:
    """The value of a scalar: null, boolean, integer, double or string."""
    text = node.value
    if isinstance(node, yaml.ScalarNode) and node.style:  # quoted or a block
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        number = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if not values.INT_MIN <= number <= values.INT_MAX:
            raise problem(node, f"integer {text} does not fit in 64 bits")
        return number
    if _FLOAT.fullmatch(text):
        return values.checked(float(text))
    return text


def text_of(node: yaml.Node, what: str) -> str:
    """A scalar as a name. Raises DeploymentError for a list or map."""
    if not isinstance(node, yaml.ScalarNode):
        raise problem(node, f"{what} must be a string")
    return str(node.value)


def problem(node: yaml.Node, message: str) -> DeploymentError:
    """A deployment error at a place of the source."""
    return DeploymentError(f"failed to build: line {node.start_mark.line + 1}: {message}", position=position(node))


def bodies(steps: yaml.Node) -> Iterator[yaml.Node]:
    """The bodies in a list of steps, as far as it is one."""
    for step in steps.value if is_list(steps) else ():
        if is_map(step) and len(step.value) == 1:
            yield step.value[0][1]


def assigned(body: yaml.Node) -> Iterator[str]:
    """The variables a step's body assigns in its own scope: not inside loops, branches and `except`."""
    for key, value in body.value if is_map(body) else ():
        match key.value:
            case "assign":
                for entry in value.value if is_list(value) else ():
                    if is_map(entry) and entry.value and (root := _ROOT.match(str(entry.value[0][0].value))):
                        yield root.group()
            case "result":
                yield str(value.value)
            case "steps":
                yield from assigned_in(value)
            case "try":
                yield from assigned(value)
            case "switch":
                for entry in value.value if is_list(value) else ():
                    yield from assigned(entry)


def assigned_in(steps: yaml.Node) -> Iterator[str]:
    """The variables a list of steps assigns in its own scope."""
    for body in bodies(steps):
        yield from assigned(body)


_ROOT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
