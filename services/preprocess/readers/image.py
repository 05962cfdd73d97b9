"""How is a picture read? Its text is found, and is one record."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from services.preprocess.fields import Fields
from services.preprocess.records import Batch, Collector, Reading
from services.preprocess.source import Source
from zeroidle.errors import PermanentError

MAX_IMAGE_BYTES = 64 * 2**20

ReadImage = Callable[[bytes], list[str]]  # a PNG or JPEG file -> the lines of text on it, in reading order


def read(source: Source, *, read_image: ReadImage) -> Reading:
    """One record with all lines of text on the picture.

    Raises:
        PermanentError: NO_TEXT; TOO_LARGE.
    """
    fields = Fields(reason="the text found on the image, line by line")
    return Reading("image", fields, _batches(source, fields, read_image))


def _batches(source: Source, fields: Fields, read_image: ReadImage) -> Iterator[Batch]:
    data = b""
    while chunk := source.read(MAX_IMAGE_BYTES):
        data += chunk
        if len(data) > MAX_IMAGE_BYTES:
            raise PermanentError(
                f"the image file is larger than {MAX_IMAGE_BYTES} bytes",
                code="TOO_LARGE",
                hint="Scale it down to at most 4,000 pixels a side.",
            )
    text = "\n".join(read_image(data)).strip()
    if not text:
        raise PermanentError(
            "no text was found on the image",
            code="NO_TEXT",
            hint="Upload a sharper picture: letters should be at least 15 pixels high and upright.",
        )
    collector = Collector(fields)
    collector.add(1, text, None, None)
    yield collector.drain()
