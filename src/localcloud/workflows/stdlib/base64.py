"""`base64`. https://cloud.google.com/workflows/docs/reference/stdlib/base64/decode"""

from __future__ import annotations

import base64
import binascii

from localcloud.workflows.errors import value_error
from localcloud.workflows.functions import expect, pure
from localcloud.workflows.values import Value


@pure("base64.decode")
def _decode(data: Value, padding: Value = True) -> Value:
    text = expect(data, str, "data")
    padded = text if expect(padding, bool, "padding") else text + "=" * (-len(text) % 4)
    try:
        return base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise value_error(f"data is not base64: {error}") from error


@pure("base64.encode")
def _encode(data: Value, padding: Value = True) -> Value:
    text = base64.b64encode(expect(data, bytes, "data")).decode()
    return text if expect(padding, bool, "padding") else text.rstrip("=")
