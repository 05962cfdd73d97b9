"""A runner that puts a file into local storage and preprocesses it."""

from __future__ import annotations

import pytest

from tests.services.local_storage import LocalStorage
from tests.services.preprocess.pipeline import INPUT, WORK, Pipeline


@pytest.fixture
def pipeline(local_storage: LocalStorage, request: pytest.FixtureRequest) -> Pipeline:
    """Work of this test alone."""
    for bucket in (INPUT, WORK):
        local_storage.create_bucket(bucket)
    return Pipeline(local_storage.objects(), prefix=request.node.name[:200])
