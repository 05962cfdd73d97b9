"""`json`. https://cloud.google.com/workflows/docs/reference/stdlib/json/encode"""

from __future__ import annotations

from localcloud.workflows import choices, values
from localcloud.workflows.errors import value_error
from localcloud.workflows.functions import expect, pure
from localcloud.workflows.memory import MAX_MEMORY_BYTES
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
    text = _text(data, indent)
    values.check_length(len(text))
    return text


def _text(data: Value, indent: Value) -> str:
    if indent is None or indent is False:
        text = values.to_json(data)
        values.check_length(len(text), MAX_MEMORY_BYTES)
        return text
    options = {} if indent is True else expect(indent, dict, "indent")
    prefix = expect(options.get("prefix", ""), str, "indent.prefix")
    step = expect(options.get("indent", choices.json_indent()), str, "indent.indent")
    text = values.to_json(data, indent="\t")  # in JSON tabs and line ends are white space only
    for mark, wanted in (("\t", step), ("\n", f"\n{prefix}")):
        values.check_length(len(text) + text.count(mark) * (len(wanted) - 1), MAX_MEMORY_BYTES)
        text = text.replace(mark, wanted)
    return text
