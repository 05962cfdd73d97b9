"""Is it UTF-8, and if not, what is it?"""

from __future__ import annotations

import codecs

import charset_normalizer

from services.preprocess.lines import UTF8_BOM
from zeroidle.errors import PermanentError

# The longer marks first: UTF-32's begins with UTF-16's.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
GUESS_BYTES = 64 * 2**10


def encoding_of(head: bytes) -> str:
    """`utf-8`, or `utf-8-sig` with a byte order mark."""
    return "utf-8-sig" if head.startswith(UTF8_BOM) else "utf-8"


def refuse_wide(head: bytes) -> None:
    """Refuse a text in UTF-16 or UTF-32, told by its byte order mark or by where its NULs are.

    Raises:
        PermanentError: NOT_UTF8, with the encoding.
    """
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            raise _not_utf8(name, None)
    wide = _without_mark(head)
    if wide is not None:
        raise _not_utf8(wide, None)


def refuse_other_encoding(head: bytes) -> None:
    """Refuse a text that is in another encoding as a whole; a few bad lines are for the reader to set aside.

    It is in another encoding if most of the lines with characters beyond ASCII are not UTF-8, and these are at least
    half of all lines, or three and a tenth.

    Raises:
        PermanentError: NOT_UTF8, with the likely encoding.
    """
    lines = [line for line in head.split(b"\n") if line.strip()]
    beyond_ascii = [line for line in lines if not line.isascii()]
    bad = sum(not _is_utf8(line) for line in beyond_ascii[:-1]) + (
        bool(beyond_ascii) and not _is_utf8(beyond_ascii[-1], may_be_cut=beyond_ascii[-1] is lines[-1])
    )
    if 2 * bad > len(beyond_ascii) and (2 * bad >= len(lines) or (bad >= 3 and 10 * bad >= len(lines))):
        raise _not_utf8(*_guess(head[:GUESS_BYTES]))


def _is_utf8(line: bytes, *, may_be_cut: bool = False) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(line, final=not may_be_cut)
    except UnicodeDecodeError:
        return False
    return True


def _guess(sample: bytes) -> tuple[str | None, float | None]:
    """The likely encoding, and how much of the text then reads as a known language, if that can be told."""
    best = charset_normalizer.from_bytes(sample).best()
    if best is None:
        return None, None
    # Many encodings agree on the characters that occur; of these the one that most such files are in.
    name = "cp1252" if "cp1252" in best.could_be_from_charset else best.encoding
    return name, best.coherence or None


def _without_mark(head: bytes) -> str | None:
    """UTF-16 or UTF-32 of mostly Latin text, told by where its NULs are."""
    sample = head[: GUESS_BYTES // 4 * 4]
    nul = "".join("0" if sample[offset::4].count(0) * 4 > 0.8 * len(sample) else "x" for offset in range(4))
    return {"x000": "utf-32-le", "000x": "utf-32-be", "x0x0": "utf-16-le", "0x0x": "utf-16-be"}.get(nul)


def _not_utf8(name: str | None, confidence: float | None) -> PermanentError:
    iconv = codecs.lookup(name).name.upper() if name else "WINDOWS-1252"
    sure = "" if confidence is None else f" (confidence {confidence:.0%})"
    return PermanentError(
        f"the file is not UTF-8; it looks like {iconv}{sure}" if name else "the file is not UTF-8",
        code="NOT_UTF8",
        hint=f"Convert it and upload it again: iconv -f {iconv} -t UTF-8 in > out",
        details={"encoding": iconv, "confidence": confidence} if name else {},
    )
