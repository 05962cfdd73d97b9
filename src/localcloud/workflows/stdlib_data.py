"""The standard library's functions of values: expression helpers, base64, hash, json, list, map and math.

https://cloud.google.com/workflows/docs/reference/stdlib/overview
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
from typing import Any

from localcloud.workflows import values
from localcloud.workflows.errors import type_error, value_error
from localcloud.workflows.functions import pure
from localcloud.workflows.values import Value

_ALGORITHMS = ("SHA256", "SHA384", "SHA512", "SHA1", "MD5")
_DEFAULT_INDENT = "    "  # Not documented: what `indent: true` indents by.


def expect(value: Value, kind: type | tuple[type, ...], what: str) -> Any:
    """The value, if it has one of the types (a boolean is no integer); TypeError otherwise."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if type(value) not in kinds:
        wanted = " or ".join(values.type_name(each()) for each in kinds)
        raise type_error(f"{what} must be a {wanted}, not {values.type_name(value)}")
    return value


pure("double")(lambda value: values.to_double(value))
pure("int")(lambda value: values.to_int(value))
pure("string")(lambda value: values.to_string(value))


@pure("keys")
def _keys(map_: Value) -> Value:
    return list(expect(map_, dict, "argument of keys()"))


@pure("len")
def _len(value: Value) -> Value:
    return len(expect(value, (list, dict, str), "argument of len()"))


@pure("default")
def _default(value: Value, default_value: Value) -> Value:
    return default_value if value is None else value


@pure("if")
def _if(condition: Value, if_true: Value, if_false: Value) -> Value:
    return if_false if condition is None or not values.boolean(condition, "condition of if()") else if_true


@pure("get_type")
def _get_type(value: Value) -> Value:
    return values.type_name(value)


@pure("base64.decode")
def _base64_decode(data: Value, padding: Value = True) -> Value:
    text = expect(data, str, "data")
    try:
        return base64.b64decode(
            text if expect(padding, bool, "padding") else text + "=" * (-len(text) % 4), validate=True
        )
    except (binascii.Error, ValueError) as error:
        raise value_error(f"data is not base64: {error}") from error


@pure("base64.encode")
def _base64_encode(data: Value, padding: Value = True) -> Value:
    text = base64.b64encode(expect(data, bytes, "data")).decode()
    return text if expect(padding, bool, "padding") else text.rstrip("=")


@pure("hash.compute_checksum")
def _checksum(data: Value, algorithm: Value) -> Value:
    return hashlib.new(_algorithm(algorithm), _octets(data, "data")).digest()


@pure("hash.compute_hmac")
def _hmac(key: Value, data: Value, algorithm: Value) -> Value:
    return hmac.new(_octets(key, "key"), _octets(data, "data"), _algorithm(algorithm)).digest()


def _algorithm(name: Value) -> str:
    if expect(name, str, "algorithm") not in _ALGORITHMS:
        raise value_error(f"algorithm {name!r} is not one of {', '.join(_ALGORITHMS)}")
    return str(name).lower()


def _octets(data: Value, what: str) -> bytes:
    return data.encode() if isinstance(data, str) else bytes(expect(data, bytes, what))


@pure("json.decode")
def _json_decode(data: Value) -> Value:
    try:
        return values.from_json(expect(data, (bytes, str), "data"))
    except ValueError as error:
        raise value_error(f"data is not JSON: {error}") from error


@pure("json.encode")
def _json_encode(data: Value, indent: Value = None) -> Value:
    return _json_text(data, indent).encode()


@pure("json.encode_to_string")
def _json_encode_to_string(data: Value, indent: Value = None) -> Value:
    return _json_text(data, indent)


def _json_text(data: Value, indent: Value) -> str:
    if indent is None or indent is False:
        return values.to_json(data)
    if indent is True:
        return values.to_json(data, indent=_DEFAULT_INDENT)
    options = expect(indent, dict, "indent")
    prefix = expect(options.get("prefix", ""), str, "indent.prefix")
    step = expect(options.get("indent", _DEFAULT_INDENT), str, "indent.indent")
    return values.to_json(data, indent=step).replace("\n", "\n" + prefix)


@pure("list.concat")
def _list_concat(objs: Value, val: Value) -> Value:
    return [*expect(objs, list, "objs"), val]


@pure("list.prepend")
def _list_prepend(objs: Value, val: Value) -> Value:
    return [val, *expect(objs, list, "objs")]


@pure("map.get")
def _map_get(map_: Value, keys: Value) -> Value:
    path = keys if type(keys) is list else [keys]
    for key in path:
        expect(key, str, "key")
    for key in path:
        map_ = map_.get(key) if type(map_) is dict else None
    return map_


@pure("map.delete")
def _map_delete(map_: Value, key: Value) -> Value:
    """Not documented: a missing key. Here: the copy is the same."""
    without = dict(expect(map_, dict, "map"))
    without.pop(expect(key, str, "key"), None)
    return without


@pure("map.merge")
def _map_merge(first: Value, second: Value) -> Value:
    return {**expect(first, dict, "first"), **expect(second, dict, "second")}


@pure("map.merge_nested")
def _map_merge_nested(first: Value, second: Value) -> Value:
    merged = dict(expect(first, dict, "first"))
    for key, value in expect(second, dict, "second").items():
        both = type(value) is dict and type(merged.get(key)) is dict
        merged[key] = _map_merge_nested(merged[key], value) if both else value
    return merged


def _number(value: Value, what: str) -> Any:
    return expect(value, (int, float), what)


@pure("math.abs")
def _abs(x: Value) -> Value:
    return values.checked(abs(_number(x, "x")))


@pure("math.floor")
def _floor(x: Value) -> Value:
    return values.checked(math.floor(_number(x, "x")))


@pure("math.max")
def _max(x: Value, y: Value) -> Value:
    """Not documented: the type of the result for an integer and a double. Here: that of the larger."""
    return max(_number(x, "x"), _number(y, "y"))


@pure("math.min")
def _min(x: Value, y: Value) -> Value:
    return min(_number(x, "x"), _number(y, "y"))
