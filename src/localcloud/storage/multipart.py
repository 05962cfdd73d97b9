"""What is inside a multipart request: the metadata and the bytes of an upload, or the calls of a batch?

https://cloud.google.com/storage/docs/uploading-objects#uploading-an-object https://cloud.google.com/storage/docs/batch
"""

from __future__ import annotations

from email.message import Message
from typing import Any

from localcloud.storage.errors import StorageError, invalid
from localcloud.storage.payloads import PayloadWriter
from localcloud.storage.wire import MAX_JSON_BYTES, Call, json_object


class RelatedUpload:
    """A multipart/related body: JSON metadata, then the payload, which goes to `writer` as it arrives.

    Lines end as the first one does: with CRLF, as they should, or with LF alone, as those of gcloud do.
    """

    def __init__(self, writer: PayloadWriter) -> None:
        self.writer = writer
        self.content_type: str | None = None  # of the payload's part
        self._opening = b""
        self._head = bytearray()  # all before the payload
        self._delimiter = b""  # what ends the payload, once the head is complete
        self._tail = b""  # what may be the beginning of a delimiter; after the delimiter: what follows it
        self._ended = False

    async def receive(self, call: Call) -> dict[str, Any]:
        """Take in the whole body; the metadata. Raises StorageError 400, 413, Disconnected."""
        self._opening = b"--" + boundary_of(call)
        metadata: bytes | None = None
        async for chunk in call.chunks():
            if self._delimiter:
                self._add_payload(chunk)
                continue
            self._head += chunk
            metadata = self._parse_head()
            if metadata is None and len(self._head) > MAX_JSON_BYTES:
                raise StorageError(413, f"The metadata is larger than {MAX_JSON_BYTES} bytes.")
        if metadata is None or not self._ended or not self._tail.startswith(b"--"):
            raise invalid("Malformed multipart body: expected metadata and media, between boundaries to the last one.")
        return json_object(metadata)

    def _parse_head(self) -> bytes | None:
        """The metadata, once all before the payload is there."""
        head = bytes(self._head)
        begin = head.find(self._opening) + len(self._opening)
        line = b"\r\n" if head[begin : begin + 1] == b"\r" else b"\n"
        blank, opening = line + line, line + self._opening + line
        first = head.find(blank, begin)
        second = head.find(opening, first)
        third = head.find(blank, second + len(opening) - len(line))
        if -1 in (first, second, third) or begin < len(self._opening):
            return None
        for header in head[second + len(opening) : third].split(line):
            name, _, value = header.partition(b":")
            if name.strip().lower() == b"content-type":
                self.content_type = value.strip().decode("latin-1")
        self._delimiter = line + self._opening
        self._add_payload(head[third + len(blank) :])
        return head[first + len(blank) : second]

    def _add_payload(self, data: bytes) -> None:
        data = self._tail + data
        if self._ended:
            self._tail = data[:2]
            return
        end = data.find(self._delimiter)
        if end < 0:
            kept = max(0, len(data) - len(self._delimiter) + 1)
            self._tail = data[kept:]
            self.writer.write(data[:kept])
        else:
            self.writer.write(data[:end])
            self._tail = data[end + len(self._delimiter) :][:2]
            self._ended = True


def boundary_of(call: Call) -> bytes:
    """The boundary that the request's content type names. Raises StorageError 400."""
    message = Message()
    message["content-type"] = call.header(b"content-type") or ""
    boundary = message.get_param("boundary")
    if not message.get_content_type().startswith("multipart/") or not isinstance(boundary, str) or not boundary:
        raise invalid("The request's content type names no multipart boundary.", ("header", "Content-Type"))
    # gcloud puts it in single quotes, which are no quotes in a header but no part of the boundary either.
    return boundary.strip("'").encode("latin-1")


def batch_parts(call: Call, body: bytes) -> list[tuple[str, bytes]]:
    """Content id and embedded HTTP request of each part of a batch. Raises StorageError 400."""
    from email.parser import BytesParser
    from email.policy import HTTP  # which only batches need

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
