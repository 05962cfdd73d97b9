"""What holds for every test: nothing is said to the outside."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest

pytest_plugins = ["localcloud.pytest_plugin"]  # as in anybody's tests


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    """A client without its endpoint would go to the real cloud; a connection to anywhere but this machine fails here.

    gRPC has sockets of its own, which this does not see.
    """
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
            raise AssertionError(f"a test connects to {address[0]}")
        connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    yield
    patch.undo()


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
