"""A job as preprocess and gpu-inference leave it."""

from __future__ import annotations

import pytest

from tests.services.postprocess import attempts
from tests.services.postprocess.crashing_objects import CrashingObjects


@pytest.fixture
def objects() -> CrashingObjects:
    """Storage that holds attempt 1 with all shards predicted."""
    store = CrashingObjects()
    attempts.fill(store, attempt=1)
    return store
