"""Who ends the instances when the local cloud is killed? A process of its own that outlives it by a moment.

Run by `watchdog.py` as a script with nothing but the standard library. Standard input is a pipe: `+<group>` and
`-<group>` lines say which process groups live, `quit` that all is in order. If the pipe ends without it, the local
cloud is gone: every live group is ended, and the directory named by the first argument (if any) removed.
"""

import os
import shutil
import signal
import sys
import time

GRACE_S = 2.0
POLL_S = 0.02


def main() -> None:
    """Read until the pipe ends, then end what lives."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        word = line.strip()
        if word == "quit":
            return
        if word[:1] == "+":
            groups.add(int(word[1:]))
        elif word[:1] == "-":
            groups.discard(int(word[1:]))
    end(groups)
    if len(sys.argv) > 1:
        shutil.rmtree(sys.argv[1], ignore_errors=True)


def end(groups: set[int]) -> None:
    """SIGTERM to all, SIGKILL to those that still live after the grace period."""
    alive = {group for group in groups if send(group, signal.SIGTERM)}
    deadline = time.monotonic() + GRACE_S
    while alive and time.monotonic() < deadline:
        time.sleep(POLL_S)
        alive = {group for group in alive if send(group, 0)}
    for group in alive:
        send(group, signal.SIGKILL)


def send(group: int, number: int) -> bool:
    """Signal a process group; False if there is none."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
