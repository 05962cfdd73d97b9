"""How does JSON become a typed value, and what does a sender read when it does not?"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from zeroidle.errors import InvalidMessage, printable

T = TypeVar("T")
MAX_PROBLEM = 300

_PATH = re.compile(r"^(?P<problem>.*?)(?: - at (?:`key` in )?`(?P<path>\$[^`]*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything that crosses a process boundary: immutable, unknown fields refused."""


def decode(data: bytes | str, kind: type[T], *, what: str = "message") -> T:
    """`data` as a `kind`.

    Raises:
        InvalidMessage: naming the field, its value and what was expected there.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidMessage(f"{what}: {_explain(str(error), _value(data))}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidMessage(f"{what} is not JSON: {printable(str(error))}") from error
    except RecursionError as error:
        raise InvalidMessage(f"{what} is nested too deeply") from error


def convert(value: Any, kind: type[T], *, what: str = "message", strict: bool = True) -> T:
    """Plain dictionaries and lists as a `kind`; errors as in `decode`. Unless `strict`, "5" is a number too."""
    try:
        return msgspec.convert(value, type=kind, strict=strict)
    except msgspec.ValidationError as error:
        raise InvalidMessage(f"{what}: {_explain(str(error), value)}") from error


def encode(value: Any) -> bytes:
    """`value` as compact JSON."""
    return msgspec.json.encode(value)


def _value(data: bytes | str) -> Any:
    """What broke its contract, as plain values; None where it holds something that none can be, such as 1e400."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _explain(error: str, value: Any) -> str:
    """msgspec's sentence with the field in front and the offending part of `value` behind."""
    match = _PATH.match(error)
    path = (match and match["path"]) or "$"
    problem = printable((match and match["problem"]) or error, MAX_PROBLEM)  # it may quote a value or a key
    found = _value_at(value, path)
    told = "" if value is None or isinstance(found, dict | list) else f" (it is {printable(found)!r})"
    return f"field {path[2:] or '(the whole)'}: {problem[0].lower()}{problem[1:]}{told}"


def _value_at(value: Any, path: str) -> Any:
    for name, index in _STEP.findall(path):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            return value
    return value
