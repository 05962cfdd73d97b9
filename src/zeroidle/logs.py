"""How do log lines reach Cloud Logging, and how are the lines of one job found again?

One JSON object a line on stderr, with the keys Cloud Logging reads; `logging.googleapis.com/labels` carries the job.
https://cloud.google.com/logging/docs/structured-logging
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from zeroidle.errors import printable

MAX_MESSAGE = 2000
_labels: ContextVar[dict[str, str] | None] = ContextVar("labels", default=None)


@contextmanager
def labelled(**labels: object) -> Iterator[None]:
    """Every line logged inside carries these labels (`job_id`, `attempt`)."""
    before = _labels.get()
    label(**labels)
    try:
        yield
    finally:
        _labels.set(before)


def label(**labels: object) -> None:
    """Every further line of this thread or task carries these labels, those about an error that ends it too."""
    _labels.set({**(_labels.get() or {}), **{name: printable(value) for name, value in labels.items()}})


class JsonFormatter(logging.Formatter):
    """One line of JSON a record; control characters escaped, long messages cut."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "severity": record.levelname,
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "logger": record.name,
            "message": printable(record.getMessage(), MAX_MESSAGE),
        }
        labels = _labels.get()
        if labels:
            line["logging.googleapis.com/labels"] = labels
        if record.exc_info:
            line["stack_trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: str = "INFO") -> None:
    """Send all logging of this process to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = JsonFormatter()
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
