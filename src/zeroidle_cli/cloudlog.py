"""Where do the log lines of a local cloud in this process go? Into its state, beside those of its services.

`zeroidle logs` shows them there; on the terminal they would stand in the way of what the command says.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localcloud.run.logs import LogWriter
from zeroidle.errors import printable
from zeroidle.logs import MAX_MESSAGE

SERVICE = "localcloud"  # what the file is called, and the lines' `service`
LABELS = "logging.googleapis.com/labels"


class CloudLog(logging.Handler):
    """Appends each record to `<state>/logs/localcloud.jsonl`.

    `workflows` (a `localcloud.workflows.state.Workflows`, once there is one) tells the labels of the execution that a
    record comes from.
    """

    def __init__(self, state: Path) -> None:
        super().__init__()
        self.workflows: Any = None
        self._writer = LogWriter(state / "logs", SERVICE)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one entry."""
        try:
            self._writer.entry(str(os.getpid()), {**self._entry(record), **self._labels(record)})
        except Exception:  # noqa: BLE001  # as logging's own handlers do: a log line must not end the program
            self.handleError(record)

    def close(self) -> None:
        """Let go of the file."""
        self._writer.close()
        super().close()

    def _entry(self, record: logging.LogRecord) -> dict[str, Any]:
        entry: dict[str, Any] = {"severity": record.levelname, "logger": record.name}
        text = record.getMessage()
        said = _json_object(text)  # a workflow's sys.log may give an object
        entry |= said if said is not None else {"message": printable(text, MAX_MESSAGE)}
        if record.exc_info:
            entry["stack_trace"] = logging.Formatter().formatException(record.exc_info)
        return entry

    def _labels(self, record: logging.LogRecord) -> dict[str, Any]:
        execution = getattr(record, "execution", None)
        if execution is None or self.workflows is None:
            return {}
        from localcloud.workflows.errors import ApiError

        with contextlib.suppress(ApiError):  # deleted meanwhile
            return {LABELS: dict(self.workflows.get(execution).labels)}
        return {}


@contextlib.contextmanager
def kept_in(state: Path) -> Iterator[CloudLog]:
    """While inside, everything logged in this process goes to the log in `state` and nowhere else."""
    handler, root, cloud = CloudLog(state), logging.getLogger(), logging.getLogger("localcloud")
    level = cloud.level
    root.addHandler(handler)
    cloud.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        cloud.setLevel(level)
        handler.close()


def _json_object(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
