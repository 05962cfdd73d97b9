"""How do tests wait for what happens in threads and processes of their own time?"""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60.0
POLL_S = 0.01


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return once the condition holds; fail the test if that never comes."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE_S:g} s for {what}"
        time.sleep(POLL_S)
