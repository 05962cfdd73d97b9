"""`json`. https://cloud.google.com/workflows/docs/reference/stdlib/json/encode"""

from __future__ import annotations

from localcloud.workflows import choices, values
from localcloud.workflows.errors import value_error
from localcloud.workflows.functions import expect, pure
from localcloud.workflows.values import Value


@pure("json.decode")
def _decode(data: Value) -> Value:
    try:
        return values.from_json(expect(data, (bytes, str), "data"))
    except ValueError as error:
        raise value_error(f"data is not JSON: {error}") from error


@pure("json.encode")
def _encode(data: Value, indent: Value = None) -> Value:
    return _text(data, indent).encode()


@pure("json.encode_to_string")
def _encode_to_string(data: Value, indent: Value = None) -> Value:
    return _text(data, indent)


def _text(data: Value, indent: Value) -> str:
    if indent is None or indent is False:
        return values.to_json(data)
    if indent is True:
        return values.to_json(data, indent=choices.json_indent())
    options = expect(indent, dict, "indent")
    prefix = expect(options.get("prefix", ""), str, "indent.prefix")
    step = expect(options.get("indent", choices.json_indent()), str, "indent.indent")
    return values.to_json(data, indent=step).replace("\n", "\n" + prefix)
