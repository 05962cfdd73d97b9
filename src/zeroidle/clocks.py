"""What time is it? By the machine's clock, or by that of a local cloud, which can be moved ahead."""

from __future__ import annotations

import json
import time
import urllib.request
from datetime import datetime

TIMEOUT_S = 5.0


class SystemClock:
    """`zeroidle.ports.Clock` by the machine's clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Let so much time pass."""
        time.sleep(seconds)


class RemoteClock:
    """`zeroidle.ports.Clock` by who answers `{"time": "<RFC 3339>"}` at `url`; the machine's while nobody does."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "http://localhost:")):
            raise ValueError(f"the clock is at {url!r:.80}; expected http://127.0.0.1:PORT/...")
        self._url = url

    def now(self) -> float:
        """Seconds since the epoch."""
        try:
            with urllib.request.urlopen(self._url, timeout=TIMEOUT_S) as answer:  # noqa: S310  # http, see above
                return datetime.fromisoformat(json.load(answer)["time"]).timestamp()
        except (OSError, ValueError, KeyError, TypeError):
            return time.time()

    def sleep(self, seconds: float) -> None:
        """Let so much of the machine's time pass: a clock that is moved ahead meanwhile makes nobody wait longer."""
        time.sleep(seconds)
