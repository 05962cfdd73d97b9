"""A job as preprocess and gpu-inference leave it."""

from __future__ import annotations

import pytest

from tests.services.postprocess import attempts
from tests.services.postprocess.memory_objects import MemoryObjects


@pytest.fixture
def objects() -> MemoryObjects:
    """Storage that holds attempt 1 with all shards predicted."""
    store = MemoryObjects()
    attempts.fill(store, attempt=1)
    return store
