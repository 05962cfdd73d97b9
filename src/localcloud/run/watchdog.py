"""How does `kill -9` of the local cloud leave no process behind?

`reaper.py` holds the read end of a pipe whose write end only this process has: when it goes, in whatever way, the pipe
ends. An instance writes its own process group into the pipe before it becomes the service, so there is no moment at
which it lives unknown. A process that leaves its group (a daemon) is not followed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

_REAPER = Path(__file__).with_name("reaper.py")
# The pipe is the standard input of this shell; the service gets the command line and an empty input.
_REGISTER = 'echo "+$$" >&0; exec "$@" </dev/null'


class Watchdog:
    """The reaper and the groups it watches over."""

    def __init__(self, temporary: Path | None = None) -> None:
        """`temporary` is a directory to remove when this process is killed."""
        self._temporary = temporary
        self._groups: set[int] = set()
        self._reaper: subprocess.Popen[bytes] | None = None

    def command(self, command: tuple[str, ...]) -> list[str]:
        """`command` as it is to be started, with `pipe()` as its standard input and in a session of its own."""
        return ["/bin/sh", "-c", _REGISTER, "instance", *command]

    def pipe(self) -> int:
        """The write end; starts the reaper, and starts it again should somebody have ended it."""
        if self._reaper is None or self._reaper.poll() is not None:
            self._reaper = subprocess.Popen(
                [sys.executable, "-S", "-E", str(_REAPER), *([str(self._temporary)] if self._temporary else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
            for group in self._groups:
                self._write(f"+{group}")
        assert self._reaper.stdin is not None  # noqa: S101  # asked for above
        return self._reaper.stdin.fileno()

    def born(self, group: int) -> None:
        """The group lives; it has told the reaper itself."""
        self._groups.add(group)

    def ended(self, group: int) -> None:
        """All processes of the group are gone."""
        self._groups.discard(group)
        self._write(f"-{group}")

    def close(self) -> None:
        """Let the reaper go, all being in order."""
        if self._reaper is None:
            return
        self._write("quit")
        assert self._reaper.stdin is not None  # noqa: S101  # as above
        with contextlib.suppress(BrokenPipeError):
            self._reaper.stdin.close()
        self._reaper.wait()
        self._reaper = None

    def _write(self, line: str) -> None:
        if self._reaper is None or self._reaper.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):  # the next `pipe()` starts another one
            os.write(self._reaper.stdin.fileno(), line.encode() + b"\n")
