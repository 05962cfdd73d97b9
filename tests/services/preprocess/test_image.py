"""Pictures: what stands on them, and what is refused before it is decoded."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from services.preprocess import ocr
from services.preprocess.ocr import Ocr, decode_image, reading_order
from tests.services.preprocess.pipeline import Pipeline
from zeroidle.errors import PermanentError

SIGN = Path(__file__).parents[3] / "examples" / "sign.png"


def picture(size: tuple[int, int] = (40, 20), kind: str = "PNG", mode: str = "RGB") -> bytes:
    sink = io.BytesIO()
    Image.new(mode, size).save(sink, kind)
    return sink.getvalue()


@pytest.fixture(scope="module")
def reader() -> Ocr:
    return Ocr()


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_the_lines_of_a_sign_are_one_record_in_reading_order(pipeline: Pipeline, reader: Ocr, kind: str) -> None:
    data = SIGN.read_bytes()
    if kind == "jpg":
        sink = io.BytesIO()
        Image.open(SIGN).convert("RGB").save(sink, "JPEG", quality=90)
        data = sink.getvalue()

    (record,) = pipeline.run(f"sign.{kind}", data, reader.lines)

    assert len(record["text"].splitlines()) == 3
    assert pipeline.manifest().format == "image"


def test_a_picture_without_text_is_refused(pipeline: Pipeline, reader: Ocr) -> None:
    pipeline.fails("a.png", picture((200, 100)), "NO_TEXT", reader.lines)


def test_a_broken_picture_is_refused(pipeline: Pipeline, reader: Ocr) -> None:
    pipeline.fails("a.png", SIGN.read_bytes()[:500], "CORRUPT", reader.lines)


def test_a_picture_with_broken_metadata_is_refused() -> None:
    sink = io.BytesIO()
    metadata = Image.Exif()
    metadata[0x010E], metadata[0x0112] = "hello", 6  # ImageDescription; Orientation, so that it has to be turned
    Image.new("RGB", (40, 20)).save(sink, "JPEG", exif=metadata.tobytes())
    data = sink.getvalue().replace(b"\x01\x0e\x00\x02", b"\x01\x00\x00\x02")  # a width that is a string

    with pytest.raises(PermanentError) as caught:
        decode_image(data)

    assert caught.value.code == "CORRUPT"


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(pipeline: Pipeline, reader: Ocr) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)  # 30 GB of pixels that are not even there
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")

    pipeline.fails("a.png", bomb, "DECOMPRESSION_BOMB", reader.lines)


def test_the_pixel_limit_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "MAX_PIXELS", 800)

    assert decode_image(picture((40, 20))).shape == (20, 40, 3)
    with pytest.raises(PermanentError):
        decode_image(picture((40, 21)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_becomes_colour(mode: str) -> None:
    assert decode_image(picture(mode=mode)).shape == (20, 40, 3)


def test_boxes_are_read_from_the_top_and_then_from_the_left() -> None:
    boxes = [(100, 12, 10, "world"), (0, 50, 10, "below"), (0, 10, 10, "hello"), (0, 30, 10, "between")]

    assert reading_order(boxes) == ["hello world", "between", "below"]
