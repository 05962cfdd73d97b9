"""Local storage, started once for all services' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.local_storage import LocalStorage


@pytest.fixture(scope="session")
def local_storage() -> Iterator[LocalStorage]:
    storage = LocalStorage()
    yield storage
    storage.stop()
