"""`hash`. https://cloud.google.com/workflows/docs/reference/stdlib/hash/compute_checksum"""

from __future__ import annotations

import hashlib
import hmac

from localcloud.workflows.errors import value_error
from localcloud.workflows.functions import expect, pure
from localcloud.workflows.values import Value

_ALGORITHMS = ("SHA256", "SHA384", "SHA512", "SHA1", "MD5")


@pure("hash.compute_checksum")
def _compute_checksum(data: Value, algorithm: Value) -> Value:
    return hashlib.new(_algorithm(algorithm), _octets(data, "data")).digest()


@pure("hash.compute_hmac")
def _compute_hmac(key: Value, data: Value, algorithm: Value) -> Value:
    return hmac.new(_octets(key, "key"), _octets(data, "data"), _algorithm(algorithm)).digest()


def _algorithm(name: Value) -> str:
    if expect(name, str, "algorithm") not in _ALGORITHMS:
        raise value_error(f"algorithm {name!r} is not one of {', '.join(_ALGORITHMS)}")
    return str(name).lower()


def _octets(data: Value, what: str) -> bytes:
    return bytes(data.encode() if isinstance(data, str) else expect(data, bytes, what))
