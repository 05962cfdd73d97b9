"""What is inside a multipart request: the metadata and the bytes of an upload, or the calls of a batch?

https://cloud.google.com/storage/docs/uploading-objects#uploading-an-object https://cloud.google.com/storage/docs/batch
"""

from __future__ import annotations

from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from localcloud.storage.errors import StorageError, invalid
from localcloud.storage.payloads import PayloadWriter
from localcloud.storage.wire import MAX_JSON_BYTES, Call, json_object


class RelatedUpload:
    """A multipart/related body: JSON metadata, then the payload, which goes to `writer` as it arrives."""

    def __init__(self, writer: PayloadWriter) -> None:
        self.writer = writer
        self.content_type: str | None = None  # of the payload's part
        self._parts = 0
        self._ended = False
        self._field = bytearray()
        self._value = bytearray()
        self._metadata = bytearray()

    async def receive(self, call: Call) -> dict[str, Any]:
        """Take in the whole body; the metadata. Raises StorageError 400, 413, Disconnected."""
        parser = MultipartParser(
            boundary_of(call),
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._add_field,
                "on_header_value": self._add_value,
                "on_header_end": self._header_ends,
                "on_part_data": self._add_data,
                "on_end": self._ends,
            },
        )
        try:
            async for chunk in call.chunks():
                parser.write(chunk)
        except MultipartParseError as error:
            raise invalid(f"Malformed multipart body: {error}.") from error
        if not self._ended or self._parts != 2:
            raise invalid(f"Malformed multipart body: {self._parts} parts, expected metadata and media.")
        return json_object(bytes(self._metadata))

    def _part_begins(self) -> None:
        self._parts += 1

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        if self._parts == 2 and self._field.lower() == b"content-type":
            self.content_type = self._value.decode("latin-1")
        self._field.clear()
        self._value.clear()

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._parts == 2:
            self.writer.write(data[start:end])
        elif self._parts == 1:
            self._metadata += data[start:end]
            if len(self._metadata) > MAX_JSON_BYTES:
                raise StorageError(413, f"The metadata is larger than {MAX_JSON_BYTES} bytes.")

    def _ends(self) -> None:
        self._ended = True


def boundary_of(call: Call) -> bytes:
    """The boundary that the request's content type names. Raises StorageError 400."""
    message = Message()
    message["content-type"] = call.header(b"content-type") or ""
    boundary = message.get_param("boundary")
    if not message.get_content_type().startswith("multipart/") or not isinstance(boundary, str) or not boundary:
        raise invalid("The request's content type names no multipart boundary.", ("header", "Content-Type"))
    return boundary.encode("latin-1")


def batch_parts(call: Call, body: bytes) -> list[tuple[str, bytes]]:
    """Content id and embedded HTTP request of each part of a batch. Raises StorageError 400."""
    head = b"content-type: " + (call.header(b"content-type") or "").encode("latin-1") + b"\r\n\r\n"
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    if not message.is_multipart():
        raise invalid("The batch is not multipart/mixed.", ("header", "Content-Type"))
    parts = []
    for part in message.iter_parts():
        if part.get_content_type() != "application/http":
            raise invalid(f"A part of the batch is {part.get_content_type()}, expected application/http.")
        content = part.get_payload(decode=True)
        parts.append((str(part.get("content-id", "")), content if isinstance(content, bytes) else b""))
    return parts
