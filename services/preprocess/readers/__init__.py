"""Which reader reads which format? One module a format, each with `read(source, ...) -> Reading`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from services.preprocess.readers import delimited, image, json_list, jsonl, parquet, txt
from services.preprocess.readers.image import ReadImage
from services.preprocess.records import Format, Reading
from services.preprocess.source import Source


def reader_of(format_: Format, read_image: ReadImage) -> Callable[[Source], Reading]:
    """The reader of a format; `read_image` finds the text in a picture."""
    readers: dict[Format, Callable[[Source], Reading]] = {
        "txt": txt.read,
        "json": json_list.read,
        "jsonl": jsonl.read,
        "csv": delimited.read,
        "parquet": parquet.read,
        "image": partial(image.read, read_image=read_image),
    }
    return readers[format_]
