"""The console's endpoints as a program asks for them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import urllib3

DATA = "/_localcloud/console"


class Http:
    """Requests as a program of this machine sends them, or a page."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._pool = urllib3.PoolManager(retries=False)

    def ask(self, method: str, path: str, *, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """The response."""
        data = None if body is None else json.dumps(body).encode()
        return self._pool.request(method, self.base + path, body=data, headers=headers)

    def get(self, name: str) -> Any:
        """The JSON of a console endpoint."""
        response = self.ask("GET", f"{DATA}/{name}")
        assert response.status == 200, response.data
        return response.json()


def until(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """The value of a condition once it is true."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)
    return value
