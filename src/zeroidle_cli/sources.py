"""What does a workflow's source say at a place, and how is it shown to a person?"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from zeroidle.errors import PermanentError, printable

MAX_SOURCE_BYTES = 16 * 2**20  # more than any that can be deployed, so that the refusal is the deployment check's
MAX_LINE = 160
_FOLLOWING = 1  # lines after the one that is shown
_CALL = re.compile(r"""["']?\bcall["']?\s*:\s*["']?([\w.]+)""")


@dataclass(frozen=True)
class Source:
    """A workflow's text and the name under which it was given."""

    name: str
    text: str

    def called_at(self, line: int) -> str:
        """What the call step that begins at `line` calls; for showing only, so found without parsing."""
        found = _CALL.search("\n".join(self.text.split("\n")[line - 1 :]))
        return found[1] if found else ""

    def excerpt(self, line: int, column: int) -> Text:
        """The line with a mark under the column, and what follows: a step's body stands below its name."""
        lines = self.text.split("\n")
        shown = Text()
        for number in range(line, min(line + _FOLLOWING, len(lines)) + 1):
            if number > line and not lines[number - 1].strip():
                break
            content = printable(lines[number - 1].expandtabs(1), MAX_LINE)
            shown.append(f"  {number:>5} | ", "dim")
            shown.append(content + "\n", "" if number == line else "dim")
            if number == line and 0 < column <= MAX_LINE:
                shown.append("        | ", "dim")
                shown.append(" " * (column - 1) + "^\n", "red")
        return shown


def read(path: Path) -> Source:
    """The source in a file, or on stdin for `-`.

    Raises:
        PermanentError: it cannot be read as text.
    """
    name = "stdin" if str(path) == "-" else str(path)
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(MAX_SOURCE_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MAX_SOURCE_BYTES + 1)
        return Source(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise PermanentError(f"{printable(name)} is not UTF-8 text: {error.reason}", code="NOT_UTF8") from error
    except OSError as error:
        raise PermanentError(f"{printable(name)}: {error.strerror or error}", code="FILE_ERROR") from error


def refusal(error: Any) -> dict[str, Any]:
    """A DeploymentError as JSON."""
    position = error.position
    return {
        "message": str(error),
        "step": error.step,
        "routine": error.routine,
        "line": position.line if position else None,
        "column": position.column if position else None,
    }
