"""Which functions can a workflow call, and with which arguments?

A function is declared once, by a decorator on the Python function that computes it; its parameters are the documented
arguments (with a trailing underscore to keep clear of Python's own names, and in snake case).

    @pure("text.split")          a value of its arguments
    @local("sys.now")            looks at its execution, given as the first argument; doesn't wait
    @blocking("http.get")        a coroutine, given its execution; only in `call` steps
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from localcloud.workflows import values
from localcloud.workflows.errors import type_error
from localcloud.workflows.values import FunctionRef, Value

Kind = Literal["pure", "local", "blocking"]
_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the standard library. `open_ended`: takes arguments it does not list (connectors)."""

    name: str
    kind: Kind
    call: Callable[..., Any]
    params: tuple[str, ...]
    required: frozenset[str]
    open_ended: bool = False

    @property
    def is_connector(self) -> bool:
        """A connector, and not of the standard library."""
        return self.name.startswith("googleapis.")

    def problem(self, given: Sequence[str]) -> str:
        """What is wrong with these argument names; empty if nothing is."""
        if not self.open_ended and (unknown := [name for name in given if name not in self.params]):
            return f"unexpected argument {unknown[0]!r} for {self.name}; expected {', '.join(self.params) or 'none'}"
        if missing := [name for name in self.params if name in self.required and name not in given]:
            return f"missing argument {missing[0]!r} for {self.name}"
        return ""

    def bound(self, args: Mapping[str, _T]) -> dict[str, _T]:
        """The arguments under the names of the Python parameters."""
        return {_PYTHON_NAMES.get(name, name): value for name, value in args.items()}


FUNCTIONS: dict[str, Function] = {}
CONSTANTS: dict[str, Value] = {}
_PYTHON_NAMES = {
    "map": "map_", "timeout": "timeout_", "defaultVal": "default_val", "ifTrue": "if_true", "ifFalse": "if_false",
}  # fmt: skip
_DOCUMENTED = {python: name for name, python in _PYTHON_NAMES.items()}


def pure(name: str) -> Callable[[_F], _F]:
    """Declare a function of its arguments alone."""
    return _declare(name, "pure")


def local(name: str) -> Callable[[_F], _F]:
    """Declare a function that looks at its execution."""
    return _declare(name, "local")


def blocking(name: str) -> Callable[[_F], _F]:
    """Declare a coroutine function that may wait."""
    return _declare(name, "blocking")


def _declare(name: str, kind: Kind) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        params = list(inspect.signature(function).parameters.values())[0 if kind == "pure" else 1 :]
        names = [_DOCUMENTED.get(param.name, param.name) for param in params]
        required = {name for name, param in zip(names, params, strict=True) if param.default is inspect.Parameter.empty}
        FUNCTIONS[name] = Function(name, kind, function, tuple(names), frozenset(required))
        return function

    return decorate


def constant(name: str, value: Value) -> None:
    """Declare a value such as http.default_retry."""
    CONSTANTS[name] = value


def predicate(reference: FunctionRef, function: Callable[[Value], bool]) -> None:
    """Declare a function of an error that is mostly used as a value, in retry policies."""
    CONSTANTS[reference.name] = reference
    FUNCTIONS[reference.name] = Function(reference.name, "pure", function, ("exception",), frozenset({"exception"}))


_ARTICLES = {"integer": "an integer", "bytes": "bytes", "null": "null"}


def expect(value: Value, kind: type | tuple[type, ...], what: str) -> Any:
    """The value, if it has one of the types (a boolean is no integer); TypeError otherwise."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if type(value) not in kinds:
        wanted = " or ".join(_ARTICLES.get(name := values.type_name(each()), f"a {name}") for each in kinds)
        raise type_error(f"{what} must be {wanted}, not {_ARTICLES.get(name := values.type_name(value), f'a {name}')}")
    return value
