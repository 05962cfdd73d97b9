"""Where do the example files come from?

Not run in normal use: what it writes is in git. It fetches the pinned source distribution of ``vaderSentiment``
and writes ``reviews.jsonl`` and ``sign.png`` again, byte for byte (the picture with the same Pillow release).

    python -m examples.make
"""

import json
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from models import vader

HERE = Path(__file__).parent
# Tweets and editorials are held out too, but are no reviews.
REVIEW_SOURCES = ("movie", "amazon")
SIGN = ("The lift is broken again,", "the stairs are dirty,", "and nobody says sorry.")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        held_out = vader.split(vader.sentences(vader.SDIST.fetch(Path(folder))))[vader.Split.TEST]
    write_reviews([row for row in held_out if row.source in REVIEW_SOURCES], HERE / "reviews.jsonl")
    draw_sign(HERE / "sign.png")


def write_reviews(rows: list[vader.Sentence], path: Path) -> None:
    records = ({"id": row.id, "text": row.text, "label": row.label, "source": row.source} for row in rows)
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text("".join(lines), encoding="utf-8")


def draw_sign(path: Path) -> None:
    sign = Image.new("L", (900, 90 * len(SIGN) + 60), color=250)
    draw = ImageDraw.Draw(sign)
    font = ImageFont.load_default(size=48)
    for number, line in enumerate(SIGN):
        draw.text((60, 50 + 90 * number), line, fill=30, font=font)
    sign.save(path, optimize=True)


if __name__ == "__main__":
    main()
