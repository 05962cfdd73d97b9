"""How a benchmark prints: a title, a table with both sides, and the machine it ran on."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass
class Figures:
    """One table. `rows` are dictionaries with the same keys; `notes` stand below."""

    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def print(self, *, as_json: bool = False) -> None:
        """The table on stdout, or its content as JSON."""
        if as_json:
            document = {"title": self.title, "machine": machine(), "rows": self.rows, "notes": self.notes}
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
            return
        console = Console(width=max(120, Console().width))
        table = Table(title=self.title, title_justify="left", title_style="bold", box=None, padding=(0, 2))
        for index, column in enumerate(self.rows[0] if self.rows else []):
            table.add_column(column, justify="left" if index == 0 else "right")
        for row in self.rows:
            table.add_row(*(_cell(value) for value in row.values()))
        console.print(table)
        for note in self.notes:
            console.print(f"  {note}", style="dim", markup=False)
        console.print()


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of the values lie, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> str:
    """Processor and cores, as a note."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as info:
            model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{model}, {cores} cores, Python {platform.python_version()}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:,.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
