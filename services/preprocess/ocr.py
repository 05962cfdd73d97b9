"""Which lines of text are on a picture?

RapidOCR: PP-OCR's detection and recognition networks on ONNX Runtime; the models are in its wheel.
"""

from __future__ import annotations

import importlib
import io
import os
import struct
import threading
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from zeroidle.errors import PermanentError, printable

MAX_PIXELS = 50_000_000  # an A4 page scanned at 600 dpi has 35 million
# What Pillow's parsers raise over broken pixels and broken metadata.
BROKEN = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError,
    struct.error, zlib.error,
)  # fmt: skip
# Two boxes stand on one line if their middles are closer than this share of the lower one's height.
SAME_LINE = 0.5

Box = tuple[float, float, float, str]  # left, middle, height, text


class Ocr:
    """Reads pictures; the models are loaded for the first one, so that a service without pictures starts at once."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or len(os.sched_getaffinity(0))
        self._engine: Any = None
        self._lock = threading.Lock()  # one picture at a time has all threads, and the engine keeps state

    def lines(self, data: bytes) -> list[str]:
        """The lines of text on a PNG or JPEG file, from the top, each from the left.

        Raises:
            PermanentError: CORRUPT; DECOMPRESSION_BOMB, more than MAX_PIXELS.
        """
        with self._lock:
            pixels = decode_image(data)  # a large picture takes hundreds of megabytes: one at a time here too
            if self._engine is None:
                self._engine = _load(self._threads)
            found, _ = self._engine(pixels)
        return reading_order([_box(corners, text) for corners, text, _ in found or []])


def _load(threads: int) -> Any:
    engine = importlib.import_module("rapidocr_onnxruntime")  # takes a second and 100 MB, and is not typed
    return engine.RapidOCR(intra_op_num_threads=threads, inter_op_num_threads=1)


def decode_image(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Height x width x BGR, upright as its EXIF says; refused before it is decoded if it is too large."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _bomb(f"it has {image.width} x {image.height} pixels")
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except Image.DecompressionBombError as error:  # Pillow's own limit comes first where the image is absurd
        raise _bomb(str(error)) from error
    except BROKEN as error:
        raise PermanentError(
            f"the image cannot be read: {printable(str(error), 200)}",
            code="CORRUPT",
            hint="Open it in a viewer, save it again as PNG and upload that.",
        ) from error
    opaque = Image.new("RGBA", upright.size, "white")
    opaque.alpha_composite(upright)
    return np.asarray(opaque.convert("RGB"))[:, :, ::-1].copy()


def _bomb(message: str) -> PermanentError:
    return PermanentError(
        f"the image is refused: {message}; at most {MAX_PIXELS} pixels are decoded",
        code="DECOMPRESSION_BOMB",
        hint="Scale it down, or cut it into pages.",
    )


def _box(corners: Any, text: str) -> Box:
    xs, ys = [point[0] for point in corners], [point[1] for point in corners]
    return min(xs), (min(ys) + max(ys)) / 2, max(ys) - min(ys), text


def reading_order(boxes: list[Box]) -> list[str]:
    """Boxes as lines: from the top, and boxes beside each other joined from the left."""
    lines: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: box[1]):
        last = lines[-1][-1] if lines else None
        if last and box[1] - last[1] < SAME_LINE * min(box[2], last[2]):
            lines[-1].append(box)
        else:
            lines.append([box])
    return [" ".join(text for *_, text in sorted(line)) for line in lines]
