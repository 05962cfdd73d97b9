"""May this form be uploaded? Policy documents, by which a browser posts a file into a bucket.

https://cloud.google.com/storage/docs/xml-api/post-object-forms
https://cloud.google.com/storage/docs/authentication/signatures#policy-document
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from localcloud.storage.errors import StorageError
from localcloud.storage.multipart import boundary_of
from localcloud.storage.payloads import PayloadWriter
from localcloud.storage.signing import HMAC, RSA, Signers, expired
from localcloud.storage.wire import Call

MAX_FIELD_BYTES = 64 * 1024
MAX_FIELDS = 200
# These are not what a policy is about.
_FREE = frozenset({"file", "policy", "x-goog-signature"})
_SIGNED = ("policy", "x-goog-algorithm", "x-goog-credential", "x-goog-date", "x-goog-signature")


class Form:
    """A multipart/form-data body: fields by name in lower case, then the file, which goes to `writer` as it arrives."""

    def __init__(self, writer: PayloadWriter) -> None:
        self.writer = writer
        self.fields: dict[str, str] = {}
        self.filename = ""
        self.content_type: str | None = None
        self._header = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._data = bytearray()
        self._has_file = False
        self._ended = False

    async def receive(self, call: Call) -> None:
        """Take in the whole body. Raises StorageError 400, 413, Disconnected."""
        parser = MultipartParser(
            boundary_of(call),
            {
                "on_header_field": self._add_header,
                "on_header_value": self._add_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._add_data,
                "on_part_end": self._part_ends,
                "on_end": self._ends,
            },
        )
        try:
            async for chunk in call.chunks():
                parser.write(chunk)
        except MultipartParseError as error:
            raise _malformed(str(error)) from error
        if not self._ended:
            raise _malformed("the body ends within a part")
        if not self._has_file:
            raise _malformed("POST requires exactly one file upload per request")

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace").lower()
        if self._has_file or len(self.fields) >= MAX_FIELDS:
            raise _malformed("fields after the file, or too many of them")
        if self._name == "file":
            self._has_file = True
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")
            if b"content-type" in self._headers:
                self.content_type = self._headers[b"content-type"].decode("latin-1")
        self._headers.clear()

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._has_file:
            self.writer.write(data[start:end])
        else:
            self._data += data[start:end]
            if len(self._data) > MAX_FIELD_BYTES:
                raise StorageError(413, f"A field of the form is larger than {MAX_FIELD_BYTES} bytes.")

    def _part_ends(self) -> None:
        if not self._has_file:
            self.fields[self._name] = self._data.decode("utf-8", "replace")
        self._data.clear()

    def _ends(self) -> None:
        self._ended = True


def check(fields: Mapping[str, str], bucket: str, size: int, signers: Signers) -> None:
    """Whether the form is signed, and what its policy document allows. Raises StorageError 400, 403."""
    if "policy" not in fields:
        return  # as anybody may do everything, nobody has to sign
    for name in _SIGNED:
        if not fields.get(name):
            raise _malformed(f"the field {name} is missing or empty")
    if fields["x-goog-algorithm"] not in (RSA, HMAC):
        raise _malformed(f"x-goog-algorithm is {fields['x-goog-algorithm']!r:.40}, expected {RSA} or {HMAC}")
    signers.check(
        fields["x-goog-algorithm"], fields["x-goog-credential"], fields["policy"].encode(), fields["x-goog-signature"]
    )
    policy = _policy(fields["policy"])
    ends = _expiration(policy)
    if ends < signers.now():
        raise expired(ends)
    _check_conditions(policy["conditions"], {**fields, "bucket": bucket}, size)


def _policy(encoded: str) -> dict[str, Any]:
    try:
        policy = msgspec.json.decode(base64.b64decode(encoded, validate=True), type=dict[str, Any])
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError) as error:
        raise _bad_policy(f"not base64 of a JSON object: {error}") from error
    if not isinstance(policy.get("conditions"), list):
        raise _bad_policy("conditions is missing, expected a list")
    return policy


def _expiration(policy: Mapping[str, Any]) -> datetime:
    text = policy.get("expiration")
    try:
        ends = datetime.fromisoformat(text if isinstance(text, str) else "")
    except ValueError as error:
        raise _bad_policy(f"expiration is {text!r:.40}, expected a time in ISO 8601") from error
    return ends if ends.tzinfo else ends.replace(tzinfo=UTC)


def _check_conditions(conditions: list[Any], fields: Mapping[str, str], size: int) -> None:
    named = set(_FREE) | {"bucket"}
    for condition in conditions:
        match condition:
            case dict() as exact if exact:
                for name, value in exact.items():
                    named.add(name.lower())
                    _require(fields.get(name.lower()) == str(value), condition)
            case ["eq", str(name), str(value)]:
                named.add(name.lower().lstrip("$"))
                _require(fields.get(name.lower().lstrip("$")) == value, condition)
            case ["starts-with", str(name), str(value)]:
                named.add(name.lower().lstrip("$"))
                _require(fields.get(name.lower().lstrip("$"), "").startswith(value), condition)
            case ["content-length-range", int(least), int(most)]:
                if size > most:
                    raise StorageError(
                        400,
                        "Your proposed upload exceeds the maximum allowed object size.",
                        xml_code="EntityTooLarge",
                        details={"Details": f"Content-length exceeds upper bound on range: {size} > {most}"},
                    )
                if size < least:
                    raise StorageError(
                        400,
                        "Your proposed upload is smaller than the minimum object size of your Policy Document.",
                        xml_code="EntityTooSmall",
                        details={"Details": f"Content-length smaller than lower bound on range: {size} < {least}"},
                    )
            case _:
                raise _bad_policy(f"the condition {condition!r:.80} has no known form")
    extra = sorted(name for name in fields if name not in named and not name.startswith("x-ignore-"))
    if extra:
        raise _not_covered(f"Policy did not reference these fields: {', '.join(extra)}")


def _require(holds: bool, condition: object) -> None:
    if not holds:
        raise _not_covered(f"Failed condition: {msgspec.json.encode(condition).decode()}")


def _not_covered(details: str) -> StorageError:
    return StorageError(
        403,
        "The policy document provided does not cover the request.",
        xml_code="InvalidPolicyDocument",
        details={"Details": details},
    )


def _bad_policy(why: str) -> StorageError:
    return StorageError(
        400,
        "The content of the form does not meet the conditions specified in the policy document.",
        xml_code="InvalidPolicyDocument",
        details={"Details": f"The policy document is malformed: {why}."},
    )


def _malformed(why: str) -> StorageError:
    return StorageError(
        400,
        "The body of your POST request is not well-formed multipart/form-data.",
        xml_code="MalformedPOSTRequest",
        details={"Details": f"{why}."},
    )
