"""How does a command talk? Results on stdout, everything else on stderr; JSON when asked; no colour off a terminal."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console

from zeroidle.errors import ZeroidleError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

STATE_STYLES = {
    "SUCCEEDED": "green",
    "FAILED": "red",
    "STOPPED": "yellow",
    "STOPPING": "yellow",
    "RUNNING": "cyan",
    "PROVISIONING": "cyan",
    "QUEUED": "dim",
}


def print_json(value: Any) -> None:
    """A document on stdout, indented."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_error(error: ZeroidleError, *, as_json: bool) -> None:
    """What went wrong and what to do, on stderr."""
    if as_json:
        told = {"code": error.code, "message": error.message, "hint": error.hint, "details": error.details}
        sys.stderr.write(json.dumps({"error": told}) + "\n")
        return
    err.print(f"[bold red]error[/] {escape(error.message)}")
    if error.hint:
        err.print(f"      {escape(error.hint)}")


def escape(text: str) -> str:
    """Text that Rich prints as it is."""
    return text.replace("[", "\\[")


def duration(seconds: float | None) -> str:
    """`850 ms`, `12.3 s`, `4 min 10 s`, `2 h 05 min`."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:02.0f} min"


def moment(seconds: float | None) -> str:
    """A time of day with its date, in UTC."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def age(seconds: float) -> str:
    """`40 s ago`, `12 min ago`, `3 d ago`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def usd(value: float) -> str:
    """Dollars with as many digits as a small amount needs."""
    return f"${value:.2f}" if value >= 1 else f"${value:.4f}" if value >= 0.0001 else f"${value:.6f}"
