"""What does a log entry say, for people?"""

from __future__ import annotations

import msgspec

from localcloud.run.logs import Entry
from zeroidle.errors import printable
from zeroidle_cli.cloudlog import LABELS

MAX_SHOWN = 2000


def job_of(entry: Entry) -> str:
    """The id of the job that an entry is about, or nothing."""
    inner = entry.get("entry")
    labels = inner.get(LABELS) if isinstance(inner, dict) else None
    return str(labels.get("job_id", "")) if isinstance(labels, dict) else ""


def as_line(entry: Entry) -> str:
    """An entry for people: when, who, how bad if bad, what; a stack trace below."""
    inner = entry.get("entry")
    inner = inner if isinstance(inner, dict) else {}
    text = entry["line"] if "line" in entry else inner.get("message") or msgspec.json.encode(inner).decode()
    severity = str(inner.get("severity", ""))
    head = [str(entry["time"])[:23], str(entry.get("service", "")), "" if severity == "INFO" else severity]
    below = str(inner.get("stack_trace") or inner.get("stderr") or "")
    trace = "".join(f"\n    {printable(line, MAX_SHOWN)}" for line in below.splitlines())
    return f"{'  '.join(printable(part) for part in head if part)}  {printable(str(text), MAX_SHOWN)}{trace}"
