"""What does `report.html` show? One self-contained page a person opens after a job: no script, nothing loaded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import jinja2

from services.postprocess.summary import Summary
from services.postprocess.tally import Tally
from zeroidle.contracts.shards import Rejected
from zeroidle.errors import printable

TEMPLATE = Path(__file__).with_name("report.html.j2")
CHART_WIDTH, CHART_HEIGHT = 640, 180  # SVG units
MAX_LABELS = 12  # shown one by one; the rest is summed up
SLOTS = 6  # colours in the template


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of the histogram, in SVG units, with the words shown when it is pointed at."""

    x: float
    y: float
    width: float
    height: float
    slot: int
    title: str


def render(summary: Summary, tally: Tally, rejected: list[Rejected]) -> str:
    """The page; every text of the input is escaped."""
    classes = summary.model.labels or sorted(summary.labels)
    slots = {label: index % SLOTS for index, label in enumerate(classes)}
    shown = classes if len(classes) <= MAX_LABELS else list(summary.labels)[:MAX_LABELS]
    histogram = _joined(summary.confidence.histogram, shown) if summary.confidence else {}
    return _template().render(
        s=summary,
        tally=tally,
        rejected=rejected,
        name=printable(summary.input.object.name, 200),
        slots=slots,
        labels=_most_frequent(summary.labels),
        shown=shown,
        classes=len(classes),
        histogram=histogram,
        bars=_bars(histogram, slots),
        tallest=_tallest(histogram),
        chart=(CHART_WIDTH, CHART_HEIGHT),
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        count=lambda n: f"{n:,}", percent=_percent, seconds=_seconds, size=_size, usd=_usd, when=_when
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def _most_frequent(labels: dict[str, int]) -> list[tuple[str, int]]:
    items = list(labels.items())
    rest = sum(count for _, count in items[MAX_LABELS:])
    return [*items[:MAX_LABELS], *([(f"{len(items) - MAX_LABELS} more", rest)] if rest else [])]


def _joined(histogram: dict[str, list[int]], shown: list[str]) -> dict[str, list[int]]:
    """The counts of the labels shown, and those of all others together."""
    joined = {label: counts for label, counts in histogram.items() if label in shown}
    others = [counts for label, counts in histogram.items() if label not in joined]
    return joined | ({f"{len(others)} more": [sum(counts) for counts in zip(*others, strict=True)]} if others else {})


def _bars(histogram: dict[str, list[int]], slots: dict[str, int]) -> list[Bar]:
    """Stacked bars, one stack a bin; the tallest fills the chart."""
    stacks = list(zip(*histogram.values(), strict=True))
    tallest = _tallest(histogram)
    bars = []
    for column, stack in enumerate(stacks):
        step = CHART_WIDTH / len(stacks)
        base = float(CHART_HEIGHT)
        bounds = f"{column / len(stacks):.2f}–{(column + 1) / len(stacks):.2f}"
        for label, count in zip(histogram, stack, strict=True):
            height = count / tallest * CHART_HEIGHT
            base -= height
            if count:
                title = f"{label}: {count:,} at {bounds}"
                bars.append(Bar(column * step + 1, base, step - 2, max(height, 1.0), slots.get(label, 0), title))
    return bars


def _tallest(histogram: dict[str, list[int]]) -> int:
    return max((sum(stack) for stack in zip(*histogram.values(), strict=True)), default=0) or 1


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _seconds(value: float) -> str:
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value // 60:.0f} min {value % 60:.0f} s"


def _size(count: int) -> str:
    value, units = float(count), ["B", "KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def _usd(value: float) -> str:
    return f"${value:.4f}" if value >= 0.0001 else f"${value:.6f}"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
